"""What holds for every recipe: options that are read, configs that are found, commands that are given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mixit_mss.report.paper import paper_rows
from mixit_mss.training.config import FinetuneConfig, PretrainConfig, load_config, read_yaml

ROOT = Path(__file__).parents[2]
ALL = sorted(path.parent for path in ROOT.glob("egs/*/run.sh"))
# the study is a list of runs of midi_band's stages, and walks it by itself
RECIPES = [recipe for recipe in ALL if recipe.name != "midi_study"]
PAPER = ROOT / "egs/fma_musdb"


def split_at_options(run):
    """Lines that declare options, and the rest of a run.sh."""
    lines = run.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "parse_options.sh" in line)
    return lines[:at], lines[at + 1 :]


def options_of(recipe):
    declared, _ = split_at_options(recipe / "run.sh")
    names = [line.split("=")[0] for line in declared if "=" in line]
    return [name for name in names if name.isidentifier() and name.islower()]


@pytest.mark.parametrize("recipe", ALL, ids=lambda path: path.name)
def test_every_option_is_read(recipe):
    """An option that nothing reads is a promise that nobody keeps."""
    declared = options_of(recipe)
    expected = {"stage", "stop_stage", "model", "seed"} if recipe in RECIPES else {"cut", "seeds"}
    assert expected | {"work_dir"} <= set(declared)
    _, rest = split_at_options(recipe / "run.sh")
    scripts = [*ROOT.glob("utils/*.sh"), *(recipe / "local").glob("*.sh")]
    readers = [*rest, *(line for path in scripts for line in path.read_text().splitlines())]
    code = "\n".join(line for line in readers if not line.lstrip().startswith("#"))
    unread = [name for name in declared if f"${name}" not in code and f"${{{name}" not in code]
    assert unread == []


@pytest.mark.parametrize("recipe", ALL, ids=lambda path: path.name)
def test_a_recipe_is_short_and_explained(recipe):
    assert len((recipe / "run.sh").read_text().splitlines()) <= 45
    assert (recipe / "README.md").exists()
    assert f"]({recipe.name})" in (ROOT / "egs/README.md").read_text()
    declared, _ = split_at_options(recipe / "run.sh")
    options = [line for line in declared if line.split("=")[0] in options_of(recipe)]
    assert [line for line in options if "#" not in line] == []


def commands(tmp_path, script, *options, models=(), checks=False):
    """The ``mixit-mss`` commands that a script gives, none of which is carried out.

    Those that only check are left out where they are not asked for.
    """
    log = tmp_path / "commands.txt"
    for model in models:
        (tmp_path / "exp" / model).mkdir(parents=True)
        (tmp_path / "exp" / model / "config.json").touch()
    stub = "() { printf '%s\\n' \"$*\" >>" + f"'{log}'; }}"
    done = subprocess.run(
        [str(script), "--work-dir", str(tmp_path), *options],
        env={**os.environ, "BASH_FUNC_mixit-mss%%": stub},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    return [line for line in lines if checks or not line.startswith("check ")]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_a_recipe_has_the_configs_that_its_options_name(tmp_path, recipe):
    lines = commands(tmp_path, recipe / "run.sh", "--stage", "3", "--stop-stage", "5")
    assert [line.split()[0] for line in lines[:2]] == ["pretrain", "select-channels"]
    named = [word for line in lines for word in line.split() if word.endswith(".yaml")]
    assert len(named) >= 4
    assert [name for name in named if not (recipe / name).is_file()] == []


@pytest.mark.parametrize("init", ["mixit scratch", "scratch"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_what_the_trainings_will_take_is_checked_before_they_begin(tmp_path, recipe, init):
    options = ("--init", init, "--ngpu", "2", "--stage", "2", "--stop-stage", "5")
    first, before, check, *trainings = commands(tmp_path, recipe / "run.sh", *options, checks=True)
    assert before.startswith("make-manifests ") and check.startswith("check --model ")
    named = {word for line in trainings for word in line.split() if word.endswith(".yaml")}
    assert {word for word in check.split() if word.endswith(".yaml")} == named
    read = {line.split("--manifest ")[1].split()[0] for line in trainings}
    assert {word for word in check.split() if "/manifests/" in word} == read
    assert ("--pretrain" in check) == (init != "scratch")
    assert check.endswith("--stage 3 --stop-stage 5 --ngpu 2 --num-nodes 1")
    # and without the tables before everything else
    assert {word for word in first.split() if word.endswith(".yaml")} == named
    assert "/manifests/" not in first and "--sample-rate" in first


@pytest.mark.parametrize(("stage", "stop"), [(2, 2), (5, 4), (7, 9)])
def test_nothing_is_checked_where_nothing_is_trained_or_scored(tmp_path, stage, stop):
    options = ("--stage", str(stage), "--stop-stage", str(stop), "--init", "scratch")
    (tmp_path / "commands.txt").touch()
    lines = commands(tmp_path, ROOT / "egs/own_music/run.sh", *options, checks=True)
    assert not [line for line in lines if line.startswith("check")]


def configs(lines):
    return [
        Path(line.split("--config ")[1].split()[0]).name for line in lines if "--config" in line
    ]


@pytest.mark.parametrize(
    ("model", "trainable", "pretraining", "finetuning"),
    [
        ("small", "all", "pretrain.yaml", "finetune.yaml"),
        ("large", "all", "pretrain_large.yaml", "finetune_large.yaml"),
        ("medium", "encoder_decoder", "pretrain.yaml", "finetune_encoder_decoder.yaml"),
        ("large", "encoder_decoder", "pretrain_large.yaml", "finetune_encoder_decoder_large.yaml"),
    ],
)
def test_a_size_takes_its_own_config(tmp_path, model, trainable, pretraining, finetuning):
    options = ("--model", model, "--trainable", trainable, "--stage", "3", "--stop-stage", "5")
    lines = commands(tmp_path, PAPER / "run.sh", *options)
    assert configs(lines) == [pretraining, finetuning, finetuning]
    assert all(f"conf/model_{model}.yaml" in line for line in (lines[0], lines[2]))
    assert lines[3].startswith("finetune --init") and "/selected_4 " in lines[3]


def test_the_papers_corpora_are_named_with_their_rules(tmp_path):
    mirror = ("--base-url", "http://mirror/fma", "--nj", "3", "--fma-subset", "small")
    rules = ("--mono", "duplicate", "--silence-rule", "release", "--activity-rule", "release")
    lines = commands(tmp_path, PAPER / "run.sh", *mirror, *rules, "--stop-stage", "1")
    downloads, data = tmp_path / "downloads", tmp_path / "data"
    fetch = f"--out {downloads} --nj 3 --base-url http://mirror/fma"
    stored = "--sample-rate 44100 --store flac --nj 3"
    assert lines == [
        f"download fma --subset small --fma-dir  {fetch}",
        f"download musdb18hq --musdb-dir  {fetch}",
        "segment --corpus fma --fma-subset small --mono duplicate --silence-rule release "
        f"--input {downloads} --out {data}/fma_small {stored}",
        "segment --corpus musdb18hq --activity-rule release "
        f"--input {downloads}/musdb18hq --stems vocals,drums,bass,other --out {data}/labelled "
        f"{stored}",
    ]


def test_the_band_takes_what_it_always_took(tmp_path):
    lines = commands(tmp_path, ROOT / "egs/midi_band/run.sh", "--stage", "1", "--stop-stage", "5")
    assert lines[0].startswith("segment --kind unlabelled --input ")
    assert f"--out {tmp_path}/data/unlabelled " in lines[0]
    assert lines[0].endswith(f" --leave-out {tmp_path}/downloads/labelled")
    assert lines[1].startswith("segment --kind labelled --input ")
    assert lines[2].endswith(f"--out {tmp_path}/manifests")
    assert f"--out {tmp_path}/exp/pretrain_tiny_seed1 " in lines[3]
    assert configs(lines) == ["pretrain.yaml"] + 4 * ["finetune.yaml"]


def test_another_network_is_one_option_away(tmp_path):
    options = ("--model", "bs_roformer", "--trainable", "all", "--stage", "3", "--stop-stage", "5")
    lines = commands(tmp_path, ROOT / "egs/midi_band/run.sh", *options)
    assert sum("conf/model_bs_roformer.yaml" in line for line in lines) == 2
    assert read_yaml(ROOT / "egs/midi_band/conf/model_bs_roformer.yaml")["name"] == "bs_roformer"


def test_the_papers_settings():
    first, tuned = (
        load_config(PAPER / f"conf/{name}.yaml", kind)
        for name, kind in (("pretrain", PretrainConfig), ("finetune", FinetuneConfig))
    )
    assert first.run.epochs * first.run.steps_per_epoch == 150_000
    assert (first.run.batch_size, first.run.chunk_seconds, first.num_outputs) == (128, 6, 12)
    assert first.schedule.model_dump() == {
        "warmup_steps": 5000,
        "hold_epochs": 0,
        "decay": 0.965,
        "decay_every_epochs": 1,
    }
    assert tuned.run.epochs * tuned.run.steps_per_epoch == 900 * 110
    assert (tuned.run.batch_size, tuned.schedule.hold_epochs) == (32, 550)
    assert (tuned.schedule.decay, tuned.schedule.decay_every_epochs) == (0.98, 2)
    for name, kind, epochs in (
        ("pretrain", PretrainConfig, 150),
        ("finetune", FinetuneConfig, 900),
        ("finetune_encoder_decoder", FinetuneConfig, 200),
    ):
        base = load_config(PAPER / f"conf/{name}.yaml", kind)
        large = load_config(PAPER / f"conf/{name}_large.yaml", kind)
        assert (base.optimizer.lr, large.optimizer.lr) == (1e-3, 5e-4)
        assert (base.run, base.schedule) == (large.run, large.schedule)
        assert (base.run.epochs, base.run.precision, base.run.average_best) == (
            epochs,
            "bf16-mixed",
            5,
        )
    for size in ("small", "medium", "large"):
        assert read_yaml(PAPER / f"conf/model_{size}.yaml")["size"] == size


@pytest.mark.parametrize("table", [1, 2, 3])
def test_a_table_of_the_paper_is_run_row_by_row(tmp_path, table):
    """Every row that the paper trained is fine-tuned, scored and labelled as the report finds it."""
    script = PAPER / f"local/run_table{table}.sh"
    trained = commands(tmp_path, script, "--stage", "5", "--stop-stage", "5")
    outs = [line.split("--out ")[1].split()[0] for line in trained]
    models = [str(Path(out).relative_to(tmp_path / "exp") / "model") for out in outs]
    (tmp_path / "commands.txt").unlink()
    lines = commands(tmp_path, script, "--stage", "6", models=models)
    labels = {line.split("--label ")[1].split(" --nj")[0] for line in lines if "--label" in line}
    wanted = set(paper_rows(table)["label"]) - {""}
    assert labels == wanted | {"mixture as estimate", "ideal ratio mask"}
    assert len(set(outs)) == len(outs) == len(wanted)
    assert all(line.endswith("--paper-tables 1 2 3") for line in lines if line[:6] == "report")
