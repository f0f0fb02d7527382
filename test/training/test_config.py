"""Configs: bases, deltas, and one clear sentence for everything that cannot be."""

from pathlib import Path

import pytest
import torch

from mixit_mss.errors import UserError
from mixit_mss.models import build_model
from mixit_mss.training.config import FinetuneConfig, PretrainConfig, load_config, read_yaml

RECIPES = Path(__file__).parents[2] / "egs"
MINIMAL = "run: {epochs: 2, steps_per_epoch: 3, batch_size: 4}\n"


def write(tmp_path, text, name="c.yaml"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def committed(pattern):
    return sorted(RECIPES.glob(f"*/conf/**/{pattern}"))


def test_there_are_committed_configs():
    assert committed("model_*.yaml")
    assert committed("pretrain*.yaml")
    assert committed("finetune*.yaml")
    known = {
        path for kind in ("model_", "pretrain", "finetune") for path in committed(f"{kind}*.yaml")
    }
    assert known == set(committed("*.yaml")), "a config that no test builds"


@pytest.mark.parametrize("path", committed("model_*.yaml"), ids=str)
def test_every_committed_network_is_built(path):
    with torch.device("meta"):
        assert build_model(**read_yaml(path), num_sources=4).num_sources == 4


@pytest.mark.parametrize("path", committed("pretrain*.yaml"), ids=str)
def test_every_committed_pretraining_is_valid(path):
    assert load_config(path, PretrainConfig).run.epochs > 0


@pytest.mark.parametrize("path", committed("finetune*.yaml"), ids=str)
def test_every_committed_finetuning_is_valid(path):
    assert load_config(path, FinetuneConfig).run.epochs > 0


def test_a_file_says_only_what_differs_from_its_base(tmp_path):
    write(tmp_path, MINIMAL + "optimizer: {lr: 1e-4, clip_norm: 1}\n", "base.yaml")
    (tmp_path / "sub").mkdir()
    path = write(tmp_path, "base: ../base.yaml\nrun: {epochs: 7}\n", "sub/delta.yaml")
    config = load_config(path, PretrainConfig)
    assert (config.run.epochs, config.run.steps_per_epoch) == (7, 3)
    assert (config.optimizer.lr, config.optimizer.clip_norm) == (1e-4, 1)


def test_the_papers_values_are_the_defaults(tmp_path):
    path = write(tmp_path, MINIMAL)
    config = load_config(path, PretrainConfig)
    assert config.num_outputs == 12
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (1e-3, 1e-2)
    assert config.loss.threshold == 1e-3
    assert config.run.chunk_seconds == 6
    tuned = load_config(path, FinetuneConfig)
    assert (tuned.schedule.hold_epochs, tuned.schedule.decay) == (550, 0.98)
    assert (tuned.mixing.gain_db, tuned.mixing.drop) == (10, 0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "optimiser: {lr: 1}\n", "unknown key 'optimiser'; known here: num_outputs"),
        (MINIMAL + "optimizer: {lr: 1, rate: 2}\n", r"unknown key 'optimizer\.rate'; known.*lr"),
        (MINIMAL + "optimizer: {lr: -1}\n", r"key 'optimizer\.lr': .*greater than 0, got -1"),
        (MINIMAL + "optimizer: {lr: fast}\n", r"key 'optimizer\.lr': .*number.*got 'fast'"),
        (MINIMAL + "loss: {solver: guess}\n", r"key 'loss\.solver': .*'exact' or 'least_squares'"),
        ("run: {epochs: 2}\n", r"key 'run\.steps_per_epoch' is missing"),
        ("- 1\n", "must hold keys and values, not a list"),
        ("a: [1\n", "not valid YAML"),
        ("base: c.yaml\n", "leads back to itself"),
        ("base: missing.yaml\n", "missing.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load_config(write(tmp_path, text), PretrainConfig)
