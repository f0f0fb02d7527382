"""``mixit-mss plan`` as people call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_mss.bin import main as door
from mixit_mss.bin import plan
from mixit_mss.cost import plan as planning
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.errors import UserError

CONF = Path(__file__).parents[1] / "egs/conf"
MODEL = ["--model", str(CONF / "model_mini.yaml")]
PRETRAIN = ["--config", str(CONF / "pretrain.yaml"), *MODEL, "--no-dry-run"]
FINETUNE = ["--config", str(CONF / "finetune.yaml"), "--stage", "finetune", *MODEL, "--no-dry-run"]


@pytest.fixture(autouse=True, scope="module")
def each_step_once():
    """Of the few steps that these tests ask about, each is simulated a single time."""
    known, simulate = {}, planning.simulate_step

    def remembered(step, half):
        key = (repr(step), half)
        if key not in known:
            known[key] = simulate(step, half)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "simulate_step", remembered)
        yield


def planned(capsys, argv):
    plan.main([*argv, "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_pretraining_run_in_words_and_in_json(capsys):
    numbers = planned(capsys, [*PRETRAIN, "--corpus", "fma_large"])
    assert (numbers["stage"], numbers["sources"], numbers["steps"]) == ("pretrain", 6, 8)
    assert numbers["network_hours"] == pytest.approx(8 * 2 * 1.0 / 3600)
    assert numbers["memory_source"] == "estimated"
    assert numbers["corpus_bytes"] == 93 * 2**30
    total = numbers["steps"] * numbers["flops_per_step"]
    assert numbers["gpu_hours"] == pytest.approx(total / 100e12 / 3600)
    door.main(["plan", *PRETRAIN, "--corpus", "fma_large"])
    words = capsys.readouterr().out
    for part in (f"{numbers['parameters']:,}", "estimated", "100 TFLOP/s", "93.0 GiB", "not the"):
        assert part in words


def test_freezing_the_separator_takes_it_out_of_what_is_trained(capsys):
    whole = planned(capsys, FINETUNE)
    frozen = planned(capsys, [*FINETUNE, "--trainable", "encoder_decoder"])
    assert whole["sources"] == 4
    assert whole["parameters"] == whole["trainable"] == frozen["parameters"]
    assert frozen["trainable"] < whole["trainable"]
    assert frozen["forward_flops"] == whole["forward_flops"]
    assert frozen["backward_flops"] < whole["backward_flops"]
    assert frozen["memory_bytes"] < whole["memory_bytes"]


def test_a_manifest_tells_stems_and_disk(capsys, tmp_path):
    rows = []
    for stem in ("mixture", "a", "b", "c"):
        path = tmp_path / f"{stem}.wav"
        soundfile.write(path, np.zeros((800, 2)), 8000, subtype="PCM_16")
        row = {"song": "s", "stem": stem, "split": "train", "path": str(path), "license": ""}
        rows.append({**row, "frames": 800, "sample_rate": 8000, "channels": 2})
    write_manifest(tmp_path / "songs", make_manifest(rows, [(np.array([0]), 800)] * 4))
    numbers = planned(capsys, [*FINETUNE, "--manifest", str(tmp_path / "songs")])
    assert (numbers["sources"], numbers["corpus_bytes"]) == (3, 4 * (44 + 800 * 4))
    assert numbers["drawn_hours"] == pytest.approx(3 * numbers["network_hours"])
    (tmp_path / "a.wav").unlink()
    with pytest.raises(UserError, match=r"a\.wav' does not exist"):
        plan.main([*FINETUNE, "--manifest", str(tmp_path / "songs")])


def test_a_dry_step_is_the_default(capsys, monkeypatch):
    monkeypatch.setattr(planning, "can_weigh", lambda device: True)
    monkeypatch.setattr(planning, "dry_step", lambda *_: 123456789)
    numbers = planned(capsys, PRETRAIN[:-1])
    assert numbers["memory_bytes"] == 123456789
    assert numbers["memory_source"].startswith("measured")


def test_mistakes_are_one_sentence(capsys, tmp_path):
    either = tmp_path / "either.yaml"  # no key of its own kind
    either.write_text("run: {epochs: 1, steps_per_epoch: 1, batch_size: 1}")
    assert door.main(["plan", "--config", str(either), *MODEL]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mixit-mss plan: ") and error.count("\n") == 1
    assert "--stage finetune" in error
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        plan.main(["--config", "none.yaml"])


def test_help_is_quick_and_offers_every_corpus():
    assert tuple(planning.CORPORA) == plan.CORPORA
    code = "import sys; from mixit_mss.bin.plan import build_parser; build_parser().format_help()"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
