"""The whole recipe in miniature: real songs, every stage, killed twice on the way."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mixit_mss.models.hub import load_model, read_card

ROOT = Path(__file__).parents[2]
RUN = ROOT / "egs/midi_band/run.sh"
STEMS = ("vocals", "drums", "bass", "other")
MINI = {
    "conf-dir": ROOT / "test/egs/conf",
    "model": "mini",
    "sample-rate": 8000,
    "num-unlabelled": 6,
    "num-train": 2,
    "num-valid": 1,
    "num-test": 1,
    "seconds": 13,
    "trainable": "all",
    "nj": 1,
}


def command(work_dir, **more):
    options = {"work-dir": work_dir, **MINI, **more}
    return [
        str(RUN),
        *(word for key, value in options.items() for word in (f"--{key}", str(value))),
    ]


def run_until_killed(work_dir, stage, sign, seconds):
    """Start the recipe at a stage; kill -9 all of it some seconds after it printed ``sign``."""
    process = subprocess.Popen(
        command(work_dir, stage=stage, nj=2),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if sign in line:
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return
    pytest.fail(f"never printed {sign!r}:\n{''.join(seen[-30:])}")


def run_to_the_end(work_dir):
    done = subprocess.run(command(work_dir), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished miniature, and what its run printed."""
    work_dir = tmp_path_factory.mktemp("recipe")
    return work_dir, run_to_the_end(work_dir)


def test_killed_in_every_stage_the_results_are_the_same(finished, tmp_path):
    generator = random.Random(0)
    for stage, sign in (
        (0, "== stage 0"),
        (0, "== stage 1"),
        (1, "== stage 2"),
        (2, "epoch 2/4"),  # in pre-training
        (3, "== stage 4"),
        (4, "-- mixit, all --"),  # between and in fine-tuning
        (5, "== stage 6"),
    ):
        run_until_killed(tmp_path, stage, sign, generator.uniform(0, 3))
    printed = run_to_the_end(tmp_path)
    assert "nothing changed" in printed
    assert "songs are there, nothing to do" in printed
    whole, _ = finished
    results = [(folder / "RESULTS.md").read_text() for folder in (whole, tmp_path)]
    again = results[1].replace(str(tmp_path), str(whole)).replace("--nj 2", "--nj 1")
    assert again == results[0]


def test_every_stage_leaves_its_files(finished):
    work_dir, _ = finished
    pretrained = work_dir / "exp/pretrain_mini_seed1"
    assert read_card(pretrained / "model")["steps"] == 8
    selected = load_model(pretrained / "selected_4")
    assert selected.stems == STEMS
    votes = pd.read_csv(pretrained / "selected_4/votes.csv")
    assert len(votes) == 6
    assert set(votes["chosen_for"].dropna()) == set(STEMS)
    assert votes[list(STEMS)].to_numpy().sum() > 0
    for name in ("scores", "votes", "spectrograms"):
        png = next((work_dir / "figures").glob(f"*{name.rstrip('s')}*"), None)
        assert png is not None or name == "scores", f"no picture of the {name}"


def test_scores_are_those_of_the_estimates(finished):
    work_dir, _ = finished
    experiment = work_dir / "exp/finetune_mini_seed1_mixit_all"
    scores = pd.read_csv(experiment / "scores.csv").set_index("stem")
    song = scores["song"].iloc[0]
    for stem in STEMS:
        estimate, rate = soundfile.read(experiment / f"estimates/{song}/{stem}.wav")
        reference, _ = soundfile.read(work_dir / f"downloads/labelled/test/{song}/{stem}.flac")
        assert rate == 44100
        assert estimate.shape == reference.shape
        error = np.square(reference - estimate).sum() + 1e-7
        usdr = 10 * np.log10((np.square(reference).sum() + 1e-7) / error)
        assert scores.loc[stem, "usdr"] == pytest.approx(usdr, abs=1e-4)


def test_results_have_a_row_for_every_experiment(finished):
    work_dir, _ = finished
    results = (work_dir / "RESULTS.md").read_text()
    for label in (
        "mixture as estimate",
        "ideal ratio mask",
        "MixIT, selected outputs, no stems seen",
        "from scratch",
        "MixIT, then fine-tuned",
    ):
        assert f"| {label} |" in results
    assert "<audio" in (work_dir / "report.html").read_text()


def test_the_real_recording_is_separated(finished):
    work_dir, printed = finished
    song = "The Easton Ellises - Falcon 69"
    stems = sorted(path.stem for path in (work_dir / "exp/real_excerpt" / song).glob("*.wav"))
    assert stems == sorted(STEMS)
    assert "listen to the estimates" in printed


def test_pre_training_on_songs_of_ones_own(finished, tmp_path):
    work_dir, _ = finished
    songs = sorted((work_dir / "downloads/unlabelled").glob("*.flac"))
    for song, kind in zip(songs, ("mp3", "ogg", "flac", "wav", "m4a"), strict=False):
        convert = ["ffmpeg", "-v", "error", "-i", song, tmp_path / "mine" / f"{song.stem}.{kind}"]
        (tmp_path / "mine").mkdir(exist_ok=True)
        subprocess.run(convert, check=True)
    (tmp_path / "mine/broken.mp3").write_bytes(b"no music")
    own = {"unlabelled-dir": tmp_path / "mine", "labelled-dir": work_dir / "downloads/labelled"}
    subprocess.run(
        command(tmp_path / "work", **own, **{"stop-stage": 3}), check=True, capture_output=True
    )
    assert not list((tmp_path / "work/downloads").rglob("*.flac"))
    kept = pd.read_csv(tmp_path / "work/manifests/unlabelled.tracks.csv")
    assert sorted(kept["song"]) == sorted(song.stem for song in songs[:5])
    refused = pd.read_csv(tmp_path / "work/data/unlabelled/rejected.csv")
    assert [Path(path).name for path in refused["path"]] == ["broken.mp3"]
    assert read_card(tmp_path / "work/exp/pretrain_mini_seed1/model")["steps"] == 8


def test_a_finished_run_does_nothing_again(finished):
    work_dir, _ = finished
    weights = work_dir / "exp/finetune_mini_seed1_mixit_all/model/model.safetensors"
    before = weights.stat().st_mtime_ns
    started = time.time()
    again = subprocess.run(
        command(work_dir, **{"stop-stage": 5}), capture_output=True, text=True, check=True
    )
    assert weights.stat().st_mtime_ns == before
    assert "epoch" not in again.stdout
    changed = [
        path
        for path in work_dir.rglob("*")
        if path.is_file()
        and path.stat().st_mtime > started
        and path.name != "seconds_per_stage.tsv"
        and not path.name.startswith(".lock")  # who is at work
    ]
    assert changed == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stage", "-1"], "--stage must be a whole number"),
        (["--colour", "red"], "unknown option --colour"),
        (["--init", "random"], "init"),
        (["--stage", "1", "--stop-stage", "1", "--unlabelled-dir", "/nonexistent"], "/nonexistent"),
        (["--stage", "2", "--stop-stage", "2"], "data/unlabelled"),
        (["--stage", "3", "--stop-stage", "3"], "manifests/unlabelled"),
        (["--stage", "4", "--stop-stage", "4"], "is no model folder"),
    ],
)
def test_bad_options_get_one_sentence_and_status_1(tmp_path, options, message):
    done = subprocess.run(
        [str(RUN), "--work-dir", str(tmp_path), *options], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
