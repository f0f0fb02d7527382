import os
import subprocess

import numpy as np
import pytest

from mixit_mss import audio
from mixit_mss.audio.ffmpeg import find_ffmpeg
from mixit_mss.corpora.folder import (
    find_labelled,
    find_unlabelled,
    labelled_songs,
    songs_apart,
    unlabelled_songs,
)
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
        ("train", "song b", "lead", "train/song b/lead.wav"),
        ("train", "song b", "beat", "train/song b/beat.wav"),
        ("test", "c", "beat", "test/c/beat.ogg"),
    ]


# suffix, and options for ffmpeg where the suffix does not tell the format
CONTAINERS = {
    **{
        suffix: []
        for suffix in ("mkv", "mov", "aifc", "au", "mp2", "ac3", "3gp", "flv", "ts", "tta")
    },
    **{suffix: [] for suffix in ("avi", "spx", "webm", "mka", "wv", "MP3", "Flac")},
    **{"m4b": ["-f", "ipod"], "rf64": ["-f", "wav", "-rf64", "always"], "wave": ["-f", "wav"]},
    **{"xyz": ["-f", "mp3"], "": ["-f", "wav"], "dat": ["-f", "matroska"], "mp4": ["-f", "mp4"]},
}


@pytest.fixture(scope="module")
def second(tmp_path_factory, noise, save):
    folder = tmp_path_factory.mktemp("second")
    return save(folder / "second.wav", noise(1, 44100), 44100)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_whatever_holds_audio_is_a_song(tmp_path, second, suffix):
    path = tmp_path / (f"song.{suffix}" if suffix else "song")
    options = CONTAINERS[suffix]
    if suffix in ("3gp", "flv"):
        options = ["-c:a", "aac"]
    command = [find_ffmpeg(), "-v", "error", "-i", str(second), *options, str(path)]
    if subprocess.run(command, stderr=subprocess.PIPE).returncode:
        pytest.skip(f"this ffmpeg does not write {suffix}")
    (record,) = unlabelled_songs(tmp_path)
    assert (record.path, record.song) == (str(path), "song")
    frames, rate = audio.probe(path).frames, audio.probe(path).sample_rate
    assert abs(frames / rate - 1) < 0.1


def test_what_is_left_out_is_told(tmp_path, second, save, noise):
    save(tmp_path / "a/song.wav", noise(0.1))
    touch(tmp_path, "a/empty.xyz", ".hidden.mp3", ".DS_Store", "a/._song.wav", "a/list.cue")
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "program.ts").write_text("let x: number = 1\n" * 100)
    (tmp_path / "numbers").write_bytes(np.random.default_rng(0).bytes(5000))
    silent = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "color=red:s=64x64:r=5:d=1"]
    subprocess.run([*silent, "-c:v", "mpeg4", str(tmp_path / "silent.mp4")], check=True)
    os.mkfifo(tmp_path / "pipe")
    found = find_unlabelled(tmp_path)
    assert [record.song for record in found.songs] == ["a/song"]
    left = {os.path.relpath(path, tmp_path): why for path, why in found.left_out}
    no_audio = [
        "a/empty.xyz",
        "a/list.cue",
        "cover.jpg",
        "numbers",
        "pipe",
        "program.ts",
        "silent.mp4",
    ]
    assert left == {".hidden.mp3": "hidden", **dict.fromkeys(no_audio, "no audio")}
    words = found.words()
    assert words.startswith(
        "8 files were left out; 1 (hidden): .hidden.mp3; 7 (no audio): empty.xyz"
    )
    assert words.endswith(", ...")


def test_what_is_called_like_audio_or_text_is_not_opened(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp3", "b.WAV", "c.jpg", "d.txt")
    monkeypatch.setattr(audio, "has_audio", None)
    assert [record.song for record in unlabelled_songs(tmp_path)] == ["a", "b"]


def test_names_of_dots(tmp_path):
    touch(tmp_path, "...And Justice.mp3", "...wav", ".hidden.wav", "..mp3")
    names = [record.song for record in unlabelled_songs(tmp_path)]
    assert names == ["...And Justice", "...wav", "..mp3"]


def test_capitals_and_what_is_left_out_of_labelled_songs(tmp_path):
    touch(tmp_path, "train/a/lead.WAV", "train/a/beat.Flac", "train/a/guitar.wav", "train/a/a.txt")
    touch(tmp_path, "train/.b/lead.wav", "train/stray.wav", "more/c/lead.wav", "notes.txt")
    touch(tmp_path, "train/a/.lead.wav", "train/a/._lead.wav", "train/a/lead.mp3")
    found = find_labelled(tmp_path, STEMS)
    assert [os.path.basename(record.path) for record in found.songs] == ["lead.WAV", "beat.Flac"]
    left = {os.path.relpath(path, tmp_path): why for path, why in found.left_out}
    assert left == {
        "train/.b/lead.wav": "hidden",
        "train/a/guitar.wav": "a stem that was not asked for",
        "train/stray.wav": "in no song of train, valid or test",
        "more/c/lead.wav": "in no song of train, valid or test",
        "train/a/.lead.wav": "hidden",
        "train/a/lead.mp3": "another file of this stem was taken",
    }
    reasons = {os.path.basename(path): reason for path, reason, _ in found.rejected()}
    assert reasons["guitar.wav"] == "undeclared_stem" and reasons["stray.wav"] == "no_split"


def test_songs_in_hidden_folders_are_told(tmp_path):
    touch(tmp_path, "a.mp3", ".b/c.mp3", "d/.e/f/g.wav", ".b/h.txt", "__MACOSX/._a.mp3")
    found = find_unlabelled(tmp_path)
    assert [record.song for record in found.songs] == ["a"]
    left = {os.path.relpath(path, tmp_path): why for path, why in found.left_out}
    assert left == {".b/c.mp3": "hidden", "d/.e/f/g.wav": "hidden"}
    touch(tmp_path, "train/a/lead.wav", ".test/b/lead.wav")
    found = find_labelled(tmp_path, STEMS)
    assert (str(tmp_path / ".test/b/lead.wav"), "hidden") in found.left_out


def test_stems_in_capitals(tmp_path):
    touch(tmp_path, "train/a/Lead.WAV", "train/a/BEAT.wav", "train/a/Mixture.wav")
    touch(tmp_path, "train/b/lead.mp3", "train/b/LEAD.wav", "train/b/beat.wav")
    found = find_labelled(tmp_path, STEMS)
    taken = [(record.song, record.stem, os.path.basename(record.path)) for record in found.songs]
    assert taken == [
        ("a", "mixture", "Mixture.wav"),
        ("a", "lead", "Lead.WAV"),
        ("a", "beat", "BEAT.wav"),
        ("b", "lead", "lead.mp3"),
        ("b", "beat", "beat.wav"),
    ]
    assert [os.path.basename(path) for path, _ in found.left_out] == ["LEAD.wav"]


@pytest.mark.parametrize(
    ("name", "split"),
    [("validation", "valid"), ("Val", "valid"), ("training", "train"), ("TEST", "test")],
)
def test_splits_under_other_names(tmp_path, name, split):
    touch(tmp_path, "train/a/lead.wav", f"{name}/b/lead.wav")
    if split == "train":
        os.rename(tmp_path / "train", tmp_path / "test")
    with pytest.raises(UserError, match=f"{name}' is no split.*rename it to '{split}'"):
        find_labelled(tmp_path, STEMS)
    touch(tmp_path, f"{split}/c/lead.wav")
    found = find_labelled(tmp_path, STEMS)
    assert {record.split for record in found.songs} >= {split}
    assert [why for _, why in found.left_out] == ["in no song of train, valid or test"]


def test_a_mixture_with_stems_that_were_not_asked_for_is_not_taken(tmp_path):
    touch(tmp_path, *(f"test/a/{stem}.wav" for stem in ("mixture", "lead", "beat", "guitar")))
    touch(tmp_path, *(f"test/b/{stem}.wav" for stem in ("mixture", "lead", "beat")))
    found = find_labelled(tmp_path, STEMS)
    taken = [(record.song, record.stem) for record in found.songs]
    assert taken == [(song, stem) for song in "ab" for stem in ("mixture", *STEMS)][1:]
    assert {os.path.basename(path): why for path, why in found.left_out} == {
        "guitar.wav": "a stem that was not asked for",
        "mixture.wav": "a mixture with stems that were not asked for",
    }


def test_songs_with_stems_are_not_among_those_without(tmp_path):
    touch(tmp_path, "x.mp3", "stems/valid/a/mixture.wav", "stems/test/b/lead.wav", "stems/y.mp3")
    os.symlink(tmp_path / "stems/test/b/lead.wav", tmp_path / "link.wav")
    found = find_unlabelled(tmp_path, songs_apart(tmp_path / "stems"))
    assert [record.song for record in found.songs] == ["stems/y", "x"]
    assert {(os.path.basename(path), why) for path, why in found.left_out} == {
        (name, "among the songs with stems") for name in ("mixture.wav", "lead.wav", "link.wav")
    }
    (tmp_path / "list.csv").write_text("path,song,stem\nx.mp3,x,lead\n")
    found = find_unlabelled(tmp_path, songs_apart(tmp_path / "list.csv"))
    assert "x" not in {record.song for record in found.songs} and len(found.songs) == 4
    with pytest.raises(UserError, match="no file with audio in it but 1 among the songs with"):
        find_unlabelled(tmp_path / "stems/valid", songs_apart(tmp_path / "stems"))
