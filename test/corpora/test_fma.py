"""FMA's table of tracks, as the corpus writes it, and the songs that come of it."""

from __future__ import annotations

import pytest
from corpus_server import TRACKS, tracks_csv

from mixit_mss.corpora.fma import audio_name, check_layout, fma_songs, fma_tracks
from mixit_mss.errors import UserError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata/tracks.csv").write_text(tracks_csv())
    return tmp_path


def add_audio(root, subset, tracks):
    for track in tracks:
        path = root / f"fma_{subset}" / audio_name(track)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mp3")


@pytest.mark.parametrize(
    ("subset", "wanted"),
    [
        ("small", [2, 5, 1234]),
        ("medium", [2, 3, 5, 1234]),
        ("large", [2, 3, 5, 1234, 140003]),
        ("full", [2, 3, 5, 1234, 140003]),
    ],
)
def test_subsets_are_nested(root, subset, wanted):
    tracks = fma_tracks(root, subset)
    assert list(tracks.index) == wanted
    splits = {"training": "train", "validation": "valid", "test": "test"}
    for number, row in tracks.iterrows():
        split, own_subset, license = TRACKS[number]
        assert (row["split"], row["subset"], row["license"]) == (splits[split], own_subset, license)


def test_songs_carry_path_split_and_licence(root):
    add_audio(root, "small", [2])
    songs = {song.song: song for song in fma_songs(root, "small")}
    assert list(songs) == ["000002", "000005", "001234"]
    assert songs["001234"].path == str(root / "fma_small/001/001234.mp3")
    assert songs["001234"].license == "CC0, by its artist"
    assert [song.split for song in songs.values()] == ["train", "test", "train"]
    assert {song.stem for song in songs.values()} == {"mixture"}
    assert audio_name(140003) == "140/140003.mp3"


def test_a_larger_subset_of_clips_will_do_but_whole_songs_will_not(root):
    add_audio(root, "full", [2])
    with pytest.raises(UserError, match="has no fma_small/ or fma_medium/ or fma_large/"):
        fma_songs(root, "small")
    add_audio(root, "large", [2])
    assert fma_songs(root, "small")[0].path == str(root / "fma_large/000/000002.mp3")
    add_audio(root, "small", [2])
    assert fma_songs(root, "small")[0].path == str(root / "fma_small/000/000002.mp3")
    assert fma_songs(root, "full")[0].path == str(root / "fma_full/000/000002.mp3")


def test_what_is_missing_is_counted_and_named(root):
    add_audio(root, "large", [2, 3, 5])
    assert check_layout(root, "small").endswith(
        "fma_large: 2 of 3 tracks of subset small; missing: 001/001234.mp3"
    )
    add_audio(root, "large", [1234])
    assert check_layout(root, "small").endswith("3 of 3 tracks of subset small")
    (root / "fma_small").mkdir()
    with pytest.raises(UserError, match=r"fma_small' has none of the 3 tracks .*000/000002\.mp3"):
        check_layout(root, "small")


def test_many_missing_tracks_are_not_all_named(root):
    tracks = dict.fromkeys(range(1, 21), ("training", "small", ""))
    (root / "fma_metadata/tracks.csv").write_text(tracks_csv(tracks))
    add_audio(root, "small", [1])
    assert check_layout(root, "small").endswith("000/000006.mp3 and 14 more")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, r"has no fma_metadata/tracks\.csv"),
        ("", "cannot be read as FMA's table"),
        ("a,b\n1,2\n", r"has no column \('set', 'subset'\)|cannot be read"),
        (tracks_csv().replace("set,set", "set,other"), r"has no column \('set', 'subset'\)"),
        (tracks_csv().replace("medium", "huge"), "without a subset or split"),
        (tracks_csv().replace("validation", "dev"), "without a subset or split"),
        (tracks_csv().replace("\n1234,", "\nhalf,"), "cannot be read as FMA's table"),
        (tracks_csv().replace("\n1234,", "\n1e308,"), "number is there twice, or none that can be"),
        (tracks_csv().replace("\n1234,", "\n-1,"), "number is there twice, or none that can be"),
        (tracks_csv().replace("\n1234,", "\n2,"), "number is there twice, or none that can be"),
        (tracks_csv() + "\0", "holds NUL characters"),
        (tracks_csv() + "x" * 3_000_000, "is longer than 1024 KiB"),
    ],
)
def test_a_table_that_is_not_the_corpus_own(root, text, reason):
    add_audio(root, "small", [2])
    path = root / "fma_metadata/tracks.csv"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=reason):
        fma_songs(root, "small")
