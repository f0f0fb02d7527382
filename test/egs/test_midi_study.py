"""midi_study: what it lists can be run and paid for, and its page says what its numbers say."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from tones import make_corpus

from mixit_mss.bin import main as command_line
from mixit_mss.data.manifest import read_manifest
from mixit_mss.errors import UserError
from mixit_mss.files import write_text
from mixit_mss.models import build_model
from mixit_mss.preparation.corpus import draw_validation
from mixit_mss.scoring.experiments import write_experiment
from mixit_mss.scoring.songs import write_scores
from mixit_mss.training.config import FinetuneConfig, PretrainConfig, load_config, read_yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "egs/midi_study/local"))

import axes
import make_results
import songs
import tables
import walk
from results import oracle_name
from steps import RECIPE, STEMS, places, planned, song_names, songs_to_render, steps_of
from study import CUTS, Finetuning, Pretraining
from study import LEVELS as OURS

from mixit_mss.band.choices import LEVELS, PARTS_CHOICES

HOURS = {"full": 10.0, "quick": 1.0, "smoke": 0.2}
SLACK = 1.15
SEEDS = (1, 2, 3)
QUICK = CUTS["quick"]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_cut_fits_its_time(cut):
    steps = [step for seed in cut.seeds for step in steps_of(cut, seed, "work")]
    assert 0 < SLACK * planned(steps) <= 3600 * HOURS[cut.name]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_every_step_finds_what_it_reads(cut):
    """Each run once, under a name of its own, after all that it needs; configs are there."""
    steps = [step for seed in (1, 2) for step in steps_of(cut, seed, "/work")]
    assert len({step.name for step in steps}) == len(steps)
    made = set()
    for step in steps:
        for path in step.reads:
            known = path.is_file() if path.suffix == ".yaml" else path in made
            assert known, f"{step.name} reads {path}"
        assert step.writes and not made & set(step.writes)
        made |= set(step.writes)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_cut_has_valid_configs_and_equal_budgets(cut):
    folder = RECIPE / "conf" / cut.name
    first = load_config(folder / "pretrain.yaml", PretrainConfig).run
    tuned, longer = (
        load_config(folder / f"{name}.yaml", FinetuneConfig)
        for name in ("finetune", "finetune_long")
    )
    steps = [run.epochs * run.steps_per_epoch for run in (first, tuned.run, longer.run)]
    assert steps[2] == steps[0] + steps[1]
    more = load_config(folder / "pretrain_long.yaml", PretrainConfig)
    assert more.run.epochs * more.run.steps_per_epoch == 3 * steps[0]
    for run in (first, more.run, tuned.run, longer.run):
        assert run.epochs % run.validate_every_epochs == 0, "the last weights are not looked at"
    assert (tuned.optimizer, tuned.mixing) == (longer.optimizer, longer.mixing)
    sizes = [
        build_model(**read_yaml(RECIPE / f"conf/model_{m}.yaml"), num_sources=4) for m in cut.models
    ]
    counts = [size.num_parameters for size in sizes]
    assert counts == sorted(set(counts))


def test_the_study_is_what_was_asked():
    assert OURS == LEVELS
    full = CUTS["full"]
    assert full.levels == LEVELS and set(full.densities) == set(PARTS_CHOICES)
    assert full.amounts == (25, 50, 100, 200, 400) and len(full.seeds) == 3
    for cut in CUTS.values():
        runs = cut.runs()
        assert len(runs) == len({run.name for run in runs})
        assert {run.start for run in runs if isinstance(run, Finetuning) and run.start} == {
            run for run in runs if isinstance(run, Pretraining)
        }
        common = set(cut.runs(["tables"])) & set(cut.runs(["correlation"]))
        assert cut.scratch() in common
        assert set(runs) == set(cut.runs(["tables"])) | set(cut.runs(["correlation"]))


def test_songs_suffice_to_train_on():
    for training in (4, 100, 400):
        names = song_names(songs_to_render(training))
        assert len(names) - len(draw_validation(names, 0.05)) >= training


def test_amounts_are_nested_and_keep_the_validation_songs(tmp_path):
    make_corpus(tmp_path)
    whole = read_manifest(tmp_path / "unlabelled")
    for count in (1, 3):
        out = tmp_path / f"some_{count}/unlabelled"
        options = {"manifest": tmp_path / "unlabelled", "songs": count, "out": out}
        songs.main([str(word) for pair in options.items() for word in (f"--{pair[0]}", pair[1])])
        some = read_manifest(out)
        chosen = {split: sorted(part.song) for split, part in some.tracks.groupby("split")}
        assert chosen == {"train": ["song0", "song1", "song2"][:count], "valid": ["song4", "song5"]}
        assert len(some.segments.track) == 2 * len(some.tracks)
        for before, after in ((whole, some),):
            starts = dict(zip(before.tracks.song, before.offsets, strict=False))
            assert set(after.tracks.song) <= set(starts)
    with pytest.raises(UserError, match="4 training songs"):
        songs.main(["--manifest", str(tmp_path / "unlabelled"), "--songs", "5", "--out", "x"])


# --- the page, from numbers that are planted ---

STEM_NAMES = STEMS.split(",")
WAVER = {1: -0.1, 2: 0.0, 3: 0.1}  # dB; the standard deviation over seeds is 0.1


def plant(work_dir, cut=QUICK, seeds=SEEDS, gain=1.0, per_level=0.0, gain_waver=0.05, snr=2.0):
    """The folders that a study leaves, with planted numbers.

    Scratch has an average uSDR of 2 dB, whatever follows MixIT ``gain`` more; the improvement of a
    pre-trained network is 5 dB and ``per_level`` more for every level above the first.
    """
    for seed in seeds:
        at = places(work_dir, cut, seed)
        waver, more = WAVER[seed], gain_waver * (seed - 2)
        runs = cut.runs()
        values = {oracle_name("irm", level): 9.0 for level in cut.levels}
        values |= {oracle_name("mixture"): -5.0}
        values |= {f"{run.name}/selected_4": 1.0 for run in cut.voted()}
        for run in runs:
            folder = at.run(run.name)
            if isinstance(run, Finetuning):
                values[run.name] = 2.0 + waver + (0.0 if run.start is None else gain + more)
                curve = {"step": [10, 20], "train_loss": [0, 0], "val_usdr": [1, 2 + waver]}
                folder.mkdir(parents=True, exist_ok=True)
                pd.DataFrame(curve).to_csv(folder / "history.csv", index=False)
            steps = 360 if isinstance(run, Finetuning) and run.long else 60
            command = f"mixit-mss train --out {folder}"
            facts = {"steps": steps, "parameters": 3_000_000, "commit": "abc1234567"}
            write_experiment(folder, label=run.name, seed=seed, command=command, **facts)
            start = {"python": "3.11", "packages": {"torch": "2.0"}, "gpus": []}
            (folder / "run.json").write_text(json.dumps({"starts": [start]}))
        for name, value in values.items():
            rows = [
                {
                    "song": song,
                    "stem": stem,
                    "usdr": value + shift,
                    "usdr_per_channel": 0,
                    "csdr": value,
                }
                for song, shift in (("one", -1), ("two", 1))
                for stem in STEM_NAMES
            ]
            write_scores(at.run(name) / "scores.csv", pd.DataFrame(rows))
        for run, level in cut.diagnosed():
            place = cut.levels.index(run.level)
            numbers = {
                "snr": snr + waver, "snr_improvement": 5.0 + per_level * place + waver,
                "grouped_snr": 3.0, "degenerate_share": 0.1 + 0.2 * place, "active_outputs": 6.0,
                "outputs_per_stem": 2.0, "waveform_correlation": 0.1 * cut.levels.index(level),
                "spectral_overlap": 0.2, "onset_correlation": None,
            }  # fmt: skip
            folder = at.diagnosis(run, level)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "diagnosis.json").write_text(json.dumps(numbers))
            pd.DataFrame({"song": ["one"], "chunk": [0], "snr:bass": [1.5]}).to_csv(
                folder / "chunks.csv", index=False
            )


def written(folder, seeds=SEEDS, out="out", cut=QUICK):
    """RESULTS.md as text, wrapped lines or not."""
    words = " ".join(map(str, seeds))
    make_results.main(
        ["--cut", cut.name, "--work-dir", str(folder), "--seeds", words, "--out", str(folder / out)]
    )
    return (folder / out / "RESULTS.md").read_text()


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures that say nothing, for tests of the words."""
    for module in (axes, tables):
        monkeypatch.setattr(module, "draw_panels", lambda path, *_: write_text(path, "<svg/>"))


def row(text, title):
    """Cells of the table row with this title."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Pre-training that helps by 1 dB, whatever the level."""
    folder = tmp_path_factory.mktemp("good")
    plant(folder)
    return folder, written(folder)


def test_means_and_spreads_are_those_planted(good):
    _, text = good
    assert row(text, "tiny, from scratch") == ["2.00 ± 0.10"] * 10
    assert row(text, "tiny, MixIT, then fine-tuned") == ["3.00 ± 0.15"] * 10
    assert set(row(text, "**tiny, MixIT \N{MINUS SIGN} scratch**")) == {"+1.00 ± 0.05"}
    assert row(text, "mixture as estimate") == ["\N{MINUS SIGN}5.00 ± 0.00"] * 10
    paper = row(
        text.split("## Table 2")[0], "paper: medium, MixIT FMA large \N{MINUS SIGN} scratch"
    )
    assert paper[-2:] == ["+0.42", "+0.55"]
    assert paper[:4] == ["+0.34", "+0.45", "+0.67", "+0.66"]  # drums next, as in our tables


def test_a_gain_reads_as_one(good):
    _, text = good
    assert "the average uSDR is +1.00 ± 0.05 dB (higher, beyond one standard deviation)" in text
    assert (
        "MixIT is higher in 4 of 4 comparisons, in 4 of them beyond one standard deviation" in text
    )
    assert "MixIT is not unsuitable for sources as correlated as those of level band" in text
    assert "That more correlation changes what is learned is not shown" in text
    assert "Neither difference is beyond one standard deviation." in text
    assert (
        text.index("## Is MixIT unsuitable") < text.index("## Table 1") < text.index("## Density")
    )


def test_what_was_measured_lies_beside_the_page(good):
    folder, text = good
    beside = folder / "out/results"
    names = {path.name for path in beside.iterdir()}
    assert names == {
        *("scores.csv", "chunks.csv.gz", "amounts.svg", "learning_steps.svg", "learning_songs.svg"),
        "pretraining_steps.svg",
        *("correlation.svg", "measured_correlation.svg", "density.svg"),
    }
    assert all(f"results/{name}" in text for name in names)
    scores = pd.read_csv(beside / "scores.csv")
    assert set(scores.seed) == set(SEEDS) and set(scores.stem) == set(STEM_NAMES)
    assert {run.name for run in QUICK.runs() if isinstance(run, Finetuning)} < set(scores.run)
    chunks = pd.read_csv(beside / "chunks.csv.gz")
    assert len(chunks) == len(SEEDS) * len(QUICK.diagnosed())
    report = (folder / "quick/report.html").read_text()
    assert report.count("<svg") == 7 and "<script" not in report and "src=" not in report


def test_the_same_results_give_the_same_bytes(good):
    folder, text = good
    assert written(folder, out="again") == text
    for path in (folder / "out/results").iterdir():
        assert path.read_bytes() == (folder / "again/results" / path.name).read_bytes()


def test_a_loss_reads_as_one(tmp_path, undrawn):
    plant(tmp_path, gain=-0.5, per_level=-2.0, snr=-3.0)
    text = written(tmp_path)
    assert "the average uSDR is \N{MINUS SIGN}0.50 ± 0.05 dB (lower, beyond one standard" in text
    assert (
        "MixIT is higher in 0 of 4 comparisons, in 0 of them beyond one standard deviation; in 4 it"
        in text
    )
    assert "With no number of songs does MixIT reach what scratch does" in text
    assert "these numbers do not speak for MixIT" in text
    assert "More correlation made it learn less" in text
    assert "How many parts play at once matters less here than what they share" in text
    assert "a gain over scratch is not shown any more" in text
    assert "not unsuitable" not in text


def test_a_gain_within_its_spread_is_not_shown(tmp_path, undrawn):
    plant(tmp_path, gain=0.1, gain_waver=1.0)
    text = written(tmp_path)
    assert "+0.10 ± 1.00 dB (higher, but within one standard deviation)" in text
    assert (
        "MixIT is higher in 4 of 4 comparisons, in 0 of them beyond one standard deviation" in text
    )
    assert "MixIT separates, but a gain of fine-tuning from it over scratch is not" in text


def test_one_seed_has_no_spread(tmp_path, undrawn):
    plant(tmp_path, seeds=(2,))
    text = written(tmp_path, seeds=(2,))
    assert "±" not in text.replace("without ±", "")
    assert row(text, "tiny, from scratch") == ["2.00"] * 10
    assert "one seed says nothing of how much that varies" in text
    assert 'egs/midi_study/run.sh --cut quick --seeds "2"' in text


def test_a_part_that_was_not_run_is_named(tmp_path, undrawn):
    plant(tmp_path)
    diagnosed, level = QUICK.diagnosed()[-1]
    (places(tmp_path, QUICK, 3).diagnosis(diagnosed, level) / "diagnosis.json").unlink()
    text = written(tmp_path)
    assert "Not run yet: correlation and density." in text
    assert "## Table 1" in text and "Is MixIT unsuitable" not in text
    (places(tmp_path, QUICK, 1).run(QUICK.scratch().name) / "scores.csv").unlink()
    with pytest.raises(UserError, match=r"neither part of the study is complete; '.*scores.csv'"):
        written(tmp_path)


# --- all of it ---


def in_process(command, log):
    """A command of the study without a process of its own, which would take seconds to start."""
    program, *words = command
    if program == "mixit-mss":
        return command_line.main(words)
    assert program == "python"
    importlib.import_module(Path(words[0]).stem).main(words[1:])
    return 0


@pytest.mark.no_cover  # other tests cover its trainings, and tracing them would take a third longer
def test_the_smallest_cut_from_songs_to_page(tmp_path, monkeypatch):
    """Everything for real, but a step or two of training."""
    monkeypatch.chdir(RECIPE)
    smoke = CUTS["smoke"]
    steps = steps_of(smoke, 1, tmp_path, nj=1)
    assert walk.walk(steps, tmp_path / "smoke", in_process) == len(steps)
    assert walk.walk(steps, tmp_path / "smoke", in_process) == 0
    text = written(tmp_path, seeds=(1,), cut=smoke)
    assert "This is the cut `smoke`" in text and "## Table 3" in text and "## Density" in text
    assert not list((tmp_path / "smoke").rglob("checkpoints"))
    packed = (tmp_path / "out/results/chunks.csv.gz").read_bytes()
    assert "snr:bass" in gzip.decompress(packed).decode().splitlines()[0]
