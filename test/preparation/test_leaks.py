"""Songs for validation and test are not heard in pre-training: stage 2 looks."""

from __future__ import annotations

import os
import shutil

import pytest

from mixit_mss import audio
from mixit_mss.bin import make_manifests, segment
from mixit_mss.errors import UserError

RATE = 8000


@pytest.fixture(scope="module")
def band(tmp_path_factory, noise, save):
    """A song of two stems and a mixture in every split."""
    folder = tmp_path_factory.mktemp("band")
    for number, split in enumerate(("train", "valid", "test")):
        for stem in ("low", "high", "mixture"):
            seed = 10 * number + len(stem)
            save(folder / split / f"song {split}" / f"{stem}.wav", noise(7, seed=seed), RATE)
    return folder


def prepare(kind, source, out, *options):
    argv = ["--kind", kind, "--input", str(source), "--out", str(out), "--segment-seconds", "6"]
    segment.main([*argv, "--stems", "low,high", *options])


def join(folder):
    argv = ["--unlabelled", f"{folder}/unlabelled", "--labelled", f"{folder}/labelled"]
    make_manifests.main([*argv, "--out", f"{folder}/manifests"])


def songs_beside(folder, band, save, noise, *paths):
    """A folder of songs, of which some are of the band."""
    for number in range(4):
        save(folder / f"{number}.wav", noise(7, seed=50 + number), RATE)
    for path in paths:
        name = os.path.dirname(path).replace("/", " ")
        shutil.copy(band / path, folder / f"{name}.wav")
    return folder


@pytest.mark.parametrize("rate", [RATE, 4000])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_copy_of_a_mixture(tmp_path, band, save, noise, split, rate):
    songs = songs_beside(tmp_path / "songs", band, save, noise, f"{split}/song {split}/mixture.wav")
    prepare("unlabelled", songs, tmp_path / "unlabelled", "--sample-rate", str(rate))
    prepare("labelled", band, tmp_path / "labelled", "--sample-rate", str(rate))
    words = f"'song {split}', which is '{split} song {split}' among the unlabelled songs"
    with pytest.raises(UserError, match=f"1 song for validation or test would.*{words}"):
        join(tmp_path)
    assert not (tmp_path / "manifests").exists()


@pytest.mark.parametrize("rate", [RATE, 4000])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_same_samples_in_another_format(tmp_path, band, save, noise, split, rate):
    songs = songs_beside(tmp_path / "songs", band, save, noise)
    wave, _ = audio.read(band / f"{split}/song {split}/mixture.wav")
    save(songs / "other.flac", wave, RATE)
    prepare("unlabelled", songs, tmp_path / "unlabelled", "--sample-rate", str(rate))
    prepare("labelled", band, tmp_path / "labelled", "--sample-rate", str(rate))
    with pytest.raises(UserError, match=f"'song {split}', which is 'other'"):
        join(tmp_path)


def test_training_songs_may_be_heard(tmp_path, band, save, noise):
    songs = songs_beside(tmp_path / "songs", band, save, noise, "train/song train/mixture.wav")
    prepare("unlabelled", songs, tmp_path / "unlabelled", "--sample-rate", str(RATE))
    prepare("labelled", band, tmp_path / "labelled", "--sample-rate", str(RATE))
    join(tmp_path)


def test_a_folder_with_stems_inside_the_one_without(tmp_path, band, save, noise, capsys):
    songs = songs_beside(tmp_path / "songs", band, save, noise)
    shutil.copytree(band, songs / "stems")
    rate = ("--sample-rate", str(RATE))
    prepare("labelled", songs / "stems", tmp_path / "labelled", *rate)
    prepare("unlabelled", songs, tmp_path / "unlabelled", *rate)
    with pytest.raises(UserError, match="2 songs for validation or test"):
        join(tmp_path)
    capsys.readouterr()
    prepare("unlabelled", songs, tmp_path / "unlabelled", *rate, "--leave-out", f"{songs}/stems")
    said = capsys.readouterr().out
    assert "9 (among the songs with stems)" in said and "4 of 4 songs kept" in said
    join(tmp_path)
