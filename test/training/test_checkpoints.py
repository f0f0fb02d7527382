"""Checkpoints: whole or not used, and at every moment one that is whole."""

import os
import random
import zipfile

import pytest
import torch
from tones import edit, run_finetune, run_pretrain

from mixit_mss.errors import Preempted, UserError
from mixit_mss.files import HOST
from mixit_mss.models.hub import load_model
from mixit_mss.training.checkpoints import (
    AtomicCheckpointIO,
    average_weights,
    damage_of,
    find_checkpoint,
)
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.systems import TrainingSystem


def checkpoint(step, **changes):
    """As much of a checkpoint as is looked at."""
    weights = {"model.a": torch.full((50,), float(step)), "model.b": torch.arange(30.0)}
    state = {
        **{"global_step": step, "epoch": 0, "state_dict": weights, "loops": {}, "callbacks": {}},
        **{"optimizer_states": [], "lr_schedulers": []},
    }
    return {**state, **changes}


def save(folder, step, name="last.ckpt"):
    AtomicCheckpointIO().save_checkpoint(checkpoint(step), folder / name)


def steps(folder):
    return {
        name: find_checkpoint_in(folder, name)
        for name in ("last.ckpt", "previous.ckpt")
        if (folder / name).exists()
    }


def find_checkpoint_in(folder, name):
    return torch.load(folder / name, weights_only=True)["global_step"]


def flip(path, position, bit):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_no_flipped_bit_gives_other_weights(tmp_path):
    save(tmp_path, 7)
    path = tmp_path / "last.ckpt"
    whole, good = path.read_bytes(), checkpoint(7)["state_dict"]
    generator, found = random.Random(0), 0
    for _ in range(600):
        path.write_bytes(whole)
        flip(path, generator.randrange(len(whole)), generator.randrange(8))
        if damage_of(path):
            found += 1
            continue
        # in what is between the parts of the file
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.equal(weights[name], good[name]) for name in good)
    assert found > 30
    for place in range(len(whole)):  # a part that calls itself a folder is not read by torch at all
        if whole[place : place + 4] == b"PK\1\2":
            path.write_bytes(whole)
            flip(path, place + 38, 4)
            assert "has become a folder" in damage_of(path)
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:  # every byte of a tensor counts
        entry = next(info for info in archive.infolist() if info.filename.endswith("data/0"))
    start = whole.index(good["model.a"].numpy().tobytes(), entry.header_offset)
    for position in range(start, start + entry.file_size, 17):
        path.write_bytes(whole)
        flip(path, position, 3)
        assert "not what was written" in damage_of(path)


BROKEN = {
    "a list": [1, 2],
    "a number": 3,
    "no step": {"state_dict": {}},
    "a step that is none": checkpoint("7"),
    "no optimiser": checkpoint(7, optimizer_states=None),
    "no loops": {key: value for key, value in checkpoint(7).items() if key != "loops"},
    "NaN weights": checkpoint(7, state_dict={"model.a": torch.tensor([1.0, float("nan")])}),
    "weights that are none": checkpoint(7, state_dict={"model.a": "text"}),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_what_is_no_checkpoint_is_said_and_the_one_before_is_taken(tmp_path, content, capsys):
    save(tmp_path, 4)
    save(tmp_path, 6)
    torch.save(content, tmp_path / "last.ckpt")
    found = find_checkpoint(tmp_path)
    assert found == (tmp_path / "previous.ckpt", 4)
    assert f"{tmp_path / 'last.ckpt'} is broken (" in capsys.readouterr().out


def test_files_that_are_none(tmp_path, capsys):
    save(tmp_path, 4, "previous.ckpt")
    last = tmp_path / "last.ckpt"
    for content in (b"", b"text", (tmp_path / "previous.ckpt").read_bytes()[:-200]):
        last.write_bytes(content)
        assert find_checkpoint(tmp_path).step == 4
    last.unlink()
    last.mkdir()
    assert find_checkpoint(tmp_path).step == 4
    last.rmdir()
    last.symlink_to("nowhere")
    assert find_checkpoint(tmp_path).step == 4
    (tmp_path / "previous.ckpt").unlink()
    assert find_checkpoint(tmp_path) is None
    assert capsys.readouterr().out.count("is broken") == 6


class Killed(BaseException):
    pass


def not_this_network(path):
    content = torch.load(path, weights_only=True)
    content["state_dict"]["model.a"] = torch.ones(3)
    torch.save(content, path)


BREAK = {
    "whole": None,
    "flipped": lambda path: flip(path, 2000, 1),
    "cut short": lambda path: os.truncate(path, 900),
    "of another network": not_this_network,
    "no checkpoint": lambda path: torch.save([1, 2], path),
}


@pytest.mark.parametrize("broken", BREAK)
def test_a_whole_checkpoint_is_there_at_every_moment_of_a_save(tmp_path, monkeypatch, broken):
    """Killed before each thing that a save does to files, and after the last."""
    network = torch.nn.ParameterDict({"a": torch.zeros(50), "b": torch.zeros(30)})
    for moment in range(10):
        folder = tmp_path / str(moment)
        save(folder, 4)
        save(folder, 6)
        if BREAK[broken]:
            BREAK[broken](folder / "last.ckpt")
        done = [0]

        def killing(usual, done=done, moment=moment):
            def operation(*words, **more):
                if done[0] == moment:
                    raise Killed
                done[0] += 1
                return usual(*words, **more)

            return operation

        with monkeypatch.context() as patch:
            for name in ("replace", "fsync", "unlink", "link"):
                patch.setattr(os, name, killing(getattr(os, name)))
            try:
                save(folder, 8)
                ended = True
            except Killed:
                ended = False
        found = find_checkpoint(folder, network)
        assert found.step in ((4, 8) if BREAK[broken] else (6, 8))
        if ended:
            wanted = {"last.ckpt": 8, "previous.ckpt": 4 if BREAK[broken] else 6}
            assert steps(folder) == wanted
            assert moment > 2
            return
    raise AssertionError("it never ended")


def test_a_checkpoint_that_cannot_be_read_back_replaces_nothing(tmp_path, monkeypatch):
    save(tmp_path, 4)
    usual = os.fsync

    def failing(number):
        usual(number)
        os.pwrite(number, bytes(1000), 500)  # as a bad disk would

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UserError, match=r"last\.ckpt' was written and cannot be read back"):
        save(tmp_path, 6)
    assert steps(tmp_path) == {"last.ckpt": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_damaged_ones_are_left_out_of_the_average(tmp_path, capsys):
    for step in (2, 4, 9):
        save(tmp_path, step, f"best-{step}.ckpt")
    paths = [str(tmp_path / f"best-{step}.ckpt") for step in (2, 4, 9)]
    assert average_weights(paths)["a"].tolist() == [5.0] * 50
    (tmp_path / "best-9.ckpt").write_bytes(b"damaged")
    assert average_weights(paths)["a"].tolist() == [3.0] * 50
    assert "best-9.ckpt is left out of the average" in capsys.readouterr().out
    for path in paths[:2]:
        os.unlink(path)
    with pytest.raises(UserError, match="none of the 3 best checkpoints can be read"):
        average_weights(paths)


def stop_at(monkeypatch, step):
    usual = TrainingSystem.training_step

    def training_step(self, batch, batch_nb):
        if self.trainer.global_step == step:
            os.kill(os.getpid(), 15)
        return usual(self, batch, batch_nb)

    monkeypatch.setattr(TrainingSystem, "training_step", training_step)


def test_a_run_that_moved_half_done_keeps_its_best_checkpoints(corpus, monkeypatch):
    edit(corpus / "pretrain.yaml", epochs=4)
    whole = run_pretrain(corpus, out="whole")
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        stop_at(patch, 5)
        run_pretrain(corpus, out="stopped")
    os.rename(corpus / "stopped", corpus / "moved")
    again = run_pretrain(corpus, out="moved")
    one, other = (load_model(out / "model").state_dict() for out in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_leftovers_of_killed_saves_go_and_take_no_room(corpus, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Preempted):
        stop_at(patch, 3)
        run_pretrain(corpus)
    folder = next((corpus / "exp/checkpoints").iterdir())
    left = [
        folder / f".last.9999999-{HOST}.partial.ckpt",
        corpus / f"exp/.history.9999999-{HOST}.partial.csv",
    ]
    for path in left:
        path.write_text("half")
    run_pretrain(corpus)
    assert not any(path.exists() for path in left)
    assert run_finetune(corpus, corpus / "tuned", model=str(corpus / "model.yaml")).is_dir()


def test_every_step_can_be_the_last_one_that_was_saved(corpus):
    run_pretrain(corpus, hardware=Hardware(checkpoint_minutes=0))
    folder = next((corpus / "exp/checkpoints").iterdir())
    assert steps(folder) == {"last.ckpt": 6, "previous.ckpt": 5}
