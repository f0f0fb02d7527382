"""Fetching from a real nginx: both corpora; ranges, none, one connection only; cuts; damage; a full disk."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from corpus_server import (
    Nginx,
    archive_of,
    fma_members,
    make_zip,
    metadata_members,
    musdb_members,
    noise,
)

from mixit_mss.bin import download
from mixit_mss.errors import UserError
from mixit_mss.fetch.download import Transfer, fetch
from mixit_mss.fetch.partial import received_bytes

CONTENT = noise(1_000_000)
SHA1 = {"sha1": hashlib.sha1(CONTENT).hexdigest()}
KEYS = {"fma_metadata": "metadata", "fma_small": "small", "musdb18hq": "musdb18hq"}
QUICK = Transfer(attempts=12, first_wait=0.05, longest_wait=0.3, timeout=60, piece_bytes=150_000)


@pytest.fixture
def nginx(tmp_path):
    if not (shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")):
        pytest.skip("needs a web server: apt-get install nginx-light")
    root, folder = tmp_path / "www", tmp_path / "nginx"
    root.mkdir()
    folder.mkdir()
    (root / "a.zip").write_bytes(CONTENT)
    server = Nginx(root, folder)
    server.start(rate="50k")
    yield server
    server.stop()


@pytest.mark.parametrize("place", ["", "/whole", "/one"])
def test_whatever_the_server_allows(nginx, tmp_path, place):
    fetch(f"{nginx.url}{place}/a.zip", tmp_path / "a.zip", SHA1, len(CONTENT), transfer=QUICK)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    log = (nginx.folder / "access.log").read_text()
    assert (" 206 " in log) == (place != "/whole")
    assert (" 503 " in log) == (place == "/one")


def test_a_server_that_restarts_in_the_middle(nginx, tmp_path):
    path = tmp_path / "a.zip"
    patient = replace(QUICK, connections=2, attempts=300)
    worker = threading.Thread(
        target=fetch,
        args=(f"{nginx.url}/slow/a.zip", path, SHA1, len(CONTENT)),
        kwargs={"transfer": patient},
    )
    worker.start()
    deadline = time.monotonic() + 120
    while received_bytes(path) < 100_000:  # the state is saved every second
        assert time.monotonic() < deadline
        time.sleep(0.02)
    nginx.stop()
    assert not path.exists()
    time.sleep(0.3)
    nginx.start()
    worker.join(120)
    assert path.read_bytes() == CONTENT
    assert nginx.body_bytes() < 1.5 * len(CONTENT)


@pytest.mark.parametrize("place", ["", "/whole", "/one"])
def test_both_corpora_in_miniature(nginx, tmp_path, place, capsys):
    zips = {
        "fma_metadata": make_zip(metadata_members()),
        "fma_small": make_zip(fma_members(size=100_000)),
        "musdb18hq": make_zip(musdb_members()),
    }
    known = {}
    for name, content in zips.items():
        (tmp_path / f"www/{name}.zip").write_bytes(content)
        known[KEYS[name]] = archive_of(name, content, f"{nginx.url}{place}")
    download.main(["fma", "--subset", "small", "--out", str(tmp_path / "out")], known)
    download.main(["musdb18hq", "--out", str(tmp_path / "out")], known)
    said = capsys.readouterr().out
    assert "fma_small: 5 files" in said and "15 files" in said
    assert (tmp_path / "out/musdb18hq/train/A - B/vocals.wav").read_bytes() == noise(2_000, 6)
    assert (tmp_path / "out/fma_small/000/000002.mp3").read_bytes() == noise(100_000, 2)


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), r"damaged .*its sha1 is .*was deleted"),
        (CONTENT[:900_000], "has 900000 bytes where 1000000 are expected"),
    ],
)
def test_what_is_damaged_at_the_server_is_not_kept(nginx, tmp_path, served, message):
    (tmp_path / "www/a.zip").write_bytes(served)
    path = tmp_path / "out/a.zip"
    path.parent.mkdir()
    with pytest.raises(UserError, match=message):
        fetch(f"{nginx.url}/a.zip", path, SHA1, len(CONTENT), transfer=QUICK)
    assert not list(path.parent.iterdir())
    (tmp_path / "www/a.zip").write_bytes(CONTENT)
    fetch(f"{nginx.url}/a.zip", path, SHA1, len(CONTENT), transfer=QUICK)
    assert path.read_bytes() == CONTENT


def test_a_full_disk(nginx, small_disk):
    path = small_disk / "a.zip"
    with pytest.raises(UserError, match=r"the disk is full at .*a\.zip\.partial"):
        fetch(f"{nginx.url}/a.zip", path, SHA1, len(CONTENT), transfer=QUICK)
    subprocess.run(["mount", "-o", "remount,size=3m", str(small_disk)], check=True)
    fetch(f"{nginx.url}/a.zip", path, SHA1, len(CONTENT), transfer=QUICK)
    assert path.read_bytes() == CONTENT
