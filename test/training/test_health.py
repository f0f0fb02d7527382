"""Runs that go wrong say so early; what was run is on record; odd hardware gets one sentence."""

import json
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tones import edit, run_finetune, run_pretrain

from mixit_mss.errors import UserError
from mixit_mss.models.hub import load_model
from mixit_mss.scoring.metrics import usdr
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.health import warn_of_collapse
from mixit_mss.training.memory.batch_size import largest_batch
from mixit_mss.training.systems import TrainingSystem
from mixit_mss.training.validation import SongScores


def spoil(monkeypatch, steps):
    """Make the loss NaN at these optimiser steps."""
    usual = TrainingSystem.training_step

    def training_step(self, batch, batch_nb):
        loss = usual(self, batch, batch_nb)
        return loss * float("nan") if self.trainer.global_step in steps else loss

    monkeypatch.setattr(TrainingSystem, "training_step", training_step)


def test_a_step_without_a_finite_gradient_is_left_out(corpus, monkeypatch, capsys):
    spoil(monkeypatch, {3})
    experiment = run_pretrain(corpus)
    assert "1 steps skipped" in capsys.readouterr().out
    notes = pd.read_csv(experiment / "bad_batches.csv")
    assert notes[["step", "first_example", "last_example"]].values.tolist() == [[3, 6, 7]]
    for tensor in load_model(experiment / "model").state_dict().values():
        assert tensor.isfinite().all()


def test_too_many_bad_steps_end_the_run(corpus, monkeypatch):
    edit(corpus / "pretrain.yaml", max_bad_steps=3)
    spoil(monkeypatch, {1, 2, 3})
    with pytest.raises(UserError, match=r"3 steps in a row .*bad_batches.csv lists their"):
        run_pretrain(corpus)


def test_the_run_is_on_record(corpus):
    experiment = run_pretrain(
        corpus, command="mixit-mss pretrain ...", monitor_stems=str(corpus / "labelled")
    )
    record = json.loads((experiment / "run.json").read_text())
    assert record["config"]["run"]["epochs"] == 3
    assert record["network"]["dim"] == 8
    assert record["starts"][0]["command"] == "mixit-mss pretrain ..."
    assert record["starts"][0]["packages"]["torch"] == torch.__version__
    assert any((experiment / "runs").glob("*/tensorboard/events*"))
    history = pd.read_csv(experiment / "history.csv")
    assert history["step"].tolist() == [2, 4, 6]
    assert (history["val_loss"] < 10).all()
    shares = history.filter(like="energy_share").to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert history["active_outputs"].between(1, 4).all()
    # the best sum of outputs is no worse than one output alone, and no better than -loss says
    np.testing.assert_allclose(history["snr_of_remix"], -history["val_loss"] / 2, rtol=1e-5)
    assert history["stem_snr_gain"].notna().all()


def test_the_same_network_with_and_without_a_monitor(corpus):
    plain = load_model(run_pretrain(corpus, out="plain") / "model").state_dict()
    watched = run_pretrain(corpus, out="watched", monitor_stems=str(corpus / "labelled"))
    for name, tensor in load_model(watched / "model").state_dict().items():
        assert torch.equal(tensor, plain[name])


def test_a_moving_average_is_what_is_kept(corpus):
    plain = load_model(run_pretrain(corpus, out="plain") / "model").state_dict()
    edit(corpus / "pretrain.yaml", ema_decay=0.999)
    slow = load_model(run_pretrain(corpus, out="slow") / "model").state_dict()
    start = load_model(run_pretrain(corpus, out="slow") / "model").state_dict()
    moved = {n: (plain[n] - slow[n]).abs().max() for n in plain if plain[n].is_floating_point()}
    assert max(moved.values()) > 1e-4
    assert all(torch.equal(start[n], slow[n]) for n in slow)


def test_usdr_of_whole_songs_from_chunks(corpus):
    generator = torch.Generator().manual_seed(0)
    songs = torch.randn(2, 3, 2, 400, generator=generator)
    estimates = songs + 0.1 * torch.randn(2, 3, 2, 400, generator=generator)
    scores = SongScores(2, 3, torch.device("cpu"))
    for start in range(0, 400, 100):
        chunk = slice(start, start + 100)
        scores.add(torch.tensor([0, 1]), estimates[..., chunk], songs[..., chunk])
    one_device = SimpleNamespace(reduce=lambda tensor, reduce_op: tensor)
    expected = np.mean([usdr(estimates[i], songs[i]).mean().item() for i in range(2)])
    assert scores.usdr(one_device).item() == pytest.approx(expected, abs=1e-4)


def test_validation_usdr_is_in_the_history(corpus):
    out = run_finetune(corpus, corpus / "tuned", model=str(corpus / "model.yaml"))
    history = pd.read_csv(out / "history.csv")
    assert history["val_usdr"].notna().all()
    assert history["val_usdr"].iloc[-1] > history["val_usdr"].iloc[0]


@pytest.mark.parametrize(("remix", "one", "warned"), [(9, 8.5, True), (9, 5, False), (2, 2, False)])
def test_collapse_is_told(remix, one, warned, capsys):
    metrics = {"snr_of_remix": torch.tensor(remix), "snr_of_one_output": torch.tensor(one)}
    warn_of_collapse(SimpleNamespace(callback_metrics=metrics, is_global_zero=True))
    assert ("separates songs, not their sources" in capsys.readouterr().out) == warned


@pytest.mark.parametrize(
    ("share", "fixed", "each", "room", "expected"),
    [
        (12, 10, 5, 1000, 12),
        (12, 10, 5, 45, 6),
        (12, 10, 5, 20, 2),
        (12, 10, 5, 16, 1),
        (1, 0, 1, 2, 1),
    ],
)
def test_the_largest_batch_that_fits(share, fixed, each, room, expected):
    def peak(batch):
        need = fixed + each * batch
        return need if need <= room else None

    assert largest_batch(share, peak, room) == expected


def test_not_even_one_example_fits():
    with pytest.raises(UserError, match="activation_checkpointing: true"):
        largest_batch(4, lambda batch: None, 10)


def test_batch_is_found_by_trial_and_remembered(corpus, capsys):
    run_pretrain(corpus, hardware=Hardware(device="cpu", find_batch=True))
    assert "batch per device: 2 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        (Hardware(ngpu=3, device="cpu"), "run.batch_size 2 does not divide over 3 devices"),
        (Hardware(batch_per_device=4), "--batch-per-device 4 does not divide"),
        pytest.param(
            Hardware(ngpu=2),
            "torch sees no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        pytest.param(
            Hardware(device="cuda"),
            "--device cuda: torch sees no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_hardware_that_cannot_be(corpus, hardware, message):
    with pytest.raises(UserError, match=message):
        run_pretrain(corpus, hardware=hardware)


@pytest.mark.skipif(find_spec("wandb") is not None, reason="Weights & Biases is installed")
def test_a_logger_that_is_not_there(corpus):
    with pytest.raises(UserError, match="pip install wandb"):
        run_pretrain(corpus, hardware=Hardware(wandb=True))


def test_too_little_disk(corpus, monkeypatch):
    from mixit_mss import disk

    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="the checkpoints of this run need"):
        run_pretrain(corpus)
