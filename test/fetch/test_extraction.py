"""Zips that want to write elsewhere, grow without end, or are broken; lists of checksums."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import struct
import threading
import zipfile

import pytest
from corpus_server import fma_members, make_zip, musdb_members, noise

from mixit_mss.errors import UserError
from mixit_mss.fetch import extraction
from mixit_mss.fetch.extraction import check_sums, extract, in_threads

BOUND = 10**6


def content_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def save(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    return tmp_path / "a.zip"


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize(("members", "top"), [(fma_members(), "fma_small"), (musdb_members(), "")])
def test_every_file_gets_its_place(tmp_path, members, top, num_threads):
    archive = save(tmp_path, make_zip(members))
    with zipfile.ZipFile(archive) as content:
        assert {m.compress_type for m in content.infolist() if m.file_size} == {zipfile.ZIP_BZIP2}
    assert extract(archive, tmp_path / "out", top, BOUND, num_threads) == []
    wanted = {
        name.removeprefix(f"{top}/"): content.encode() if isinstance(content, str) else content
        for name, content in members
        if not name.endswith("/")
    }
    assert content_of(tmp_path / "out") == wanted


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_other_compressions(tmp_path, compression):
    members = {"a/b": noise(200_000), "a/c": bytes(300_000), "d": b""}
    archive = save(tmp_path, make_zip(members.items(), compression))
    assert extract(archive, tmp_path / "out", "", BOUND) == []
    assert content_of(tmp_path / "out") == members


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def encrypted():
    content = bytearray(make_zip([("top/a", b"x")]))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    return bytes(content)


def unknown_compression():
    content = bytearray(make_zip([("top/a", b"x")]))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", content, content.index(signature) + offset, 97)
    return bytes(content)


HARMLESS = ("top/a", b"harmless")
MALICIOUS = {
    "parent": ([HARMLESS, ("top/../../evil", b"x")], "outside of its folder"),
    "plain parent": ([HARMLESS, ("../evil", b"x")], "outside of its folder"),
    "absolute": ([HARMLESS, ("/tmp/evil", b"x")], "outside of its folder"),
    "backslash": ([HARMLESS, ("top\\..\\..\\evil", b"x")], "outside of its folder"),
    "drive": ([HARMLESS, ("C:/evil", b"x")], "outside of its folder"),
    "folder above": ([HARMLESS, ("../evil/", b"")], "outside of its folder"),
    "sibling": ([HARMLESS, ("topmost/evil", b"x")], "does not lie in 'top'"),
    "folder itself": ([HARMLESS, ("top", b"x")], "does not lie in 'top'"),
    "link": ([HARMLESS, (special("top/b", stat.S_IFLNK), "/etc")], "is a link or a device"),
    "device": ([HARMLESS, (special("top/b", stat.S_IFBLK), b"")], "is a link or a device"),
    "bomb": ([HARMLESS, ("top/b", bytes(BOUND))], "would grow to"),
    "twice": ([HARMLESS, ("top/./a", b"x")], "has two members"),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_members_stop_it_before_anything_is_written(tmp_path, name):
    members, reason = MALICIOUS[name]
    archive = save(tmp_path, make_zip(members))
    with pytest.raises(UserError, match=rf"{reason}.*nothing was extracted"):
        extract(archive, tmp_path / "deep" / "out", "top", BOUND)
    assert sorted(os.listdir(tmp_path)) == ["a.zip"]


@pytest.mark.parametrize("make", [encrypted, unknown_compression])
def test_members_that_cannot_be_read_stop_it(tmp_path, make):
    with pytest.raises(UserError, match=r"encrypted|unknown method"):
        extract(save(tmp_path, make()), tmp_path / "out", "top", BOUND)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_bomb_that_lies_about_its_size_stays_small(tmp_path, compression):
    size = 3_000_000
    content = make_zip([("a", bytes(size)), ("b", b"fine")], compression)
    content = content.replace(struct.pack("<I", size), struct.pack("<I", 10))
    assert extract(save(tmp_path, content), tmp_path / "out", "", BOUND) == [
        ("a", "damaged_in_archive")
    ]
    assert content_of(tmp_path / "out") == {"b": b"fine"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_however_much_a_few_bytes_hold_it_comes_in_small_blocks(tmp_path, compression):
    size = 10_000_000
    archive = save(tmp_path, make_zip([("a", bytes(size))], compression))
    with open(archive, "rb") as file:
        (member,) = zipfile.ZipFile(file).infolist()
        lengths = [len(block) for block in extraction.decompressed(file.fileno(), member)]
    assert member.compress_size < size / 900
    assert sum(lengths) == size and max(lengths) <= extraction.BLOCK_BYTES


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED]
)
def test_a_damaged_member_is_named_and_the_others_are_extracted(tmp_path, compression):
    members = [(name, noise(50_000, i)) for i, name in enumerate("abc")]
    content = bytearray(make_zip(members, compression))
    content[70_000:70_020] = bytes(20)
    archive = save(tmp_path, bytes(content))
    assert extract(archive, tmp_path / "out", "", BOUND, 2) == [("b", "damaged_in_archive")]
    assert content_of(tmp_path / "out") == {"a": members[0][1], "c": members[2][1]}


@pytest.mark.parametrize("content", [b"", b"<html>no zip</html>", make_zip(fma_members())[:-30]])
def test_what_is_no_zip(tmp_path, content):
    with pytest.raises(UserError, match="not a zip archive"):
        extract(save(tmp_path, content), tmp_path / "out", "", BOUND)


def test_an_interrupted_extraction_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    archive = save(tmp_path, make_zip(fma_members()))
    out = tmp_path / "out"
    real, done = extraction._extract_member, []

    def killed(content, member, *rest):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(member.filename)
        real(content, member, *rest)

    monkeypatch.setattr(extraction, "_extract_member", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(archive, out, "fma_small", BOUND)
    left = out / "000" / ".000005.4711-0123abcd.partial.mp3"  # as after kill -9
    left.write_bytes(b"half")
    (out / ".hidden").write_text("somebody's own")
    (out / "README.txt").write_text("cut")
    done.clear()
    monkeypatch.setattr(extraction, "_extract_member", lambda *a: (done.append(a), real(*a)))
    assert extract(archive, out, "fma_small", BOUND) == []
    assert sorted(job[1].filename for job in done) == [
        "fma_small/000/000005.mp3",
        "fma_small/001/001234.mp3",
        "fma_small/README.txt",
    ]
    assert not left.exists() and (out / ".hidden").exists()
    assert check_sums(out, "checksums") == []


def test_no_room_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    archive = save(tmp_path, make_zip([("a", bytes(5000))]))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 4000}))
    with pytest.raises(
        UserError, match=r"needs 4\.9 KiB .* 3\.9 KiB are free: free 1000 bytes more"
    ):
        extract(archive, tmp_path / "out", "", BOUND)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    archive = save(tmp_path, make_zip([("a", b"first"), ("b", bytes(50_000)), ("c", b"last")]))

    class Full(io.FileIO):
        def write(self, block):
            if len(block) > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(block)

    monkeypatch.setattr(extraction, "open", Full, raising=False)
    with pytest.raises(UserError, match=r"the disk is full at .*out/b'"):
        extract(archive, tmp_path / "out", "", BOUND)
    assert content_of(tmp_path / "out") == {"a": b"first"}


def test_files_are_compared_with_their_list(tmp_path):
    names = ("good", "changed", "gone", "folder/deep")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(noise(3000, len(name)))
    lines = [f"{hashlib.sha1(noise(3000, len(name))).hexdigest()}  {name}" for name in names]
    lines += ["", "no sum at all", f"{'0' * 40}  ../outside"]
    (tmp_path / "checksums").write_text("\n".join(lines))
    (tmp_path / "changed").write_bytes(noise(3000, 99))
    (tmp_path / "gone").unlink()
    (tmp_path / "unlisted").write_text("no matter")
    for num_threads in (1, 4):
        assert check_sums(tmp_path, "checksums", num_threads) == [
            (f"{'0' * 40}  ../outside", "no_checksum_line"),
            ("changed", "checksum"),
            ("gone", "missing"),
            ("no sum at all", "no_checksum_line"),
        ]
    assert check_sums(tmp_path, "no_list") == [("no_list", "missing")]


def test_threads_share_the_jobs_and_pass_on_an_exception():
    barrier = threading.Barrier(3, timeout=5)
    seen = []
    in_threads(lambda job: (barrier.wait(), seen.append(job)), range(6), 3)
    assert sorted(seen) == list(range(6))

    def fail(job):
        seen.append(job)
        raise ValueError(job)

    seen.clear()
    with pytest.raises(ValueError, match="0"):
        in_threads(fail, range(1000), 1)
    assert seen == [0]
