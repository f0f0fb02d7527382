"""A recipe that utils/new_recipe.sh made, with another network, from stage 0 to the scores."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mixit_mss.models.hub import load_model, read_card

ROOT = Path(__file__).parents[2]
STEMS = ("vocals", "drums", "bass", "other")
# the template's configs and the band's BS-RoFormer, smaller
MINI = {
    "model_mini": {
        "base": "../../midi_band/conf/model_bs_roformer.yaml",
        **{"dim": 8, "depth": 1, "heads": 2, "dim_head": 4, "bands": 8, "hop": 256, "n_fft": 512},
    },
    "pretrain_mini": {
        "base": "pretrain.yaml",
        "num_outputs": 6,
        "run": {"epochs": 2, "steps_per_epoch": 3, "batch_size": 2, "chunk_seconds": 1.0},
    },
    "finetune_mini": {
        "base": "finetune.yaml",
        "run": {"epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "chunk_seconds": 1.0},
    },
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A repository with what new_recipe.sh and a recipe need, so that ours stays as it is."""
    root = tmp_path_factory.mktemp("tree")
    (root / "egs").mkdir()
    (root / "tools").mkdir()
    (root / "tools/activate.sh").write_text(f"PATH={ROOT}/.venv/bin:$PATH\n")
    shutil.copytree(ROOT / "utils", root / "utils")
    template = root / "egs/TEMPLATE"
    template.mkdir()
    for name in ("run.sh", "README.md", "conf", "local"):
        place = ROOT / "egs/TEMPLATE" / name
        (shutil.copytree if place.is_dir() else shutil.copy)(place, template / name)
    (template / "exp").mkdir()  # of somebody who ran the template
    for recipe in ("midi_band", "fma_musdb"):
        (root / "egs" / recipe).symlink_to(ROOT / "egs" / recipe)
    return root


def new_recipe(tree, *names):
    return subprocess.run(
        [tree / "utils/new_recipe.sh", *names], cwd="/", capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def recipe(tree):
    done = new_recipe(tree, "my_songs")
    assert done.returncode == 0, done.stderr
    assert "egs/my_songs/run.sh" in done.stdout
    return tree / "egs/my_songs"


@pytest.fixture(scope="module")
def finished(recipe):
    """The recipe after a run of all stages."""
    for name, content in MINI.items():
        (recipe / f"conf/{name}.yaml").write_text(yaml.safe_dump(content))
    options = ("--model", "mini", "--init", "mixit", "--nj", "1")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["./run.sh", *options], cwd=recipe, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return recipe


def test_a_recipe_is_a_copy_of_the_template_under_its_name(recipe):
    assert sorted(path.name for path in recipe.iterdir()) == [
        "README.md",
        "conf",
        "local",
        "run.sh",
    ]
    help_text = subprocess.run(
        [recipe / "run.sh", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert help_text.startswith("my_songs: ") and "TEMPLATE" not in help_text
    assert (recipe / "README.md").read_text().startswith("# my_songs")
    ours = ROOT / "egs/TEMPLATE"
    for path in (*ours.glob("conf/*"), *ours.glob("local/*")):
        assert (recipe / path.relative_to(ours)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "give one name"),
        (("one", "two"), "give one name"),
        (("",), "'' is no name for a recipe"),
        (("../up",), "'../up' is no name for a recipe"),
        (("a b",), "'a b' is no name for a recipe"),
        ((".hidden",), "'.hidden' is no name"),
        (("midi_band",), "egs/midi_band is there already"),
        (("TEMPLATE",), "egs/TEMPLATE is there already"),
    ],
)
def test_bad_names_and_folders_that_are_there_get_one_sentence(tree, names, message):
    before = sorted(path.name for path in (tree / "egs").iterdir())
    done = new_recipe(tree, *names)
    assert done.returncode == 1
    assert done.stderr.startswith("new_recipe.sh: ") and done.stderr.count("\n") == 1
    assert message in done.stderr
    assert sorted(path.name for path in (tree / "egs").iterdir()) == before


def test_it_runs_from_songs_to_scores(finished):
    songs = pd.read_csv(finished / "manifests/unlabelled.tracks.csv")
    assert len(songs) == 8
    results = (finished / "RESULTS.md").read_text()
    for label in ("mixture as estimate", "MixIT, selected outputs", "MixIT, then fine-tuned"):
        assert f"| {label}" in results
    scores = pd.read_csv(finished / "exp/finetune_mini_seed1_mixit_all/scores.csv")
    assert set(scores["stem"]) == set(STEMS) and scores["song"].nunique() == 1
    assert scores["usdr"].notna().all()


def test_another_network_goes_through_every_stage(finished):
    pretrained = finished / "exp/pretrain_mini_seed1"
    tuned = load_model(finished / "exp/finetune_mini_seed1_mixit_all/model")
    cards = [read_card(folder) for folder in (pretrained / "model", pretrained / "selected_4")]
    assert [card["model"]["name"] for card in cards] == ["bs_roformer"] * 2
    assert [card["model"]["num_sources"] for card in cards] == [6, 4]
    assert cards[0]["steps"] == 6
    assert tuned.stems == STEMS
    # what was chosen is what was pre-trained, and fine-tuning moved it
    whole, chosen = (
        load_model(folder) for folder in (pretrained / "model", pretrained / "selected_4")
    )
    votes = pd.read_csv(pretrained / "selected_4/votes.csv").dropna(subset="chosen_for")
    channel = dict(zip(votes["chosen_for"], votes["channel"], strict=True))
    for place, stem in enumerate(STEMS):
        for kept, first in zip(
            chosen.network.mask_estimators[place].parameters(),
            whole.network.mask_estimators[channel[stem]].parameters(),
            strict=True,
        ):
            assert kept.equal(first)
    moved = zip(tuned.parameters(), chosen.parameters(), strict=True)
    assert not all(after.equal(before) for after, before in moved)
