"""``mixit-mss download`` as people call it: whole corpora in miniature, kills, mirrors, mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
from corpus_server import (
    archive_of,
    fma_members,
    make_zip,
    metadata_members,
    musdb_members,
    noise,
    serving,
)

from mixit_mss.bin import download
from mixit_mss.bin.main import main
from mixit_mss.errors import UserError
from mixit_mss.fetch.partial import received_bytes

ZIPS = {
    "fma_metadata.zip": make_zip(metadata_members()),
    "fma_small.zip": make_zip(fma_members(size=100_000)),
    "musdb18hq.zip": make_zip(musdb_members()),
}


@pytest.fixture
def server():
    with serving(dict(ZIPS)) as running:
        yield running


def table(url):
    keys = {"metadata": "fma_metadata", "small": "fma_small", "musdb18hq": "musdb18hq"}
    return {key: archive_of(name, ZIPS[f"{name}.zip"], url) for key, name in keys.items()}


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_fma_from_nothing_to_songs(server, tmp_path, capsys):
    argv = ["fma", "--subset", "small", "--out", str(tmp_path)]
    download.main(argv, table(server.url))
    first = capsys.readouterr()
    assert "each track is under the licence that its artist chose" in first.out
    assert f"{tmp_path}/fma_metadata: 2 files" in first.out
    assert f"{tmp_path}/fma_small: 5 files" in first.out
    assert "all as their checksums say" in first.out
    assert first.err == ""  # no bar where there is no terminal
    assert visible(tmp_path) == [
        "LICENSE_fma.txt",
        *("fma_metadata", "fma_metadata.zip"),
        *("fma_small", "fma_small.zip"),
    ]
    server.log.clear()
    download.main([*argv, "--remove-archive"], table(server.url))
    again = capsys.readouterr().out
    assert again.count("nothing to do") == 2 and "licence" not in again
    assert server.log == []
    assert "fma_small.zip" not in visible(tmp_path)
    download.main(["fma", "--fma-dir", str(tmp_path), "--out", str(tmp_path)])
    assert "3 of 3 tracks of subset small" in capsys.readouterr().out


def test_musdb_from_a_mirror(server, tmp_path, capsys):
    argv = ["musdb18hq", "--out", str(tmp_path), "--base-url", f"{server.url}/", "--nj", "1"]
    download.main([*argv, "--connections", "1"], table("http://localhost:1/unreachable"))
    printed = capsys.readouterr().out
    assert "non-commercial, educational purposes only" in printed and "15 files" in printed
    assert (tmp_path / "musdb18hq/train/A - B/vocals.wav").read_bytes() == noise(2_000, 6)
    with pytest.raises(UserError, match="is not all of MUSDB18-HQ: train/ has 2 songs, not 100"):
        download.main(
            ["musdb18hq", "--musdb-dir", str(tmp_path / "musdb18hq"), "--out", str(tmp_path)]
        )


PROGRAM = """
import json, sys
from mixit_mss.bin import download
from mixit_mss.bin.main import run
from mixit_mss.fetch.archives import Archive
entries = {key: Archive(**entry) for key, entry in json.loads(sys.argv[1]).items()}
sys.exit(run(lambda argv: download.main(argv, entries), "download", sys.argv[2:]))
"""


def start(server, *argv):
    entries = {key: asdict(archive) for key, archive in table(server.url).items()}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(entries), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def stop_when(condition, process, number=signal.SIGKILL):
    """Send the signal as soon as the condition holds; returns what was said on standard error."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    # less than what a silent connection may take: nobody waits for that
    return process.communicate(timeout=25)[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_transfer_goes_on_at_the_byte_where_it_was_stopped(server, tmp_path, number):
    server.hold_at = 150_000
    partial = tmp_path / "fma_small.zip"
    argv = ["fma", "--out", str(tmp_path), "--connections", "2"]
    process = start(server, *argv)
    errors = stop_when(lambda: received_bytes(partial) > 100_000, process, number)
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert ("interrupted; run the same command again" in errors) == (number == signal.SIGINT)
    assert not partial.exists()
    left = len(ZIPS[partial.name]) - received_bytes(partial)
    server.rest()
    download.main(argv, table(server.url))
    assert server.sent == left + 1
    assert (tmp_path / "fma_small/001/001234.mp3").read_bytes() == noise(100_000, 1234)


def test_kill_it_anywhere_and_the_same_command_finishes(server, tmp_path):
    out, small = tmp_path / "out", tmp_path / "out/fma_small"
    server.pause = 0.001
    stages = [
        lambda: (out / "LICENSE_fma.txt").exists(),
        lambda: any(out.glob("fma_metadata.zip*")),
        lambda: any(out.glob("fma_small.zip*")),
        lambda: (out / "fma_small.zip").exists(),
        small.exists,
        lambda: len(list(small.glob("0*/*"))) >= 2,
        lambda: (small / ".done.json").exists(),
    ]
    argv = ["fma", "--out", str(out), "--nj", "1"]
    for reached in stages:
        process = start(server, *argv)
        stop_when(reached, process)
        assert process.returncode in (-signal.SIGKILL, 0)  # 0: it was quicker
    process = start(server, *argv)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"{small}: " in output and "all as their checksums say" in output
    assert [path for path in out.rglob("*") if "partial" in path.name] == []
    for number in (2, 5, 1234):
        path = small / f"{number // 1000:03d}/{number:06d}.mp3"
        assert path.read_bytes() == noise(100_000, number)


def test_mistakes_are_one_sentence(server, tmp_path, capsys):
    def said(*argv, status=1):
        assert main(["download", *argv]) == status
        error = capsys.readouterr().err
        assert "Traceback" not in error and error.count("\n") == 1
        return error

    out = ["--out", str(tmp_path)]
    assert "--connections 0 must be" in said("fma", *out, "--connections", "0", status=2)
    assert "must begin with http://" in said("fma", *out, "--base-url", "ftp://x", status=2)
    assert "has no fma_small/ or" in said("fma", *out, "--fma-dir", str(tmp_path))
    assert "train/ has 0 songs" in said("musdb18hq", *out, "--musdb-dir", str(tmp_path))
    with serving(dict(ZIPS)) as mirror:  # other zips than the published ones
        reason = said("fma", *out, "--base-url", mirror.url)
    assert "are expected, so it is another file or cut off" in reason


def test_no_room_is_said_before_anything_is_fetched(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 50 * 2**30}))
    assert main(["download", "fma", "--subset", "large", "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "fma_metadata.zip and fma_large.zip with the files in it needs 193.0 GiB" in error
    assert "50.0 GiB are free: free 143.0 GiB more" in error


def test_help_is_quick_because_nothing_heavy_is_loaded():
    code = (
        "import sys; from mixit_mss.bin import download; download.build_parser().format_help(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'pandas', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
