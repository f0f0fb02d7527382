"""A disk that refuses to take what a command writes: one sentence with the path, and nothing half."""

from __future__ import annotations

import builtins
import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_mss.bin.main import main
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import save_model

RATE = 8000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Prepared songs of two stems, manifests, and a network without names for its outputs."""
    root = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    for split in ("train", "valid"):
        for stem in ("low", "high"):
            path = root / f"songs/{split}/{split} song/{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, 0.1 * generator.standard_normal((7 * RATE, 2)), RATE)
    assert main([*segment(root), "--out", str(root / "data")]) == 0
    assert main(["make-manifests", "--labelled", f"{root}/data", "--out", f"{root}/lists"]) == 0
    sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
    stft = {"n_fft": 128, "hop": 32, "bands": 8, "sample_rate": RATE}
    save_model(BSLocoformer(3, **sizes, **stft), root / "model")
    return root


def segment(root):
    argv = ["segment", "--kind", "labelled", "--input", f"{root}/songs", "--stems", "low,high"]
    return [*argv, "--sample-rate", str(RATE)]


def commands(root, out):
    select = ["select-channels", "--model", f"{root}/model", "--manifest", f"{root}/lists/labelled"]
    score = ["score", "--manifest", f"{root}/lists/labelled", "--split", "valid"]
    return {
        "segment": [*segment(root), "--out", str(out)],
        "make-manifests": ["make-manifests", "--labelled", f"{root}/data", "--out", str(out)],
        "select-channels": [*select, "--stems", "low,high", "--out", str(out)],
        "score": [*score, "--oracle", "mixture", "--out", f"{out}/scores.csv"],
    }


def refuse(number):
    def call(first, *rest, **options):
        raise OSError(number, os.strerror(number), os.fspath(first))

    return call


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only|Read-only"), (errno.EIO, "'")],
)
@pytest.mark.parametrize("name", ["segment", "make-manifests", "select-channels", "score"])
def test_a_disk_that_refuses_is_one_sentence(
    corpus, tmp_path, capsys, monkeypatch, name, number, words
):
    argv = commands(corpus, tmp_path / "out")[name]
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse(number))
        assert main(argv) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"mixit-mss {name}: ") and re.search(words, last)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and ".partial" in path.name]
    assert left == []


@pytest.mark.parametrize("name", ["segment", "make-manifests", "select-channels", "score"])
def test_a_folder_that_cannot_be_made_is_one_sentence(corpus, tmp_path, capsys, monkeypatch, name):
    argv = commands(corpus, tmp_path / "out")[name]
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse(errno.EACCES))
        assert main(argv) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and "out" in said.strip().splitlines()[-1]


def test_a_report_on_a_disk_that_is_full(tmp_path, capsys, monkeypatch):
    """Whatever the report writes first, it says so."""
    folder = tmp_path / "exp"
    folder.mkdir()
    columns = "song,stem,usdr,usdr_per_channel,csdr"
    (folder / "scores.csv").write_text(f"{columns}\na,low,1,1,1\na,high,2,2,2\n")
    (folder / "experiment.json").write_text('{"label": "x", "order": 1}')
    whole = builtins.open

    def full(path, mode="r", *rest, **options):
        if "w" in mode and isinstance(path, (str, Path)) and "out" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return whole(path, mode, *rest, **options)

    argv = ["report", str(folder), "--manifests", str(tmp_path), "--out", f"{tmp_path}/out/R.md"]
    argv += ["--figures", str(tmp_path / "out/figures")]
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", full)
        patch.setattr(os, "replace", refuse(errno.ENOSPC))
        assert main(argv) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.strip().splitlines()[-1].startswith(
        "mixit-mss report: "
    )
