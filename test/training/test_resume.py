"""A run that was stopped, killed or moved ends with the weights of one that was not."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from tones import edit, make_corpus, run_finetune, run_pretrain

from mixit_mss.errors import Preempted
from mixit_mss.models.hub import load_model
from mixit_mss.training.checkpoints import find_checkpoint
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.systems import TrainingSystem

EVERY_STEP = Hardware(checkpoint_minutes=0)


@pytest.fixture
def corpus(tmp_path):
    """With dropout, so that the network draws numbers too."""
    folder = make_corpus(tmp_path)
    with open(folder / "model.yaml", "a", encoding="utf-8") as file:
        file.write("dropout: 0.1\n")
    edit(folder / "pretrain.yaml", epochs=3, steps_per_epoch=4)
    edit(folder / "finetune.yaml", epochs=3, steps_per_epoch=4, validate_every_epochs=2)
    return folder


def weights(experiment):
    return load_model(experiment / "model").state_dict()


def assert_same(one, other):
    assert all(torch.equal(one[name], other[name]) for name in one)


def losses(experiment):
    columns = ["epoch", "step", "lr", "train_loss", "val_loss"]
    return pd.read_csv(experiment / "history.csv")[columns]


def stop_at(monkeypatch, step, number=signal.SIGTERM):
    """Send a signal to this process in the middle of optimiser step ``step``."""
    usual = TrainingSystem.training_step

    def training_step(self, batch, batch_nb):
        if self.trainer.global_step == step:
            os.kill(os.getpid(), number)
        return usual(self, batch, batch_nb)

    monkeypatch.setattr(TrainingSystem, "training_step", training_step)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_goes_on(corpus, monkeypatch, number, capsys):
    whole = run_pretrain(corpus, out="whole")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(Preempted) as stop:
        stop_at(patch, 5, number)
        run_pretrain(corpus, out="stopped")
    assert stop.value.signum == number
    assert "after step 6" in str(stop.value)
    assert signal.getsignal(number) is before
    again = run_pretrain(corpus, out="stopped")
    assert "step 6" in capsys.readouterr().out
    assert_same(weights(whole), weights(again))
    pd.testing.assert_frame_equal(losses(whole), losses(again))


@pytest.mark.parametrize("step", [0, 2, 3, 11])
def test_stopped_anywhere_in_fine_tuning(corpus, monkeypatch, step):
    model = {"model": str(corpus / "model.yaml")}
    whole = run_finetune(corpus, corpus / "whole", **model)
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        stop_at(patch, step)
        run_finetune(corpus, corpus / "stopped", **model)
    again = run_finetune(corpus, corpus / "stopped", **model)
    assert_same(weights(whole), weights(again))
    history = pd.read_csv(again / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["val_usdr"].notna().tolist() == [False, True, False]


def test_devices_and_accumulation_may_change_on_the_way(corpus, monkeypatch):
    model = corpus / "model.yaml"
    model.write_text(model.read_text().replace("dropout: 0.1", "dropout: 0.0"))
    whole = run_pretrain(corpus, out="whole")
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        stop_at(patch, 5)
        run_pretrain(corpus, out="stopped", hardware=Hardware(batch_per_device=1))
    edit(corpus / "pretrain.yaml", num_workers=1)
    again = run_pretrain(corpus, out="stopped")
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(again)[name], tensor, rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(losses(whole), losses(again), rtol=1e-4)


def test_a_broken_checkpoint_falls_back_to_the_one_before(corpus, monkeypatch, capsys):
    whole = run_pretrain(corpus, out="whole")
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        stop_at(patch, 6)
        run_pretrain(corpus, out="stopped", hardware=EVERY_STEP)
    last = next((corpus / "stopped").rglob("last.ckpt"))
    last.write_bytes(last.read_bytes()[:5000])
    again = run_pretrain(corpus, out="stopped")
    printed = capsys.readouterr().out
    assert f"{last} is broken" in printed
    assert "previous.ckpt, step 6" in printed
    assert_same(weights(whole), weights(again))


def test_a_signal_to_all_processes_of_a_run_with_workers(corpus):
    """As a terminal's Ctrl-C and a cluster's SIGTERM are."""
    edit(corpus / "pretrain.yaml", epochs=40, num_workers=1)
    command = [sys.executable, "-u", "-m", "mixit_mss.bin.pretrain"]
    for name, path in (("config", "pretrain.yaml"), ("model", "model.yaml")):
        command += [f"--{name}", str(corpus / path)]
    command += ["--manifest", str(corpus / "unlabelled"), "--out", str(corpus / "stopped")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    for line in process.stdout:
        if line.startswith("epoch 2/40"):
            os.killpg(process.pid, signal.SIGTERM)
            break
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "stopped by SIGTERM after step" in said
    assert "Traceback" not in said
    assert find_checkpoint(next((corpus / "stopped/checkpoints").iterdir())).step >= 8


def _work(folder, stage, out):
    torch.set_num_threads(1)
    if stage == "pretrain":
        run_pretrain(folder, out=out, hardware=EVERY_STEP)
    else:
        run_finetune(folder, folder / out, model=str(folder / "model.yaml"), hardware=EVERY_STEP)


def test_kill_9_at_random_points(corpus):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mixit_mss.training.fitting", "tones"])
    generator = random.Random(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        wholes = {"pretrain": run_pretrain(corpus, out="whole")}
        wholes["finetune"] = run_finetune(
            corpus, corpus / "tuned", model=str(corpus / "model.yaml")
        )
    finally:
        torch.set_num_threads(threads)
    for out in ("server starts", "timed"):
        started = time.monotonic()
        process = context.Process(target=_work, args=(corpus, "pretrain", out))
        process.start()
        process.join()
        seconds = time.monotonic() - started
    for stage, whole in wholes.items():
        kills = rounds = 0
        while kills < 6:
            rounds += 1
            assert rounds < 40
            out = f"{stage}{rounds}"
            while True:
                process = context.Process(target=_work, args=(corpus, stage, out))
                process.start()
                process.join(generator.uniform(0.05, 0.9) * seconds)
                if process.exitcode is None:
                    process.kill()
                    process.join()
                    kills += 1
                else:
                    assert process.exitcode == 0
                    break
            assert_same(weights(whole), weights(corpus / out))


def test_two_processes_learn_what_one_learns(corpus):
    model = corpus / "model.yaml"
    model.write_text(model.read_text().replace("dropout: 0.1", "dropout: 0.0"))
    edit(corpus / "pretrain.yaml", epochs=20, steps_per_epoch=1, batch_size=4)
    edit(corpus / "pretrain.yaml", validate_every_epochs=10, validation_chunks=3)
    run_pretrain(corpus, out="one")
    command = [sys.executable, "-m", "mixit_mss.bin.pretrain", "--device", "cpu", "--ngpu", "2"]
    for name in ("config", "model", "manifest", "out"):
        path = {"config": "pretrain.yaml", "model": "model.yaml", "manifest": "unlabelled"}
        command += [f"--{name}", str(corpus / path.get(name, "two"))]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("epoch 20/20") == 1
    one, two = losses(corpus / "one"), losses(corpus / "two")
    assert len(one) == 20
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)
    for name, tensor in weights(corpus / "one").items():
        torch.testing.assert_close(weights(corpus / "two")[name], tensor, rtol=1e-4, atol=1e-5)
