"""Scores of songs on disk with planted errors; silence, bad files, oracles, and the table."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import soundfile

from mixit_mss.bin import score
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.scoring import songs as scoring
from mixit_mss.scoring.experiments import read_experiment

RATE = 8000
STEMS = ("vocals", "bass")
NO_SEGMENTS = (np.zeros(0, np.int64), 1)


def noise(seed, samples=2 * RATE, channels=2):
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, samples))


def write(path, waveform, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, rate, subtype="FLOAT")


@pytest.fixture
def corpus(tmp_path):
    """Two test songs; the estimates err by a gain of 0.9 in song a, and are zero in song b."""
    rows = []
    for number, song in enumerate(("b song", "a song")):
        stems = {stem: noise(10 * number + i) for i, stem in enumerate(STEMS)}
        for stem, waveform in stems.items():
            write(tmp_path / f"refs/{song}/{stem}.wav", waveform)
            gain = 0.9 if song == "a song" else 0.0
            write(tmp_path / f"estimates/{song}/{stem}.wav", gain * waveform)
        write(tmp_path / f"refs/{song}/mixture.wav", sum(stems.values()))
        for stem in ("mixture", *STEMS):
            path = str(tmp_path / f"refs/{song}/{stem}.wav")
            rows.append(
                {"song": song, "stem": stem, "split": "test", "path": path, "license": ""}
                | {"frames": 2 * RATE, "sample_rate": RATE, "channels": 2}
            )
    manifest = make_manifest(rows, [NO_SEGMENTS] * len(rows), "planted")
    write_manifest(tmp_path / "manifests/labelled", manifest)
    return tmp_path, manifest


def cell(scores, song, stem, metric):
    return scores[(scores.song == song) & (scores.stem == stem)][metric].item()


def test_planted_errors_have_their_scores(corpus):
    folder, manifest = corpus
    tasks = scoring.manifest_tasks(manifest, "test", folder / "estimates")
    scores = scoring.score_songs(tasks)
    assert tuple(scores.columns) == scoring.COLUMNS
    assert list(scores.song) == ["a song"] * 2 + ["b song"] * 2
    assert list(scores.stem) == [*STEMS, *STEMS]
    for stem in STEMS:
        for metric in ("usdr", "usdr_per_channel", "csdr"):
            assert cell(scores, "a song", stem, metric) == pytest.approx(20, abs=1e-4)
        assert cell(scores, "b song", stem, "usdr") == pytest.approx(0, abs=1e-6)
        assert np.isnan(cell(scores, "b song", stem, "csdr"))  # a silent estimate has none
    summary = scoring.summarise(scores, "usdr")
    assert summary.to_dict() == pytest.approx({"vocals": 10, "bass": 10, "average": 10}, abs=1e-4)
    assert scoring.summarise(scores, "csdr")["average"] == pytest.approx(20, abs=1e-4)


def test_processes_give_the_same_table(corpus):
    folder, manifest = corpus
    tasks = scoring.manifest_tasks(manifest, "test", folder / "estimates")
    pd.testing.assert_frame_equal(scoring.score_songs(tasks, 2), scoring.score_songs(tasks, 1))


def test_a_silent_stem_is_nan_is_named_and_leaves_the_others_their_scores(corpus):
    folder, manifest = corpus
    before = scoring.score_songs(scoring.manifest_tasks(manifest, "test", folder / "estimates"))
    write(folder / "refs/a song/vocals.wav", np.zeros((2, 2 * RATE)))
    scores = scoring.score_songs(scoring.manifest_tasks(manifest, "test", folder / "estimates"))
    for metric in ("usdr", "usdr_per_channel", "csdr"):
        assert np.isnan(cell(scores, "a song", "vocals", metric))
        assert cell(scores, "a song", "bass", metric) == cell(before, "a song", "bass", metric)
    text = scoring.summary_text(scores)
    assert "without a score" in text and "a song (vocals)" in text
    assert scoring.summarise(scores, "usdr")["vocals"] == pytest.approx(0, abs=1e-6)


def test_oracles_stand_on_both_sides_of_an_estimate(corpus):
    folder, manifest = corpus
    floor = scoring.score_songs(scoring.manifest_tasks(manifest, "test", oracle="mixture"))
    for song in ("a song", "b song"):
        vocals, bass = (soundfile.read(folder / f"refs/{song}/{stem}.wav")[0] for stem in STEMS)
        wanted = 10 * np.log10((vocals**2).sum() / (bass**2).sum())
        assert cell(floor, song, "vocals", "usdr") == pytest.approx(wanted, abs=1e-3)
    ceiling = scoring.score_songs(scoring.manifest_tasks(manifest, "test", oracle="irm"))
    assert (ceiling.usdr > floor.usdr + 3).all()


def test_oracles_add_up_the_stems_where_there_is_no_mixture(corpus):
    _, manifest = corpus
    with_mixture = scoring.score_songs(scoring.manifest_tasks(manifest, "test", oracle="mixture"))
    manifest.tracks = manifest.tracks[manifest.tracks.stem != "mixture"].reset_index(drop=True)
    without = scoring.score_songs(scoring.manifest_tasks(manifest, "test", oracle="mixture"))
    np.testing.assert_allclose(without.usdr, with_mixture.usdr, atol=1e-4)


@pytest.mark.parametrize(
    ("waveform", "rate", "word"),
    [
        (noise(1, samples=2 * RATE - 1), RATE, "frames"),
        (noise(1), RATE + 1, "sample rate"),
        (noise(1, channels=1), RATE, "channels"),
        (np.full((2, 2 * RATE), np.nan), RATE, "not finite numbers"),
    ],
)
def test_an_estimate_that_does_not_fit_is_named_and_the_others_are_scored(
    corpus, waveform, rate, word
):
    folder, manifest = corpus
    write(folder / "estimates/a song/bass.wav", waveform, rate)
    tasks = scoring.manifest_tasks(manifest, "test", folder / "estimates")
    with pytest.raises(UserError, match=f"1 of 2 songs cannot be scored.*a song.*{word}"):
        scoring.score_songs(tasks)


def test_a_missing_estimate_is_named(corpus):
    folder, manifest = corpus
    (folder / "estimates/a song/bass.wav").unlink()
    with pytest.raises(UserError, match="a song holds no estimate of 'bass'"):
        scoring.manifest_tasks(manifest, "test", folder / "estimates")
    with pytest.raises(UserError, match="no song in split 'valid'"):
        scoring.manifest_tasks(manifest, "valid", folder / "estimates")


def test_estimates_of_one_stem_alone(corpus, capsys):
    folder, manifest = corpus
    whole = scoring.score_songs(scoring.manifest_tasks(manifest, "test", folder / "estimates"))
    for song in ("a song", "b song"):
        (folder / f"estimates/{song}/bass.wav").unlink()
    options = ("--estimates", str(folder / "estimates"), "--label", "vocals alone")
    with pytest.raises(UserError, match=r"'bass'; separate .* others alone \(--stems vocals\)"):
        score.main(command(folder, *options))
    score.main(command(folder, *options, "--stems", "vocals"))
    assert "scored: vocals, and no other stem" in capsys.readouterr().out
    scores = scoring.read_scores(folder / "exp/row/scores.csv")
    wanted = whole[whole.stem == "vocals"].reset_index(drop=True)
    pd.testing.assert_frame_equal(scores, wanted, atol=1e-6, rtol=0)
    score.main(command(folder, *options, "--stems", "vocals"))
    assert "nothing changed" in capsys.readouterr().out
    one = ["--references", f"{folder}/refs/a song", "--estimates", f"{folder}/estimates/a song"]
    score.main([*one, "--stems", "vocals"])
    assert "20.00" in capsys.readouterr().out


@pytest.mark.parametrize("oracle", ["mixture", "irm"])
def test_an_oracle_of_one_stem_still_hears_the_others(corpus, oracle):
    _, manifest = corpus
    whole = scoring.score_songs(scoring.manifest_tasks(manifest, "test", oracle=oracle))
    tasks = scoring.manifest_tasks(manifest, "test", oracle=oracle, stems=["bass"])
    wanted = whole[whole.stem == "bass"].reset_index(drop=True)
    pd.testing.assert_frame_equal(scoring.score_songs(tasks), wanted)
    everything = scoring.manifest_tasks(manifest, "test", oracle=oracle)[0]
    assert tasks[0].fingerprint.options != everything.fingerprint.options
    same = scoring.manifest_tasks(manifest, "test", oracle=oracle, stems=["bass", "vocals"])[0]
    assert same.fingerprint.options == everything.fingerprint.options


def test_stems_that_cannot_be_scored(corpus):
    folder, manifest = corpus
    with pytest.raises(UserError, match="--stems drums: song 'a song' has the stems vocals, bass"):
        scoring.manifest_tasks(manifest, "test", folder / "estimates", stems=["bass", "drums"])
    with pytest.raises(UserError, match="--full-bsseval compares"):
        scoring.manifest_tasks(manifest, "test", folder / "estimates", None, True, ["bass"])


def test_full_bsseval_agrees_with_csdr(corpus):
    folder, manifest = corpus
    # errors that no filter of a reference explains
    for i, stem in enumerate(STEMS):
        path = folder / f"estimates/a song/{stem}.wav"
        write(path, soundfile.read(path)[0].T + 0.1 * noise(100 + i))
    tasks = scoring.manifest_tasks(manifest, "test", folder / "estimates", full_bsseval=True)
    scores = scoring.score_songs([task for task in tasks if task.song == "a song"])
    np.testing.assert_allclose(scores.sdr, scores.csdr, atol=1e-3)
    assert (scores[["isr", "sir", "sar"]] > scores[["sdr"]].to_numpy() - 1e-6).all().all()
    # whoever mixes the order of museval's results up fails here
    assert (scores.sir > scores.sar).all()


def test_the_table_on_disk_is_the_table(corpus):
    folder, manifest = corpus
    scores = scoring.score_songs(scoring.manifest_tasks(manifest, "test", folder / "estimates"))
    scores.loc[0, "song"] = "007"
    scoring.write_scores(folder / "scores.csv", scores)
    again = scoring.read_scores(folder / "scores.csv")
    pd.testing.assert_frame_equal(again, scores, atol=1e-6, rtol=0)
    (folder / "scores.csv").write_text("song,stem,usdr\nx,bass,1\n")
    with pytest.raises(UserError, match="has no column 'usdr_per_channel'"):
        scoring.read_scores(folder / "scores.csv")
    with pytest.raises(UserError, match=r"none\.csv' cannot be read"):
        scoring.read_scores(folder / "none.csv")


def command(folder, *more):
    out = str(folder / "exp/row/scores.csv")
    return ["--manifest", str(folder / "manifests/labelled"), "--out", out, *more]


def test_command_writes_scores_and_the_rows_facts_once(corpus, capsys):
    folder, _ = corpus
    argv = command(folder, "--oracle", "mixture", "--label", "mixture", "--order", "3")
    score.main(argv)
    facts = read_experiment(folder / "exp/row")
    assert (facts["label"], facts["order"], facts["parameters"]) == ("mixture", 3, None)
    assert facts["command"].startswith("mixit-mss score --manifest")
    assert "average" in capsys.readouterr().out
    written = (folder / "exp/row/scores.csv").stat().st_mtime_ns
    score.main(argv)
    assert "nothing changed" in capsys.readouterr().out
    assert (folder / "exp/row/scores.csv").stat().st_mtime_ns == written


def test_command_keeps_what_training_noted_and_sees_new_estimates(corpus):
    folder, _ = corpus
    noted = {"parameters": 7, "steps": 5, "seed": 0, "commit": "c", "command": "mixit-mss finetune"}
    (folder / "exp/row").mkdir(parents=True)
    (folder / "exp/row/experiment.json").write_text(json.dumps(noted))
    argv = command(folder, "--estimates", str(folder / "estimates"), "--label", "tuned")
    score.main(argv)
    facts = read_experiment(folder / "exp/row")
    assert facts == {**noted, "config": None, "label": "tuned", "order": 0}
    before = (folder / "exp/row/scores.csv").read_text()
    write(folder / "estimates/a song/bass.wav", noise(5))
    score.main(argv)
    assert (folder / "exp/row/scores.csv").read_text() != before


def test_command_on_one_songs_folders(corpus, capsys):
    folder, _ = corpus
    argv = ["--references", str(folder / "refs/a song"), "--estimates"]
    score.main([*argv, str(folder / "estimates/a song")])
    assert "20.00" in capsys.readouterr().out


def test_command_refuses_what_cannot_be(corpus):
    folder, _ = corpus
    with pytest.raises(UserError, match="--oracle needs --manifest"):
        score.main(["--references", str(folder / "refs/a song"), "--oracle", "irm"])
    with pytest.raises(UserError, match="holds no stem"):
        score.main(["--references", str(folder), "--estimates", str(folder)])
    with pytest.raises(UserError, match="--nj 0"):
        score.main(command(folder, "--oracle", "irm", "--nj", "0"))
    assert not (folder / "exp").exists()


def test_only_songs_whose_files_changed_are_scored_again(corpus, capsys, monkeypatch):
    folder, _ = corpus
    argv = command(folder, "--estimates", str(folder / "estimates"), "--label", "tuned")
    score.main(argv)
    scored, plain = [], scoring.score_song
    monkeypatch.setattr(
        scoring, "score_song", lambda task: (scored.append(task.song), plain(task))[1]
    )
    write(folder / "estimates/a song/bass.wav", noise(5))
    score.main(argv)
    assert scored == ["a song"]
    score.main([*argv, "--order", "4", "--label", "renamed"])
    assert scored == ["a song"] and read_experiment(folder / "exp/row")["label"] == "renamed"
    # a reference of the same length: known by its content here, by its time where a table has none
    write(folder / "refs/b song/vocals.wav", noise(6))
    score.main(argv)
    assert scored == ["a song", "b song"]
    # a table that is gone or was changed is written again, from what is known
    table = (folder / "exp/row/scores.csv").read_text()
    for damage in ("", "song,stem"):
        (folder / "exp/row/scores.csv").write_text(damage)
        score.main(argv)
        assert (folder / "exp/row/scores.csv").read_text() == table
    # elsewhere, and by other paths
    (folder / "moved").mkdir()
    for name in ("exp", "estimates", "refs", "manifests"):
        (folder / name).rename(folder / "moved" / name)
    monkeypatch.chdir(folder / "moved")
    capsys.readouterr()
    score.main(["--manifest", "manifests/labelled", "--out", "exp/row/scores.csv",
                "--estimates", "estimates", "--label", "tuned"])  # fmt: skip
    assert "nothing changed" in capsys.readouterr().out
    assert scored == ["a song", "b song"]
