"""What changed is seen, what did not is not done again, and what describes a run lies with it."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tones import RATE, edit, run_finetune, run_pretrain

from mixit_mss.data.manifest import read_manifest, write_manifest
from mixit_mss.errors import Preempted
from mixit_mss.models.hub import load_model, read_card
from mixit_mss.training.systems import TrainingSystem

SHOWN = ("run.json", "history.csv")


def stop_at(monkeypatch, step):
    usual = TrainingSystem.training_step

    def training_step(self, batch, batch_nb):
        if self.trainer.global_step == step:
            os.kill(os.getpid(), 15)
        return usual(self, batch, batch_nb)

    monkeypatch.setattr(TrainingSystem, "training_step", training_step)


def never_train(monkeypatch):
    def training_step(self, batch, batch_nb):
        raise AssertionError("it trains again")

    monkeypatch.setattr(TrainingSystem, "training_step", training_step)


def add_song(corpus, table, split):
    """A song of that split, as a copy of another one's files."""
    manifest = read_manifest(corpus / table)
    rows = manifest.tracks[manifest.tracks["song"] == "song0"].copy()
    rows["song"], rows["split"] = "new", split
    manifest.tracks = pd.concat([manifest.tracks, rows], ignore_index=True)
    manifest.tracks["track"] = np.arange(len(manifest.tracks))
    write_manifest(corpus / table, manifest)


def test_songs_for_testing_change_no_training_and_others_do(corpus, capsys):
    run_pretrain(corpus)
    model = {"model": str(corpus / "model.yaml")}
    run_finetune(corpus, corpus / "tuned", **model)
    heard = read_card(corpus / "tuned/model")["training_data"]
    for table in ("unlabelled", "labelled"):
        add_song(corpus, table, "test")
    capsys.readouterr()
    run_pretrain(corpus)
    run_finetune(corpus, corpus / "tuned", **model)
    assert capsys.readouterr().out.count("nothing changed") == 2
    add_song(corpus, "labelled", "valid")
    run_finetune(corpus, corpus / "tuned", **model)
    assert "starting anew" in capsys.readouterr().out
    assert read_card(corpus / "tuned/model")["training_data"]["songs"] == heard["songs"] + 1


def test_stems_replaced_by_others_of_the_same_length_are_seen(corpus, capsys):
    model = {"model": str(corpus / "model.yaml")}
    run_finetune(corpus, corpus / "tuned", **model)
    path = corpus / "song0_low.wav"
    size = path.stat().st_size
    wave = 0.1 * np.random.default_rng(9).standard_normal((2 * RATE, 2))
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    assert path.stat().st_size == size
    run_finetune(corpus, corpus / "tuned", **model)
    assert "starting anew" in capsys.readouterr().out


def test_a_finished_training_that_moved_or_is_called_by_another_path_is_done(
    corpus, capsys, monkeypatch
):
    out = run_pretrain(corpus)
    init = {"init": str(out / "model")}
    with pytest.raises(Exception, match="no stems"):  # of the outputs of MixIT
        run_finetune(corpus, corpus / "tuned", **init)
    run_finetune(corpus, corpus / "tuned", model=str(corpus / "model.yaml"))
    run_finetune(corpus, corpus / "more", init=str(corpus / "tuned/model"))
    os.rename(corpus, corpus.with_name("moved"))
    monkeypatch.chdir(corpus.with_name("moved"))
    never_train(monkeypatch)
    capsys.readouterr()
    here = type(corpus)()
    run_pretrain(here)
    run_finetune(here, here / "tuned", model="model.yaml")
    run_finetune(here, here / "more", init="tuned/model")
    assert capsys.readouterr().out.count("nothing changed") == 3


@pytest.mark.parametrize("damage", ["gone", "no weights", "cut short"])
def test_a_model_that_is_gone_or_damaged_is_made_again_without_training(
    corpus, damage, monkeypatch
):
    out = run_pretrain(corpus)
    whole = load_model(out / "model").state_dict()
    weights = out / "model/model.safetensors"
    if damage == "gone":
        shutil.rmtree(out / "model")
    elif damage == "no weights":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-8])
    never_train(monkeypatch)
    run_pretrain(corpus)
    again = load_model(out / "model").state_dict()
    assert all((whole[name] == again[name]).all() for name in whole)


def test_a_config_that_is_changed_and_changed_back_leaves_what_it_found(
    corpus, monkeypatch, capsys
):
    out = run_pretrain(corpus)
    before = {name: (out / name).read_text() for name in SHOWN}
    edit(corpus / "pretrain.yaml", epochs=5)
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        stop_at(patch, 4)
        run_pretrain(corpus)
    shown = json.loads((out / "run.json").read_text())
    assert shown["config"]["run"]["epochs"] == 5 and len(shown["starts"]) == 1
    assert len(pd.read_csv(out / "history.csv")) == 2
    edit(corpus / "pretrain.yaml", epochs=3)
    capsys.readouterr()
    run_pretrain(corpus)
    assert "nothing changed" in capsys.readouterr().out
    assert {name: (out / name).read_text() for name in SHOWN} == before
    # and once more: the run that was given up goes on, and its model and records replace all
    edit(corpus / "pretrain.yaml", epochs=5)
    run_pretrain(corpus)
    assert len(json.loads((out / "run.json").read_text())["starts"]) == 2
    assert len(pd.read_csv(out / "history.csv")) == 5
    assert len(list((out / "runs").iterdir())) == len(list((out / "checkpoints").iterdir())) == 1


def scalars(out):
    """(step, value) by tag, as TensorBoard shows them."""
    (folder,) = (out / "runs").glob("*/tensorboard")
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.parametrize("step", [1, 2, 3])  # at an epoch's end, and within one
def test_tensorboard_goes_on_where_the_run_goes_on(corpus, monkeypatch, step):
    edit(corpus / "pretrain.yaml", epochs=3, steps_per_epoch=2)
    whole = run_pretrain(corpus, out="whole")
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        stop_at(patch, step)
        run_pretrain(corpus, out="stopped")
    stopped = run_pretrain(corpus, out="stopped")
    wanted, found = scalars(whole), scalars(stopped)
    assert wanted.keys() == found.keys()
    assert sum(map(len, wanted.values())) > 6
    for tag in wanted:
        assert [at for at, _ in found[tag]] == [at for at, _ in wanted[tag]], tag
        if "seconds" not in tag:
            assert found[tag] == wanted[tag], tag
