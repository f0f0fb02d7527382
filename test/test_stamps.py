"""A result counts while its inputs are the same and its files are there; only our own files go."""

import json
import os
import shutil

import pytest

from mixit_mss.errors import UserError
from mixit_mss.stamps import (
    STAMP,
    Fingerprint,
    content_digest,
    foreign_files,
    own_files,
    read_stamp,
    replaced_folder,
)


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "in" / "song.wav"
    path.parent.mkdir()
    path.write_bytes(b"one" * 1000)
    return path


def make(folder, song, output="vocals.wav", **options):
    """Do the work of a pretended command."""
    fingerprint = Fingerprint("separate", options, {"mixture": song})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / output).write_bytes(b"estimate of " + song.read_bytes())
    fingerprint.mark_done(folder, [folder / output])


def is_done(folder, song, **options):
    return Fingerprint("separate", options, {"mixture": song}).is_done(folder)


def test_done_until_something_changes(tmp_path, song):
    out = tmp_path / "out"
    assert not is_done(out, song)
    make(out, song, rate=1)
    assert is_done(out, song, rate=1)
    assert not is_done(out, song, rate=2)
    assert not Fingerprint("score", {"rate": 1}, {"mixture": song}).is_done(out)
    assert not Fingerprint("separate", {"rate": 1}, {"song": song}).is_done(out)
    assert not Fingerprint("separate", {"rate": 1}, {}).is_done(out)


def test_content_decides_not_the_path_and_not_the_time(tmp_path, song, monkeypatch):
    out = tmp_path / "out"
    make(out, song)
    monkeypatch.chdir(song.parent)
    assert is_done(out, "song.wav")
    assert is_done(out, shutil.copy(song, tmp_path / "elsewhere.wav"))
    os.utime(song)
    assert is_done(out, song)


def test_another_content_of_the_same_length_and_time_is_seen(tmp_path, song):
    out = tmp_path / "out"
    make(out, song)
    stat = song.stat()
    song.write_bytes(b"two" * 1000)
    os.utime(song, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not is_done(out, song)


def test_an_input_that_is_as_it_was_is_not_read_again(tmp_path, song, monkeypatch):
    out = tmp_path / "out"
    make(out, song)
    monkeypatch.setattr("mixit_mss.stamps.content_digest", lambda path: pytest.fail("it was read"))
    assert is_done(out, song)


def test_an_input_that_changes_during_the_work_is_not_done(tmp_path, song):
    out = tmp_path / "out"
    fingerprint = Fingerprint("separate", {}, {"mixture": song})
    out.mkdir()
    (out / "a").write_bytes(b"of the first content")
    song.write_bytes(b"another")
    fingerprint.mark_done(out, [out / "a"])
    assert not is_done(out, song)


@pytest.mark.parametrize("damage", ["removed", "shorter", "a folder"])
def test_done_only_while_the_outputs_are_there(tmp_path, song, damage):
    out = tmp_path / "out"
    make(out, song)
    path = out / "vocals.wav"
    path.unlink()
    if damage == "shorter":
        path.write_bytes(b"short")
    elif damage == "a folder":
        path.mkdir()
    assert not is_done(out, song)


def test_a_moved_folder_stays_done(tmp_path, song):
    make(tmp_path / "out", song)
    (tmp_path / "out").rename(tmp_path / "moved")
    assert is_done(tmp_path / "moved", song)


def test_several_results_in_one_folder_keep_apart(tmp_path, song):
    out = tmp_path / "out"
    make(out, song, "vocals.wav", stems="vocals")
    make(out, song, "bass.wav", stems="bass")
    assert is_done(out, song, stems="vocals") and is_done(out, song, stems="bass")
    make(out, song, "bass.wav", stems="bass", model="other")
    assert is_done(out, song, stems="vocals") and not is_done(out, song, stems="bass")
    assert own_files(out, "separate") == {"vocals.wav", "bass.wav"}
    assert len(read_stamp(out)) == 2


def test_own_files_are_those_of_stamps_and_lie_inside(tmp_path, song):
    out = tmp_path / "out"
    make(out, song)
    (out / "notes.txt").write_text("mine")
    assert own_files(out) == {"vocals.wav"}
    assert own_files(out, "select-channels") == set()
    assert foreign_files(out) == ["notes.txt"]
    stamp = json.loads((out / STAMP).read_text())
    stamp["results"][0]["outputs"] |= {"../in/song.wav": 1, str(song): 1, "a/../../b": 2}
    (out / STAMP).write_text(json.dumps(stamp))
    assert own_files(out) == {"vocals.wav"}


def test_a_folder_is_replaced_only_if_all_of_it_is_ours(tmp_path, song):
    out = tmp_path / "out"
    make(out, song)
    with replaced_folder(out) as partial:
        (partial / "new.csv").write_text("new")
    assert [path.name for path in out.iterdir()] == ["new.csv"]
    with pytest.raises(UserError, match=r"did not write \('new.csv'\)"), replaced_folder(out):
        pass
    assert (out / "new.csv").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_file_that_comes_during_the_work_is_kept(tmp_path, song):
    out = tmp_path / "out"
    make(out, song)
    with pytest.raises(UserError, match="did not write"), replaced_folder(out):
        (out / "notes.txt").write_text("mine")
    assert (out / "notes.txt").read_text() == "mine" and is_done(out, song)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"results": 3}',
        '{"results": [3]}',
        "[" * 100_000,
        '{"a": ' + "9" * 5000,
    ],
)
def test_a_stamp_that_makes_no_sense_is_none(tmp_path, text):
    (tmp_path / STAMP).write_text(text)
    assert read_stamp(tmp_path) == []


def test_digests(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"x")
    first = content_digest(tmp_path / "a")
    (tmp_path / "a" / ".hidden").write_bytes(b"x")
    assert content_digest(tmp_path / "a") == first
    (tmp_path / "a" / "x").write_bytes(b"y")
    assert content_digest(tmp_path / "a") != first
    assert content_digest(tmp_path / "none") == "missing"
    with pytest.raises(UserError, match="no regular file"):
        content_digest("/dev/zero")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UserError, match="no regular file"):
        content_digest(tmp_path / "fifo")
