"""Fetching over HTTP from a server that cuts, refuses, limits and lies; see test_download_nginx.py."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.server
import os
import subprocess
import threading
import urllib.error
from collections import deque
from dataclasses import replace

import pytest
from corpus_server import noise, serving

from mixit_mss.errors import UserError
from mixit_mss.fetch import download
from mixit_mss.fetch.download import Transfer, fetch
from mixit_mss.fetch.partial import PartialFile, partial_paths, received_bytes

CONTENT = noise(300_000)
SIZE = len(CONTENT)
SHA1 = {"sha1": hashlib.sha1(CONTENT).hexdigest()}
QUICK = Transfer(attempts=4, first_wait=0.01, longest_wait=0.05, timeout=60, piece_bytes=50_000)


@pytest.fixture
def server():
    with serving({"a.zip": CONTENT}) as running:
        yield running


def get(server, folder, transfer=QUICK, checksums=SHA1, size=SIZE, **options):
    fetch(f"{server.url}/a.zip", folder / "a.zip", checksums, size, transfer=transfer, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("ranges", [True, False])
def test_the_file_arrives_whole(server, tmp_path, ranges, connections):
    server.ranges, server.gather = ranges, connections if ranges else 1
    get(server, tmp_path, replace(QUICK, connections=connections))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert names(tmp_path) == [".a.zip.verified.json", "a.zip"]
    assert server.peak == (connections if ranges else 1)
    assert sorted(server.transfers()) == (list(range(0, 300_000, 50_000)) if ranges else [0])


def test_all_checksums_are_looked_at(server, tmp_path):
    both = {"md5": hashlib.md5(CONTENT).hexdigest(), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    get(server, tmp_path, checksums=both)
    for name in both:
        with pytest.raises(UserError, match=f"its {name} is .* and not 00"):
            get(server, tmp_path / name, checksums={**both, name: "00"})


def test_cut_connections_go_on_at_the_byte_where_they_were_cut(server, tmp_path):
    server.cuts, server.cut_after = 5, 30_000
    get(server, tmp_path, replace(QUICK, connections=1, attempts=2))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.transfers()[:4] == [0, 30_000, 50_000, 80_000]
    assert server.sent == SIZE + 1  # the one is that of the first question


def test_a_bad_line_may_cut_it_often_as_long_as_something_comes(server, tmp_path):
    server.cuts, server.cut_after = 8, 5_000
    get(server, tmp_path, replace(QUICK, connections=1, attempts=2))
    assert server.transfers()[:9] == [5_000 * n for n in range(9)]


def test_an_answer_with_other_bytes_than_asked_for_is_not_taken(server, tmp_path):
    server.forget = 3
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_without_ranges_a_cut_connection_begins_anew(server, tmp_path):
    server.ranges, server.cuts, server.cut_after = False, 2, 120_000
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.transfers() == [0, 0, 0]


class Then:
    """Answers for a server: files at first, then one status for ever."""

    def __init__(self, status, after):
        self.status, self.left = status, after

    def __bool__(self):
        self.left -= 1
        return self.left < 0

    def popleft(self):
        return self.status


def test_giving_up_keeps_what_has_come_and_says_how_much(server, tmp_path):
    server.cuts, server.cut_after = 1, 20_000
    server.answers = Then(503, after=2)
    with pytest.raises(
        UserError, match=r"503 .*19\.5 KiB of 293\.0 KiB .*run the same command again"
    ):
        get(server, tmp_path, replace(QUICK, connections=1))
    assert len(server.log) == 2 + QUICK.attempts - 1
    assert received_bytes(tmp_path / "a.zip") == 20_000
    server.answers, server.log = deque(), []
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert sorted(server.transfers())[0] == 20_000


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1), (503, 2), (429, 2)])
def test_a_refusal_ends_it_at_once_if_it_will_not_change(server, tmp_path, code, requests):
    server.answers.extend([code] * 2)
    with pytest.raises(UserError, match=f"answered {code}"):
        get(server, tmp_path)
    assert len(server.log) == requests
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.answers.extend([429])
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_vanishes_in_the_middle_ends_it(server, tmp_path):
    server.answers = Then(410, after=3)
    with pytest.raises(UserError, match="answered 410"):
        get(server, tmp_path, replace(QUICK, first_wait=60.0))


def test_a_server_that_allows_one_connection_gets_one(server, tmp_path):
    server.max_active, server.gather = 1, 2
    get(server, tmp_path, replace(QUICK, attempts=3))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_nobody_there(tmp_path):
    with serving() as gone:
        pass
    with pytest.raises(UserError, match=r"could not be fetched .*refused"):
        get(gone, tmp_path)


def test_pauses_double_up_to_a_limit_and_heed_the_server():
    transfer = Transfer(first_wait=1.0, longest_wait=10.0)
    cut = ConnectionError("cut")
    assert [transfer.pause(n, cut) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    busy = [urllib.error.HTTPError("u", 429, "m", {"Retry-After": t}, None) for t in ("7", "99")]
    assert [transfer.pause(1, error) for error in busy] == [7, 10]


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    server.files["a.zip"] = CONTENT[:-1] + b"?"
    with pytest.raises(UserError, match=r"damaged .*its sha1 is .*was deleted"):
        get(server, tmp_path)
    assert names(tmp_path) == []
    server.files["a.zip"] = CONTENT
    get(server, tmp_path)


def test_another_length_is_seen_before_anything_is_fetched(server, tmp_path):
    server.files["a.zip"] = CONTENT[:290_000]
    with pytest.raises(UserError, match="has 290000 bytes where 300000 are expected"):
        get(server, tmp_path)
    with pytest.raises(UserError, match="where about 300000 are expected"):
        get(server, tmp_path, size_tolerance=0.03)
    assert names(tmp_path) == [] and server.transfers() == []
    with pytest.raises(UserError, match="damaged"):  # so close that only the checksum tells
        get(server, tmp_path, size_tolerance=0.04)


def test_a_rounded_length_will_do(server, tmp_path):
    get(server, tmp_path, size=299_000, size_tolerance=0.01)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_what_is_complete_needs_no_server(tmp_path):
    partial = PartialFile.create(tmp_path / "a.zip", SIZE, 200_000)
    for piece in partial.unfinished():
        start, end = partial.span(piece)
        partial.write(piece, CONTENT[start:end])
    partial.save()
    with serving() as gone:
        pass
    get(gone, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "state",
    [
        "",
        "{}",
        '{"size": 300000, "piece_bytes": 50000, "received": [50000, 50000, 50000]}',
        '{"size": 300000, "piece_bytes": 150000, "received": [150000, 150001]}',
        '{"size": 300000, "piece_bytes": 0, "received": []}',
        '{"size": 300000, "piece_bytes": -1, "received": []}',
        '{"size": 300000, "piece_bytes": 1, "received": [1]}',
        '{"size": 300000, "piece_bytes": 1e5, "received": [1, 2, 3]}',
        '{"size": 300000, "piece_bytes": 100000, "received": [1.5, true, 3]}',
        '{"size": 300000, "piece_bytes": 300000, "received": ["1"]}',
        '{"size": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"size": 299999, "piece_bytes": 299999, "received": [299999]}',
    ],
)
def test_a_state_that_makes_no_sense_is_not_believed(server, tmp_path, state):
    data, state_file = partial_paths(tmp_path / "a.zip")
    data.write_bytes(bytes(SIZE))
    state_file.write_text(state)
    (tmp_path / ".a.zip.partial.123.partial.json").touch()  # of a process killed while it wrote it
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert names(tmp_path) == [".a.zip.verified.json", "a.zip"]


def test_a_file_that_is_there_is_verified_once(server, tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    looked = []
    real = download._mismatch
    monkeypatch.setattr(download, "_mismatch", lambda *a: looked.append(a) or real(*a))
    get(server, tmp_path)
    get(server, tmp_path)
    assert len(looked) == 1 and server.log == []
    (tmp_path / "a.zip").write_bytes(CONTENT[:1000])
    with pytest.raises(UserError, match=r"a\.zip' is damaged or another file .*delete it"):
        get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_is_no_network_trouble(server, tmp_path, monkeypatch, code):
    real, written = os.pwrite, []

    def full(file, block, position):
        if sum(written) >= 100_000:
            raise OSError(code, os.strerror(code))
        written.append(len(block))
        return real(file, block, position)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match="full" if code == errno.ENOSPC else "cannot be written"):
        get(server, tmp_path, replace(QUICK, first_wait=60.0))
    assert received_bytes(tmp_path / "a.zip") == sum(written) >= 100_000
    monkeypatch.undo()
    server.rest()
    get(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.sent <= SIZE - sum(written) + 1


def test_a_disk_that_is_really_full(server, small_disk):
    with pytest.raises(UserError, match=r"the disk is full at .*a\.zip\.partial"):
        get(server, small_disk)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    get(server, small_disk)
    assert (small_disk / "a.zip").read_bytes() == CONTENT


@contextlib.contextmanager
def answering(**headers):
    """A server that answers everything with these headers."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302 if "Location" in headers else 200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/a.zip"
        server.shutdown()


@pytest.mark.parametrize(
    "headers",
    [
        *({"Content_Length": text} for text in ("9" * 5000, "\u00b2", "-5", "1_0", "x")),
        *(
            {"Location": place}
            for place in (
                *("http://[::1", "http://[zz]/a", "file:///etc/passwd", "ftp://127.0.0.1/a"),
                *("data:,x", "http:///", "http://127.0.0.1:99999/a", "http://127.0.0.1:x/"),
            )
        ),
    ],
    ids=str,
)
def test_answers_that_make_no_sense_are_one_sentence(headers, tmp_path):
    quick = Transfer(attempts=1, first_wait=0.01)
    with answering(**headers) as url, pytest.raises(UserError, match=r"a\.zip"):
        fetch(url, tmp_path / "a.zip", {"sha256": "0" * 64}, 10, transfer=quick)
    assert names(tmp_path) == []


def test_a_server_that_asks_for_a_strange_pause_gets_the_usual_one():
    for asked in ("9" * 5000, "\u00b2", "-1", "soon"):
        error = urllib.error.HTTPError("http://a", 503, "busy", {"Retry-After": asked}, None)
        assert Transfer().pause(1, error) == 1.0


def test_a_server_that_does_not_answer_keeps_nobody_from_ending(server, tmp_path, monkeypatch):
    answered, opened = threading.Event(), download._open

    def never(url, transfer, span=None):
        if span == "bytes=0-0":
            return opened(url, transfer, span)
        answered.wait(30)
        raise ConnectionError("too late")

    def interrupted(self):
        if threading.current_thread() is threading.main_thread() and download_begun:
            raise KeyboardInterrupt
        download_begun.append(True)

    download_begun = []
    monkeypatch.setattr(download, "_open", never)
    monkeypatch.setattr(download, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(PartialFile, "save", interrupted)
    late = threading.Timer(15, answered.set)
    late.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path)
        assert not answered.is_set()
    finally:
        late.cancel()
        answered.set()
