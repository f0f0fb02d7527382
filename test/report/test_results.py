"""RESULTS.md from planted experiments: the numbers, the gaps, the pictures, and no moving part."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from mixit_mss.bin import report
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.report.figures.pictures import draw_spectrograms
from mixit_mss.report.paper import paper_rows
from mixit_mss.report.results import markdown_table, read_experiments
from mixit_mss.scoring.experiments import current_commit, read_experiment, write_experiment
from mixit_mss.scoring.songs import write_scores

STEMS, SONGS, RATE = ("vocals", "bass"), ("one", "two", "three"), 8000


def plant_experiment(folder, label, order, usdr, csdr, **facts):
    """Scores (song, stem) and facts, as scoring and training leave them."""
    rows = [
        {"song": song, "stem": stem, "usdr": usdr[i][j], "usdr_per_channel": 0, "csdr": csdr[i][j]}
        for i, song in enumerate(SONGS)
        for j, stem in enumerate(STEMS)
    ]
    write_scores(folder / "scores.csv", pd.DataFrame(rows))
    facts = {"commit": "abc1234", "command": f"mixit-mss make {label}"} | facts
    write_experiment(folder, label=label, order=order, **facts)


@pytest.fixture
def recipe(tmp_path):
    """Two experiments, votes, estimates of song 'one', and both manifests."""
    rows = []
    for song in SONGS:
        for i, stem in enumerate(STEMS):
            path = tmp_path / f"data/{song}/{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            waveform = 0.1 * np.random.default_rng(i).standard_normal((2 * RATE, 2))
            soundfile.write(path, waveform, RATE)
            if song == "one":
                estimate = tmp_path / f"exp/tuned/estimates/one/{stem}.wav"
                estimate.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(estimate, waveform, RATE)
            common = {"split": "test", "license": "", "sample_rate": RATE, "channels": 2}
            rows.append(
                {"song": song, "stem": stem, "path": str(path), "frames": 2 * RATE} | common
            )
    none = (np.zeros(0, np.int64), 1)
    write_manifest(tmp_path / "manifests/labelled", make_manifest(rows, [none] * len(rows)))
    lone = [rows[0] | {"split": "train", "stem": "mixture"}]
    listed = make_manifest(lone, [(np.array([0, RATE]), RATE)])
    write_manifest(tmp_path / "manifests/unlabelled", listed)
    nan = np.nan
    plant_experiment(
        tmp_path / "exp/tuned",
        "tuned | fully",
        order=1,
        usdr=[[1, 4], [2, 5], [6, 6]],
        csdr=[[1, 4], [2, nan], [6, 6]],
        parameters=1234567,
        steps=1500,
        seed=1000,
        config="conf/finetune.yaml",
    )
    plant_experiment(tmp_path / "exp/floor", "floor", 0, np.zeros((3, 2)), np.zeros((3, 2)))
    (tmp_path / "exp/floor/votes.csv").write_text(
        "channel,vocals,bass,chosen_for\n0,0,7,bass\n1,0,0,\n2,5,1,vocals\n"
    )
    return tmp_path


def command(folder, *experiments, out="RESULTS.md"):
    options = {"manifests": "manifests", "out": out, "figures": "exp/figures"}
    argv = ["--recipe", "midi_band", "--experiments", *(str(folder / e) for e in experiments)]
    for name, value in options.items():
        argv += [f"--{name}", str(folder / value)]
    return argv


def make(folder):
    report.main(command(folder, "exp/tuned", "exp/floor"))
    return (folder / "RESULTS.md").read_text()


def lines_with(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_rows_hold_means_of_usdr_medians_of_csdr_and_the_facts(recipe):
    text = make(recipe)
    usdr, csdr, _, missing, how_to = lines_with(text, "| tuned \\| fully |")
    assert usdr.split(" | ", 1)[1].endswith(
        "3.00 | 5.00 | **4.00** | 1,234,567 | 1,500 | 1000 | abc1234 |"
    )
    assert "| 2.00 | 5.00 | **3.50** |" in csdr
    assert missing.endswith("| 1 | two (bass) |")
    assert how_to.endswith("| `mixit-mss make tuned \\| fully` | `conf/finetune.yaml` |")
    floor = lines_with(text, "| floor |")
    assert floor[0] == "| floor | 0.00 | 0.00 | **0.00** | - | - | - | abc1234 |"
    assert text.index("| floor |") < text.index("| tuned")


def test_corpora_votes_and_versions_are_listed(recipe):
    text = make(recipe)
    assert "| unlabelled | train | 1 | 0.0 | 2 |" in text
    assert "| labelled | test | 3 | 0.1 | 0 |" in text
    assert "|  | channel 0 | channel 2 |" in text  # channel 1 has no vote
    assert "| vocals | 0 | 5 |" in text and "| bass | 7 | 1 |" in text
    assert lines_with(text, "| torch |") and lines_with(text, "| python |")


def test_pictures_are_linked_and_not_empty(recipe):
    text = make(recipe)
    for name in ("usdr", "votes", "spectrograms"):
        assert f"](exp/figures/{name}.png)" in text
        picture = np.asarray(Image.open(recipe / f"exp/figures/{name}.png").convert("L"))
        assert min(picture.shape) > 100 and picture.std() > 10


def test_the_same_results_give_the_same_files(recipe):
    text = make(recipe)
    pictures = {path.name: path.read_bytes() for path in (recipe / "exp/figures").iterdir()}
    assert make(recipe) == text
    for path in (recipe / "exp/figures").iterdir():
        assert path.read_bytes() == pictures[path.name]
    assert len(pictures) == 3


def test_without_votes_and_estimates_there_are_no_pictures_of_them(recipe):
    (recipe / "exp/floor/votes.csv").unlink()
    (recipe / "exp/tuned/estimates").rename(recipe / "elsewhere")
    text = make(recipe)
    assert "votes.png" not in text and "spectrograms.png" not in text and "usdr.png" in text


def test_faults_are_one_sentence(recipe):
    experiment = recipe / "exp/tuned"
    scores = (experiment / "scores.csv").read_text()
    (experiment / "scores.csv").write_text("".join(scores.splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="scores other songs or stems"):
        make(recipe)
    (experiment / "scores.csv").unlink()
    with pytest.raises(UserError, match=r"scores\.csv' cannot be read"):
        make(recipe)
    (experiment / "experiment.json").unlink()
    with pytest.raises(UserError, match=r"experiment\.json is missing"):
        make(recipe)
    write_experiment(experiment, seed=0)
    with pytest.raises(UserError, match="no label"):
        read_experiments([experiment])
    (experiment / "experiment.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        make(recipe)
    (recipe / "exp/floor/votes.csv").write_text("no,votes\n")
    with pytest.raises(UserError, match="no table of votes"):
        report.main(command(recipe, "exp/floor", out="other.md"))
    assert not (recipe / "RESULTS.md").exists() and not (recipe / "other.md").exists()


def test_facts_complete_each_other(tmp_path):
    write_experiment(tmp_path, parameters=5, command="train")
    write_experiment(tmp_path, label="row", order=2)
    facts = read_experiment(tmp_path)
    assert (facts["parameters"], facts["command"], facts["label"]) == (5, "train", "row")
    assert facts["seed"] is None
    with pytest.raises(ValueError, match="unknown keys"):
        write_experiment(tmp_path, sed=1)
    assert current_commit()


def test_spectrograms_show_the_loud_stem_bright_and_the_silent_one_black(tmp_path):
    time = np.arange(RATE) / RATE
    loud = np.sin(2 * np.pi * 1000 * time)[None].repeat(2, 0)
    silent = np.zeros_like(loud)
    stems = {"vocals": loud, "bass": silent}
    draw_spectrograms(tmp_path / "a.png", loud, stems, stems, RATE, "planted")
    draw_spectrograms(tmp_path / "b.png", loud, {**stems, "bass": loud}, stems, RATE, "planted")
    a, b = (
        np.asarray(Image.open(tmp_path / name).convert("L"), float) for name in ("a.png", "b.png")
    )
    below = slice(int(a.shape[0] * 0.7), None)
    assert (b - a)[below].max() > 100 and (b - a)[below].min() > -50


def test_markdown_tables_keep_their_columns():
    text = markdown_table(["", "a|b"], [["x", 1.0]])
    assert text.splitlines() == ["|  | a\\|b |", "| --- | ---: |", "| x | 1.0 |"]


def test_what_others_called_something_is_text_in_a_table():
    hostile = "<script>alert(1)</script>|a\nb\r\n&amp;"
    table = markdown_table(["label"], [[hostile]])
    assert len(table.split("\n")) == 3 and "\r" not in table
    assert "<" not in table and table.count("|") == 7 and "\\|" in table
    assert "&lt;script&gt;" in table and "&amp;amp;" in table


@pytest.mark.parametrize("name", ["Ke$ha - 100% $wag", "$\\frac{", "a_b^{c", "\\$", "$$"])
def test_dollar_signs_in_names_are_no_formulas(name, tmp_path):
    noise = np.random.default_rng(0).standard_normal((2, 8000)) * 0.1
    draw_spectrograms(tmp_path / "a.png", noise, {name: noise}, {name: noise}, 8000, name)
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_papers_rows_stand_beside_ours(recipe):
    plant_experiment(
        recipe / "exp/medium",
        "medium, MixIT FMA large, then fine-tuned",
        order=2,
        usdr=[[1, 4], [2, 5], [6, 6]],
        csdr=[[1, 4], [2, 5], [7, 7]],
        seed=7,
    )
    part = "medium, from scratch, encoder and decoder only"
    plant_experiment(recipe / "exp/part", part, 3, np.ones((3, 2)), np.ones((3, 2)), seed=8)
    argv = command(recipe, "exp/floor", "exp/medium", "exp/part")
    report.main([*argv, "--paper-tables", "1", "2"])
    text = (recipe / "RESULTS.md").read_text()
    first, second = text.split("## Beside the paper, table ")[1:]
    lines = first.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("| M2 BS-Locoformer medium"))
    paper = "10.00 | 10.28 | 9.65 | 8.87 | 10.91 | 11.11 | 7.27 | 6.93 | 9.46 | 9.30 |"
    assert lines[at] == f"| M2 BS-Locoformer medium | MixIT FMA large | paper | {paper}"
    # vocals and bass are planted; what was not scored has no number
    ours = "2.00 | 3.00 | 5.00 | 5.00 | - | - | - | - | 3.50 | 4.00 |"
    assert lines[at + 1] == f"|  |  | ours, seed 7 | {ours}"
    assert lines[at - 1].startswith("|  |  | ours: not run here |  |")
    assert lines[at - 2].startswith("| M1 BS-Locoformer medium | scratch | paper | 9.66 | 9.83 |")
    assert first.count("not run here") == 5 and first.count("| paper |") == 14
    assert second.count("ours, seed 8") == 1 and second.count("not run here") == 5
    assert "| BS-RoFormer | - | paper | 10.66 | - | 11.31 | - |" in first
    with pytest.raises(UserError, match="--paper-tables 4 must be"):
        report.main([*argv, "--paper-tables", "4"])


def test_the_papers_tables_are_whole():
    for table, rows in ((1, 14), (2, 6), (3, 5)):
        scores = paper_rows(table)
        assert len(scores) == rows
        stems = scores[[f"{stem}_usdr" for stem in ("vocals", "bass", "drums", "other")]]
        # the averages are printed with two digits, and so are the stems
        gap = (stems.mean(axis=1, skipna=False) - scores["average_usdr"]).abs()
        assert gap.max() < 0.0151
        assert (
            scores["label"].nunique()
            == len(scores) - (scores["label"] == "").sum() + (scores["label"] == "").any()
        )
