"""Songs to separating network on a folder of songs of one's own, with two stems of other names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from mixit_mss.models.hub import load_model

ROOT = Path(__file__).parents[2]
RUN = ROOT / "egs/own_music/run.sh"
STEMS = ("solo", "rest of it")
RATE = 8000


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    root = tmp_path_factory.mktemp("music")
    generator = np.random.default_rng(0)
    for number in range(5):
        path = root / f"songs/Band {number % 2}/song {number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * generator.standard_normal((12 * RATE, 2)), RATE)
    for split in ("train", "valid", "test"):
        for stem in STEMS:
            path = root / f"stems/{split}/a song for {split}/{stem}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * generator.standard_normal((7 * RATE, 2)), RATE)
    return root


def run(work, *options):
    argv = [str(RUN), "--work-dir", str(work), "--nj", "1", *map(str, options)]
    return subprocess.run(argv, capture_output=True, text=True)


def test_training_with_stems_of_ones_own(music, tmp_path):
    folders = ("--unlabelled-dir", music / "songs", "--labelled-dir", music / "stems")
    mini = ("--conf-dir", ROOT / "test/egs/conf", "--model", "mini", "--sample-rate", RATE)
    more = ("--stems", ",".join(STEMS), "--init", "mixit", "--stop-stage", 5)
    done = run(tmp_path, *folders, *mini, *more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    kept = pd.read_csv(tmp_path / "manifests/unlabelled.tracks.csv")
    assert set(kept["song"]) == {f"Band {number % 2}/song {number}" for number in range(5)}
    assert load_model(tmp_path / "exp/pretrain_mini_seed1/selected_2").stems == STEMS
    assert load_model(tmp_path / "exp/finetune_mini_seed1_mixit_all/model").stems == STEMS


def test_folders_must_be_named(music, tmp_path):
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stderr == 'run.sh: --unlabelled-dir must name a folder of your songs, not ""\n'
    done = run(tmp_path, "--unlabelled-dir", music / "songs", "--labelled-dir", music / "none")
    assert done.returncode == 1 and "--labelled-dir must name a folder" in done.stderr
