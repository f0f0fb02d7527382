"""An archive's whole way, and what is noticed of it later; the table of the real ones."""

from __future__ import annotations

import csv
import fcntl
from dataclasses import replace

import pytest
from corpus_server import archive_of, fma_members, make_zip, musdb_members, serving

from mixit_mss.corpora import fma, musdb18hq
from mixit_mss.disk import in_words
from mixit_mss.errors import UserError
from mixit_mss.fetch.archives import check_space, is_obtained, obtain
from mixit_mss.fetch.partial import PartialFile

GIB = 2**30


@pytest.fixture
def small():
    """A server with fma_small.zip, and the archive's entry in the table."""
    content = make_zip(fma_members())
    with serving({"fma_small.zip": content}) as server:
        yield server, archive_of("fma_small", content, server.url)


def test_a_whole_way_and_then_nothing_to_do(small, tmp_path):
    server, archive = small
    line = obtain(archive, tmp_path, num_threads=2)
    assert line == f"{tmp_path}/fma_small: 5 files, 58.8 KiB, all as their checksums say"
    assert (tmp_path / "fma_small/000/000002.mp3").stat().st_size == 20_000
    server.log.clear()
    assert "nothing to do, 5 files" in obtain(archive, tmp_path)
    assert server.log == []


def test_bad_files_are_listed_and_stop_nothing(tmp_path):
    listed = {"000/000005.mp3": "0" * 40, "000/000009.mp3": "1" * 40}
    content = make_zip(fma_members(listed=listed))
    with serving({"fma_small.zip": content}) as server:
        archive = archive_of("fma_small", content, server.url)
        for _ in range(2):
            line = obtain(archive, tmp_path)
            assert line.endswith(
                f"; 2 of them missing or not as their checksums say, see {tmp_path}/fma_small_bad_files.csv"
            )
    with open(tmp_path / "fma_small_bad_files.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            ["000/000005.mp3", "checksum"],
            ["000/000009.mp3", "missing"],
        ]


def test_damaged_members_are_listed_with_the_others(tmp_path):
    content = bytearray(make_zip(fma_members()))
    middle = content.index(b"000/000005.mp3BZh") + 10_000
    content[middle : middle + 20] = bytes(20)
    with serving({"fma_small.zip": bytes(content)}) as server:
        archive = archive_of("fma_small", bytes(content), server.url)
        assert "1 of them missing or not" in obtain(archive, tmp_path)
        assert "nothing to do, 4 files" in obtain(archive, tmp_path)
    assert (
        "000/000005.mp3,damaged_in_archive\n" in (tmp_path / "fma_small_bad_files.csv").read_text()
    )


def test_damage_without_a_list_of_checksums_is_an_error(tmp_path):
    content = bytearray(make_zip(musdb_members(50_000)))
    content[20_000:20_020] = bytes(20)
    with serving({"musdb18hq.zip": bytes(content)}) as server:
        archive = archive_of("musdb18hq", bytes(content), server.url)
        with pytest.raises(UserError, match=r"1 damaged members, .*mixture\.wav"):
            obtain(archive, tmp_path)
    assert not is_obtained(archive, tmp_path)


def test_the_archive_can_go_and_a_lost_file_is_noticed(small, tmp_path):
    server, archive = small
    obtain(archive, tmp_path, remove_archive=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fma_small.lock", "fma_small"]
    server.log.clear()
    assert "nothing to do" in obtain(archive, tmp_path, remove_archive=True)
    assert server.log == []
    (tmp_path / "fma_small/000/000002.mp3").unlink()
    assert "nothing to do" not in obtain(archive, tmp_path)
    assert (tmp_path / "fma_small/000/000002.mp3").stat().st_size == 20_000
    assert (tmp_path / "fma_small.zip").exists()
    (tmp_path / "fma_small/000/000002.mp3").unlink()
    server.log.clear()
    obtain(archive, tmp_path)  # from the archive that is still there
    assert server.log == [] and is_obtained(archive, tmp_path)


def test_another_version_of_the_archive_is_another_matter(small, tmp_path):
    _, archive = small
    obtain(archive, tmp_path)
    assert not is_obtained(replace(archive, checksums={"sha1": "0" * 40}), tmp_path)


def test_an_archive_that_grows_too_much_is_not_extracted(small, tmp_path):
    _, archive = small
    with pytest.raises(UserError, match=r"would grow to 58\.8 KiB, more than the 39\.1 KiB"):
        obtain(replace(archive, extracted_size=20_000), tmp_path)
    assert not (tmp_path / "fma_small").exists()


def test_two_at_a_time_is_one_too_many(small, tmp_path):
    _, archive = small
    with open(tmp_path / ".fma_small.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(UserError, match="another process is fetching into"):
            obtain(archive, tmp_path)
    obtain(archive, tmp_path)


def test_room_for_archives_and_files_is_looked_at_first(small, tmp_path, monkeypatch):
    _, archive = small
    free = 0
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    needed = archive.size + archive.extracted_size
    out = tmp_path / "not" / "yet"
    free = 2 * needed
    check_space([archive, archive], out)
    free = 2 * needed - 1
    with pytest.raises(UserError, match=r"fma_small\.zip and fma_small\.zip with the files in it"):
        check_space([archive, archive], out)
    assert not out.exists()
    # what is there already needs no room
    partial = PartialFile.create(tmp_path / "fma_small.zip", archive.size, archive.size)
    partial.write(0, bytes(archive.size))
    partial.save()
    (tmp_path / "fma_small").mkdir()
    (tmp_path / "fma_small/half").write_bytes(bytes(1000))
    free = archive.extracted_size - 1000
    check_space([archive], tmp_path)
    free -= 1
    with pytest.raises(UserError, match="free 1 bytes more, or name another folder"):
        check_space([archive], tmp_path)


def test_nothing_is_needed_for_what_is_done(small, tmp_path, monkeypatch):
    _, archive = small
    obtain(archive, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0}))
    check_space([archive], tmp_path)


def test_a_mirror_has_to_be_an_address():
    mirrored = musdb18hq.ARCHIVE.at("https://mirror.example/data/")
    assert mirrored.url == "https://mirror.example/data/musdb18hq.zip"
    with pytest.raises(UserError, match="--base-url /home/me must begin with"):
        musdb18hq.ARCHIVE.at("/home/me")


def test_the_published_archives():
    table = {
        "metadata": (342 / 1024, "f0df49ffe5f2a6008d7dc83c6915b31835dfe733"),
        "small": (7.2, "ade154f733639d52e35e32f5593efe5be76c6d70"),
        "medium": (22, "c67b69ea232021025fca9231fc1c7c1a063ab50b"),
        "large": (93, "497109f4dd721066b5ce5e5f250ec604dc78939e"),
        "full": (879, "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab"),
    }
    assert set(fma.ARCHIVES) == set(table)
    for name, (gib, sha1) in table.items():
        archive = fma.ARCHIVES[name]
        assert archive.url == f"https://os.unil.cloud.switch.ch/fma/fma_{name}.zip"
        assert archive.checksums == {"sha1": sha1}
        assert archive.size == pytest.approx(gib * GIB)
        assert archive.top_folder == f"fma_{name}"
        # a page that says 22 may mean 21.5
        assert 0.5 / 22 < archive.size_tolerance < 0.05 and archive.extracted_size > archive.size
    musdb = musdb18hq.ARCHIVE
    assert musdb.url == "https://zenodo.org/records/3338373/files/musdb18hq.zip"
    assert (musdb.size, musdb.size_tolerance, musdb.top_folder) == (22_656_664_047, 0, "")
    assert musdb.checksums == {
        "sha256": "baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d",
        "md5": "12d4f2ecd55245a4688754dd76363103",
    }


def test_sizes_in_words():
    assert [in_words(n) for n in (0, 1023, 1024, 7.2 * GIB, 879 * GIB)] == [
        "0 bytes", "1023 bytes", "1.0 KiB", "7.2 GiB", "879.0 GiB",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_made_is_named(small, tmp_path):
    _, archive = small
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file/out' cannot be written"):
        obtain(archive, tmp_path / "file" / "out")
