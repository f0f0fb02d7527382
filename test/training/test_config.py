"""Configs: bases, deltas, and one clear sentence for everything that cannot be."""

import os
import time
from pathlib import Path

import pytest
import torch

from mixit_mss import limits
from mixit_mss.errors import UserError
from mixit_mss.losses.mixit import MAX_ASSIGNMENTS
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


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10)
)
DOUBLES = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 11)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: 2\n", "key 1 must be text"),
        ("run: {2: 3}\n", "key 2 must be text"),
        ("? [a, b]\n: 1\n", "not valid YAML"),
        (MINIMAL + "2024-13-45: 1\n", "unknown key '2024-13-45'"),
        (MINIMAL + "optimizer: {lr: 2024-13-45}\n", r"key 'optimizer\.lr': .*number"),
        (MINIMAL + "optimizer: {lr: 2024-12-24}\n", r"key 'optimizer\.lr': .*number"),
        (MINIMAL + "num_outputs: " + "9" * 5000, "cannot be read as int"),
        (MINIMAL + "num_outputs: 0x" + "f" * 5000, "'num_outputs': a number of so many digits"),
        (MINIMAL + "num_outputs: !!int x\n", "cannot be read as int"),
        (MINIMAL + "num_outputs: !!bool x\n", "cannot be read as bool"),
        ("a: " + "[" * 3000, "nested too deeply|not valid YAML"),
        ("a: " + "[" * 50 + "]" * 50, "key 'a' is nested too deeply"),
        ("a: " + "{a: " * 50 + "1" + "}" * 50, "nested too deeply"),
        (LAUGHS, "more than 20 aliases"),
        (MERGES, "more than 20 aliases"),
        (DOUBLES, "nested too deeply"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("a: &a {b: *a}\n", "nested too deeply"),
        ("a: [" + "1, " * 12000 + "]", "holds too many values"),
        ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("a: !!python/name:os.system\n", "not valid YAML"),
        ("a: !!binary aGk=\n", "not valid YAML"),
        ("a: !!timestamp x\n", "not valid YAML"),
        ("a: !!set {x}\n", "not valid YAML"),
        ("a: \x00\n", "not valid YAML"),
        ("a: 1\na: 2\n", "key 'a' is given twice"),
        (MINIMAL + "run: {epochs: 1}\n", "key 'run' is given twice"),
        ("x" * 70_000, "larger than 64 KiB"),
        ("false\n", "must hold keys and values, not a bool"),
        ("base: 5\n", "'base' must name a file, got 5"),
        ("base: [a]\n", "'base' must name a file"),
        ("base: /dev/zero\n", "/dev/zero: is no file that could be read"),
        ("base: .\n", "is no file that could be read"),
        ('base: "a\\0b"\n', "cannot be read"),
        (f"base: {'x' * 300}\n", "cannot be read"),
        (MINIMAL + "optimizer: {lr: .inf}\n", r"key 'optimizer\.lr'.*got inf"),
        (MINIMAL + "optimizer: {lr: .nan}\n", r"key 'optimizer\.lr'.*finite.*got nan"),
        (MINIMAL + "optimizer: {lr: 1e999}\n", r"key 'optimizer\.lr'"),
        (MINIMAL + "optimizer: {lr: yes}\n", r"key 'optimizer\.lr': must not be true or false"),
        (MINIMAL + "optimizer: {betas: [0.9, 1.5]}\n", r"key 'optimizer\.betas\.1'"),
        (MINIMAL + "optimizer: {betas: [0.9]}\n", r"key 'optimizer\.betas"),
        (MINIMAL + "optimizer: 3\n", "key 'optimizer'"),
        (MINIMAL + "schedule: {decay: 1e308}\n", r"key 'schedule\.decay'"),
        (MINIMAL + "num_outputs: 100000\n", "key 'num_outputs': .*less than or equal to 256"),
        (MINIMAL + "loss: {solver: exact}\nnum_outputs: 30\n", "loss.solver exact tries all"),
        (f"run: {{{MINIMAL[6:-2]}, num_workers: 500}}\n", r"'run\.num_workers': .*equal to 128"),
        ("run: {epochs: 1, steps_per_epoch: 1, batch_size: 1e9}\n", r"'run\.batch_size'.*integer"),
        ("run: {epochs: 1, steps_per_epoch: 1, batch_size: 1000000000}\n", r"equal to 65536"),
        ("run: {epochs: 1e300, steps_per_epoch: 1, batch_size: 1}\n", r"'run\.epochs'"),
        (f"run: {{{MINIMAL[6:-2]}, chunk_seconds: 1e9}}\n", r"'run\.chunk_seconds'.*600"),
        ("? " * 5000, "nested too deeply|not valid YAML"),
    ],
)
def test_other_peoples_configs_are_one_sentence(tmp_path, text, message):
    begin = time.process_time()
    with pytest.raises(UserError, match=message) as caught:
        load_config(write(tmp_path, text), PretrainConfig)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - begin < 20  # also on a slow and busy machine


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr: caf\u00e9".encode("latin-1"), "line 1 is not UTF-8 text"),
        (b"a: 1\nb: \xff", "line 2 is not UTF-8"),
        ("lr: 1".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    ],
)
def test_other_encodings_are_named(tmp_path, content, message):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_yaml(tmp_path / "c.yaml")


def test_a_mark_of_utf_8_does_no_harm(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfa: caf\xc3\xa9\n")
    assert read_yaml(tmp_path / "c.yaml") == {"a": "caf\u00e9"}


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path, tmp_path / "pipe/x", "a\0b", "x" * 5000):
        with pytest.raises(UserError, match=r"is no file that could be read|cannot be read"):
            read_yaml(path)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "loop.yaml")


def test_bases_upon_bases_end(tmp_path):
    for number in range(30):
        write(tmp_path, f"base: c{number + 1}.yaml\n", f"c{number}.yaml")
    with pytest.raises(UserError, match="more than 20 files"):
        read_yaml(tmp_path / "c0.yaml")


def test_few_aliases_and_merges_are_fine(tmp_path):
    path = write(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


def test_the_exact_solvers_limit_is_that_of_the_loss():
    assert 2**limits.EXACT_OUTPUTS == MAX_ASSIGNMENTS
