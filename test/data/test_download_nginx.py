"""Fetching from a real nginx: ranges, none, one connection only, a restart in the middle."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from dataclasses import replace

import pytest
from corpus_server import Nginx, noise

from mixit_mss.data.download import Transfer, fetch
from mixit_mss.data.partial import received_bytes

CONTENT = noise(1_000_000)
SHA1 = {"sha1": hashlib.sha1(CONTENT).hexdigest()}
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
