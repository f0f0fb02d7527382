"""MUSDB18-HQ's layout: 100 and 50 songs, 14 of them for validation, all files there."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from mixit_mss.corpora.folder import without_mixtures_of_more
from mixit_mss.corpora.musdb18hq import VALIDATION, check_layout, musdb_songs
from mixit_mss.errors import UserError

STEMS = ["mixture", "vocals", "drums", "bass", "other"]


@pytest.fixture
def root(tmp_path):
    train = [*VALIDATION, *(f"Band {n:02d} - Song" for n in range(86))]
    test = [f"Test {n:02d} - Song" for n in range(50)]
    for part, songs in (("train", train), ("test", test)):
        for song in songs:
            (tmp_path / part / song).mkdir(parents=True)
            for stem in STEMS:
                (tmp_path / part / song / f"{stem}.wav").touch()
    return tmp_path


def test_songs_by_split(root):
    records = musdb_songs(root)
    assert len(records) == 750
    songs = {(record.song, record.split) for record in records}
    assert Counter(split for _, split in songs) == {"train": 86, "valid": 14, "test": 50}
    assert {song for song, split in songs if split == "valid"} == set(VALIDATION)
    assert Counter(record.stem for record in records) == dict.fromkeys(STEMS, 150)
    song = next(
        r for r in records if r.song == "Johnny Lokke - Promises & Lies" and r.stem == "bass"
    )
    assert song.path == str(root / "train/Johnny Lokke - Promises & Lies/bass.wav")
    assert song.split == "valid" and "non-commercial" in song.license


def test_some_of_the_stems(root):
    """The mixtures hold all four: of two stems the mixture is their sum."""
    found = without_mixtures_of_more(musdb_songs(root), ["vocals", "drums"])
    assert Counter(record.stem for record in found.songs) == {"vocals": 150, "drums": 150}
    assert Counter(reason for _, reason, _ in found.rejected()) == {"undeclared_stem": 450}
    assert len(without_mixtures_of_more(musdb_songs(root), STEMS[1:]).songs) == 750


def test_a_whole_copy(root):
    (root / "train/.hidden").mkdir()
    (root / "README.md").touch()
    assert check_layout(root) == f"{root}: 100 train and 50 test songs"


def test_what_is_missing_is_named(root):
    (root / "test/Test 07 - Song/bass.wav").unlink()
    shutil.rmtree(root / "train" / VALIDATION[3])
    with pytest.raises(UserError) as caught:
        musdb_songs(root)
    assert "train/ has 99 songs, not 100" in str(caught.value)
    assert "test/Test 07 - Song/bass.wav is missing" in str(caught.value)
    assert f"train/{VALIDATION[3]}/ is missing" in str(caught.value)


def test_an_empty_folder_names_five_things_and_counts_the_rest(tmp_path):
    with pytest.raises(UserError, match=r"train/ has 0 songs, not 100, .* and 11 more"):
        check_layout(tmp_path / "nowhere")
