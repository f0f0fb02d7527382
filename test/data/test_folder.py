import os

import pytest

from mixit_mss.data.corpora.folder import labelled_songs, unlabelled_songs
from mixit_mss.errors import UserError

STEMS = ["lead", "beat"]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_songs_at_any_depth(tmp_path):
    touch(tmp_path, "b.MP3", "a/x.flac", "a/x.wav", "a/y.m4a", "notes.txt", "cover.jpg")
    touch(tmp_path, ".hidden.wav", ".trash/z.wav", "a/._y.m4a", "__MACOSX/w.wav", "z.opus", "x.mp3")
    records = unlabelled_songs(tmp_path)
    assert [record.song for record in records] == ["a/x.flac", "a/x.wav", "a/y", "b", "x", "z"]
    assert [record.path for record in records] == [
        str(tmp_path / name)
        for name in ("a/x.flac", "a/x.wav", "a/y.m4a", "b.MP3", "x.mp3", "z.opus")
    ]
    assert {(record.stem, record.split) for record in records} == {("mixture", "")}


def test_names_are_unique(tmp_path):
    touch(tmp_path, "a.mp3", "a.wav", "a.mp3.wav", "b.wav", "b.wav.flac")
    names = [record.song for record in unlabelled_songs(tmp_path)]
    assert sorted(names) == ["a.mp3", "a.mp3.wav", "a.wav", "b", "b.wav.flac"]


def test_links_are_followed_once(tmp_path):
    touch(tmp_path, "in/one.wav", "disk/two.wav", "disk/deep/three.wav")
    os.symlink(tmp_path / "disk", tmp_path / "in/link")
    os.symlink(tmp_path / "in", tmp_path / "disk/loop")
    os.symlink(tmp_path / "disk/two.wav", tmp_path / "in/four.wav")
    names = [record.song for record in unlabelled_songs(tmp_path / "in")]
    assert names == ["four", "link/deep/three", "link/two", "one"]


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(UserError, match="holds no song"):
        unlabelled_songs(tmp_path)
    touch(tmp_path, "train/song/readme.txt")
    with pytest.raises(UserError, match=r"holds no stem.*lead\.wav"):
        labelled_songs(tmp_path, STEMS)
    for function in (unlabelled_songs, lambda folder: labelled_songs(folder, STEMS)):
        with pytest.raises(UserError, match="gone' is not a folder"):
            function(tmp_path / "gone")


def test_labelled_layout(tmp_path):
    touch(tmp_path, *(f"train/song b/{stem}.wav" for stem in ("lead", "beat", "mixture", "extra")))
    touch(tmp_path, "train/song a/lead.mp3", "train/song a/lead.flac", "test/c/beat.ogg")
    touch(tmp_path, "train/.hidden/lead.wav", "train/stray.wav", "other/d/lead.wav")
    found = [
        (record.split, record.song, record.stem, os.path.relpath(record.path, tmp_path))
        for record in labelled_songs(tmp_path, STEMS)
    ]
    assert found == [
        ("train", "song a", "lead", "train/song a/lead.flac"),
        ("train", "song b", "mixture", "train/song b/mixture.wav"),
        ("train", "song b", "lead", "train/song b/lead.wav"),
        ("train", "song b", "beat", "train/song b/beat.wav"),
        ("test", "c", "beat", "test/c/beat.ogg"),
    ]
