"""Every fault of a recipe is said before its first training, all of them at once."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from mixit_mss import machine
from mixit_mss.bin.main import main
from mixit_mss.checks.recipe import Recipe, findings, in_words
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.training.hardware import Hardware
from test.tones import MODEL, RATE, TRAINING

FRAMES = 2 * RATE


@pytest.fixture
def recipe(tmp_path):
    """Configs and tables without a fault; no table says what is in its files, so there are none."""
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "pretrain.yaml").write_text("num_outputs: 4\n" + TRAINING)
    (tmp_path / "finetune.yaml").write_text(TRAINING)
    (tmp_path / "song.wav").touch()
    songs = [("train", 2), ("valid", 2), ("test", 1)]
    names = [(split, f"{split} {n}") for split, count in songs for n in range(count)]
    table(tmp_path, "unlabelled", [row(*name, "mixture") for name in names if name[0] != "test"])
    table(tmp_path, "labelled", [row(*name, stem) for name in names for stem in ("low", "high")])
    return tmp_path


def row(split, song, stem, **changes):
    content = {"split": split, "song": song, "stem": stem, "license": "", "path": "song.wav"}
    return content | {"frames": FRAMES, "sample_rate": RATE, "channels": 2} | changes


def table(folder, name, rows, seconds=1.0):
    """A manifest of rows; ``silent`` ones have no segment."""
    rows = [{**row, "path": str(folder / row["path"])} for row in rows]
    segments = [
        (np.zeros(0 if row.pop("silent", False) else 1, np.int64), int(seconds * RATE))
        for row in rows
    ]
    write_manifest(folder / name, make_manifest(rows, segments, name))


def change(folder, name, where, **changes):
    """Put other values into the rows of a manifest that a condition selects."""
    path = folder / f"{name}.tracks.csv"
    tracks = pd.read_csv(path, dtype={"content": str})
    for column, value in changes.items():
        tracks.loc[tracks.eval(where), column] = value
    tracks.to_csv(path, index=False)


def drop(folder, name, where):
    """Take rows, and their segments, out of a manifest."""
    path = folder / f"{name}.tracks.csv"
    tracks = pd.read_csv(path)
    gone = tracks.eval(where)
    tracks[~gone].to_csv(path, index=False)
    path = folder / f"{name}.segments.csv"
    segments = pd.read_csv(path)
    segments[~segments["track"].isin(tracks["track"][gone])].to_csv(path, index=False)


def found(folder, **more):
    options = {
        "model": f"{folder}/model.yaml",
        "labelled": f"{folder}/labelled",
        "unlabelled": f"{folder}/unlabelled",
        "stems": ["low", "high"],
        "pretrain": f"{folder}/pretrain.yaml",
        "finetune": [f"{folder}/finetune.yaml"],
    }
    return findings(Recipe(**(options | more)))


def only(folder, **more):
    """The one finding: its stage and its sentence."""
    (finding,) = found(folder, **more)
    assert "\n" not in finding.sentence
    return finding


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_nothing_is_found_where_nothing_is_wrong(recipe):
    assert found(recipe) == []
    assert found(recipe, pretrain=None, unlabelled=None) == []
    assert found(recipe, finetune=[]) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "stage", "words"),
    [
        ("pretrain.yaml", "epochs: 3", "epochz: 3, epochs: 3", 3, "unknown key 'run.epochz'"),
        ("pretrain.yaml", "lr: 2e-3", "lr: .inf", 3, "optimizer.lr"),
        ("finetune.yaml", "epochs: 3", "epochz: 3, epochs: 3", 5, "unknown key 'run.epochz'"),
        ("finetune.yaml", "epochs: 3,", "", 5, "'run.epochs' is missing"),
        ("finetune.yaml", "batch_size: 2", "batch_size: 0", 5, "run.batch_size"),
        ("pretrain.yaml", "num_outputs: 4", "num_outputs: 1", 4, "too few for 2 stems (low, high)"),
    ],
)
def test_configs(recipe, file, old, new, stage, words):
    edit(recipe / file, old, new)
    finding = only(recipe)
    assert finding.stage == stage
    assert words in finding.sentence and file in finding.sentence


def test_every_config_of_the_fine_tunings(recipe):
    (recipe / "two.yaml").write_text("base: finetune.yaml\nmixing: {drop: 2}")
    configs = [f"{recipe}/finetune.yaml", f"{recipe}/two.yaml", f"{recipe}/three.yaml"]
    two, three = found(recipe, finetune=configs)
    assert (two.stage, three.stage) == (5, 5)
    assert "two.yaml: key 'mixing.drop'" in two.sentence and "three.yaml" in three.sentence


def test_all_that_is_wrong_in_a_config(recipe):
    edit(recipe / "finetune.yaml", "epochs: 3, steps_per_epoch: 2", "epochz: 3, steps_per_epoch: 0")
    sentences = [finding.sentence for finding in found(recipe)]
    assert len(sentences) == 3
    assert "unknown key 'run.epochz'" in sentences[0]
    rest = " ".join(sentences[1:])
    assert "'run.epochs' is missing" in rest and "'run.steps_per_epoch'" in rest


def test_networks(recipe, monkeypatch):
    edit(recipe / "model.yaml", "\ndim: 8\n", "\ndim: 8\ndimm: 8\n")
    assert {finding.stage for finding in found(recipe)} == {3, 5}
    assert all("dimm" in finding.sentence for finding in found(recipe))
    faults, _ = in_words(found(recipe), 3, 6)
    assert len(faults) == 1 and faults[0].startswith("stage 3: ")  # once is enough
    edit(recipe / "model.yaml", "\ndim: 8\ndimm: 8\nffn_dim: 8\n", "\ndim: 512\nffn_dim: 4096\n")
    assert found(recipe) == []
    monkeypatch.setattr(machine, "free_bytes", lambda: 2**20)
    assert {finding.stage for finding in found(recipe)} == {3, 5}
    assert all("of memory" in finding.sentence for finding in found(recipe))
    assert found(recipe, here=False) == []


def test_batches_and_devices(recipe):
    first, second = found(recipe, hardware=Hardware(ngpu=2, num_nodes=2))
    assert (first.stage, second.stage) == (3, 5)
    assert "batch_size 2 does not divide over 4 devices" in first.sentence


@pytest.mark.parametrize(
    ("name", "where", "stage", "words"),
    [
        ("labelled", "split == 'train'", 5, "no song in split 'train'"),
        ("labelled", "split == 'valid'", 4, "no song in split 'valid'"),
        ("labelled", "split == 'test'", 6, "no song in split 'test'"),
        ("unlabelled", "split == 'valid'", 3, "has 0 songs with segments in split 'valid'"),
        ("unlabelled", "song == 'train 0'", 3, "has 1 songs with segments in split 'train'"),
        ("labelled", "split == 'train' and stem == 'low'", 5, "no stem 'low' in split 'train'"),
        ("labelled", "song == 'valid 0' and stem == 'low'", 4, "'low' of song 'valid 0' in split"),
        ("labelled", "split == 'test' and stem == 'high'", 6, "'high' of song 'test 0' in split"),
    ],
)
def test_what_is_not_there(recipe, name, where, stage, words):
    drop(recipe, name, where)
    finding = only(recipe)
    assert finding.stage == stage
    assert words in finding.sentence


def test_from_scratch_nobody_votes(recipe):
    drop(recipe, "labelled", "split == 'valid'")
    assert only(recipe, pretrain=None, unlabelled=None).stage == 5


def test_a_stem_that_is_silent_in_all_training_songs(recipe):
    songs = [(split, f"{split} {n}") for split in ("train", "valid", "test") for n in range(2)]
    rows = [
        row(split, song, stem, silent=stem == "high")
        for split, song in songs
        for stem in ("low", "high")
    ]
    table(recipe, "labelled", rows)
    finding = only(recipe)
    assert finding.stage == 5
    assert "stem 'high' is silent in all 2 training songs" in finding.sentence


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_a_stem_that_is_silent_in_all_validation_songs(recipe, kind):
    silence = hashlib.sha256(np.zeros((FRAMES, 2), kind).data).hexdigest()
    change(recipe, "labelled", "song == 'valid 0' and stem == 'low'", content=silence)
    assert found(recipe) == []
    change(recipe, "labelled", "split == 'valid' and stem == 'low'", content=silence)
    finding = only(recipe)
    assert finding.stage == 0
    assert "stem 'low' is silent in all validation songs" in finding.sentence


def test_stems_that_were_not_declared(recipe):
    finding = only(recipe, stems=["low"])
    assert finding.stage == 5
    assert "has stems that --stems does not name: high" in finding.sentence
    names = [finding.stage for finding in found(recipe, stems=["low", "high", "guitar"])]
    assert names == [4, 5, 6]


@pytest.mark.parametrize(
    ("split", "changes", "stage", "words"),
    [
        ("test", {"channels": 1}, 6, "numbers of channels (low 1, high 2)"),
        ("valid", {"channels": 1}, 0, "numbers of channels (low 1, high 2)"),
        (
            "test",
            {"frames": FRAMES + 1},
            6,
            f"lengths in samples (low {FRAMES + 1}, high {FRAMES})",
        ),
        ("valid", {"frames": FRAMES + 1}, 4, "lengths in samples"),
        ("test", {"sample_rate": 2 * RATE}, 6, f"sample rates (low {2 * RATE}, high {RATE})"),
    ],
)
def test_files_of_a_song_that_are_not_alike(recipe, split, changes, stage, words):
    change(recipe, "labelled", f"stem == 'low' and song == '{split} 0'", **changes)
    finding = only(recipe)
    assert finding.stage == stage
    assert words in finding.sentence and f"'{split} 0'" in finding.sentence


def test_a_mixture_of_another_length_than_its_stems(recipe):
    stems = [row("test", "test 0", stem) for stem in ("low", "high")]
    mixture = row("test", "test 0", "mixture", frames=FRAMES - 100)
    rows = [row(s, f"{s} 0", stem) for s in ("train", "valid") for stem in ("low", "high")]
    table(recipe, "labelled", [*rows, *stems, mixture])
    assert f"(low {FRAMES}, high {FRAMES}, mixture {FRAMES - 100})" in only(recipe).sentence


@pytest.mark.parametrize(
    ("name", "split", "changes", "stage", "words"),
    [
        ("unlabelled", "train", {"sample_rate": 4000}, 3, "nothing above 2 kHz"),
        ("labelled", "train", {"sample_rate": 4000}, 5, "nothing above 2 kHz"),
        ("labelled", "valid", {"sample_rate": 4000}, 4, "nothing above 2 kHz"),
        ("labelled", "test", {"sample_rate": 4000}, 0, "nothing above 2 kHz"),
        ("labelled", "train", {"sample_rate": 16000}, 0, "at every reading"),
        ("unlabelled", "valid", {"sample_rate": 8001}, 3, "no small ratio"),
        ("unlabelled", "train", {"channels": 6}, 3, "6 channels, but the network has"),
        ("labelled", "valid", {"channels": 6}, 4, "6 channels, but the network has"),
    ],
)
def test_songs_against_the_network(recipe, name, split, changes, stage, words):
    change(recipe, name, f"split == '{split}'", **changes)
    finding = only(recipe)
    assert finding.stage == stage
    assert words in finding.sentence and f"split '{split}'" in finding.sentence


def test_what_is_converted_without_loss_is_no_matter(recipe):
    change(recipe, "labelled", "split == 'test'", sample_rate=44100, channels=6)
    change(recipe, "unlabelled", "split == 'train'", channels=1)
    assert found(recipe) == []


def test_segments_that_are_too_short(recipe):
    edit(recipe / "finetune.yaml", "chunk_seconds: 0.5", "chunk_seconds: 1.5")
    finding = only(recipe)
    assert finding.stage == 5 and "run.chunk_seconds 1.5" in finding.sentence
    edit(recipe / "finetune.yaml", "chunk_seconds: 1.5", "chunk_seconds: 1.0")
    assert found(recipe) == []


def test_a_song_in_two_splits(recipe):
    change(recipe, "labelled", "song == 'test 0'", song="train 0")
    (finding,) = found(recipe)
    assert finding.stage == 5 and "in both train and test" in finding.sentence


def test_a_test_song_that_is_heard_in_pre_training(recipe):
    change(recipe, "unlabelled", "song == 'train 0'", content="abc")
    change(recipe, "labelled", "song == 'train 0'", content="abc")
    assert found(recipe) == []
    change(recipe, "labelled", "song == 'test 0'", content="abc")
    finding = only(recipe)
    assert finding.stage == 3
    assert "'test 0', which is 'train 0' among the unlabelled songs" in finding.sentence


def test_before_there_are_songs(recipe, capsys):
    more = {"labelled": None, "unlabelled": None}
    assert found(recipe, **more, sample_rate=RATE) == []
    low, high = (only(recipe, **more, sample_rate=rate) for rate in (4000, 44100))
    assert (low.stage, high.stage) == (3, 0)
    assert "hold nothing above 2 kHz" in low.sentence and "is slow" in high.sentence
    edit(recipe / "finetune.yaml", "epochs: 3", "epochs: 0")
    argv = ["check", "--model", f"{recipe}/model.yaml", "--pretrain", f"{recipe}/pretrain.yaml"]
    argv += ["--finetune", f"{recipe}/finetune.yaml", "--stems", "low,high"]
    assert main(argv) == 1
    assert "stage 5: " in capsys.readouterr().err
    edit(recipe / "finetune.yaml", "epochs: 0", "epochs: 3")
    assert main(argv) == 0
    assert capsys.readouterr().out == "configs and network fit together\n"


def test_all_faults_are_said_at_once_by_stage(recipe, capsys):
    edit(recipe / "finetune.yaml", "epochs: 3", "epochs: 0")
    drop(recipe, "labelled", "split == 'test'")
    drop(recipe, "unlabelled", "split == 'valid'")
    argv = ["check", "--model", f"{recipe}/model.yaml", "--pretrain", f"{recipe}/pretrain.yaml"]
    argv += ["--finetune", f"{recipe}/finetune.yaml", "--unlabelled", f"{recipe}/unlabelled"]
    argv += ["--labelled", f"{recipe}/labelled", "--stems", "low,high"]
    assert main(argv) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line[:25] for line in lines[:3]] == [f"mixit-mss check: stage {n}:" for n in (3, 5, 6)]
    assert lines[3:] == ["mixit-mss check: 3 faults, which stop these stages"]
    assert main([*argv, "--stop-stage", "4"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("mixit-mss check: stage 3: ") and said.err.count("\n") == 1
    assert said.out.count("warning: stage 5 will end") == said.out.count("stage 6 will end") == 1
    assert main([*argv, "--stage", "4", "--stop-stage", "4"]) == 0
    assert capsys.readouterr().out.endswith("configs, network and songs fit together\n")


def test_tables_that_are_not_there(recipe):
    (recipe / "unlabelled.tracks.csv").unlink()
    (recipe / "labelled.tracks.csv").write_text("song\n")
    assert [finding.stage for finding in found(recipe)] == [3, 4]
    faults, rest = in_words(found(recipe), 4, 4)
    assert len(faults) == 1 and "no column 'track'" in faults[0] and rest == []


def test_pre_training_needs_songs(recipe, capsys):
    argv = ["check", "--model", "m", "--labelled", "l", "--stems", "a", "--pretrain", "p"]
    assert main(argv) == 2
    assert "give both or neither" in capsys.readouterr().err
