"""The web demo in a real browser: a song goes in, its stems come out, and no file stays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from browser import Browser

from mixit_mss.bin import demo as command
from mixit_mss.errors import UserError
from mixit_mss.files import HOST
from mixit_mss.separation.demo import (
    Limits,
    options_for,
    separate_apart,
    separate_upload,
    serving,
    sweep,
)

RATE = 16000


class Halves(torch.nn.Module):
    """A quarter of the mixture is called vocals, the rest is called band."""

    def __init__(self, stems=("vocals", "band")):
        super().__init__()
        self.shares = torch.nn.Parameter(torch.tensor([0.25, 0.75]))
        self.sample_rate, self.num_channels, self.num_sources, self.stems = RATE, 2, 2, stems

    def forward(self, mixture):
        return mixture[:, None] * self.shares[:, None, None]


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "a song's <b>name.flac"
    waveform = 0.4 * np.random.default_rng(0).standard_normal((3 * RATE, 2)).clip(-1, 1)
    soundfile.write(path, waveform, RATE, "PCM_24")
    return path


def test_an_upload_becomes_stems_and_an_archive(song, tmp_path):
    heard = []
    out = tmp_path / "out"
    out.mkdir()
    files, notes = separate_upload(Halves(), song, out, Limits(), lambda *at: heard.append(at))
    assert list(files) == ["vocals", "band", "all"] and notes == []
    mixture, _ = soundfile.read(song)
    for name, share in (("vocals", 0.25), ("band", 0.75)):
        stem, rate = soundfile.read(files[name])
        assert rate == RATE and np.allclose(stem, share * mixture, atol=1e-5)
    assert heard[-1] == (3 * RATE, 3 * RATE)
    with zipfile.ZipFile(files["all"]) as archive:
        assert archive.namelist() == [f"{song.stem}/{name}.flac" for name in ("vocals", "band")]
    assert options_for(Halves(stems=None)).all_channels


@pytest.mark.parametrize("kind", ["nan", "playlist", "text", "empty"])
def test_what_is_no_song_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, kind):
    (tmp_path / "secret.wav").write_bytes(b"RIFF of the server")
    path = tmp_path / "upload.wav"
    if kind == "nan":
        soundfile.write(path, np.full((RATE, 2), np.nan), RATE, "FLOAT")
    elif kind == "playlist":
        path = tmp_path / "upload.m4a"
        lines = "#EXTM3U", "#EXT-X-MEDIA-SEQUENCE:0", "#EXTINF:1,", f"file://{tmp_path}/secret.wav"
        path.write_text("\n".join(lines))
    else:
        path.write_text("words" if kind == "text" else "")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    with pytest.raises(UserError) as refused:
        separate_apart(Halves(), path, Limits(), lambda *at: None)
    assert path.name in str(refused.value) and "\n" not in str(refused.value)
    assert "RIFF of" not in str(refused.value) and not list((tmp_path / "kept").iterdir())


def test_names_of_an_upload_and_of_stems_stay_inside(song, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    odd = song.with_name("..x\ny.flac")
    song.rename(odd)
    model = Halves(stems=("../out", "b/c"))
    folders = set()
    for _ in range(2):  # the same song of two sessions
        files, _ = separate_apart(model, odd, Limits(), lambda *at: None)
        folders |= {file.parent for file in files.values()}
        assert sorted(file.name for file in files["all"].parent.iterdir()) == [
            *("%2E.%2Fout.flac", "%2E.x%0Ay stems.zip", "b%2Fc.flac")
        ]
        with zipfile.ZipFile(files["all"]) as archive:
            assert archive.namelist() == [f"%2E.x%0Ay/{n}.flac" for n in ("%2E.%2Fout", "b%2Fc")]
    assert len(folders) == 2 and {folder.parent for folder in folders} == {tmp_path}


def test_folders_of_killed_demos_go(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    stays = [
        f"mixit-mss-demo-{os.getpid()}-{HOST}-abc",
        f"mixit-mss-demo-{ended.pid}-{'0' * 8}-abc",
    ]
    stays += ["mixit-mss-demo-notes", "other"]
    for name in (*stays, f"mixit-mss-demo-{ended.pid}-{HOST}-abc"):
        (tmp_path / name / "gradio").mkdir(parents=True)
    (tmp_path / f"mixit-mss-demo-{ended.pid}-{HOST}-link").symlink_to("other")
    sweep()
    assert sorted(p.name for p in tmp_path.iterdir() if not p.is_symlink()) == sorted(stays)
    assert (tmp_path / "other/gradio").is_dir()


def test_limits_and_options_are_explained(song, tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match=r"lasts 0\.1 minutes, and at most 0\.01"):
        separate_upload(Halves(), song, tmp_path, Limits(minutes=0.01), print)
    with pytest.raises(UserError, match="must be above 0"):
        Limits(megabytes=0)
    with pytest.raises(UserError, match="--port 70000"):
        command.main(["--model", "x", "--port", "70000"])
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"pip install 'mixit_mss\[demo\]'"):
        command.main(["--model", "x"])
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "127.0.0.1" in capsys.readouterr().out


@pytest.fixture(scope="module")
def address():
    pytest.importorskip("gradio", reason="the demo's own package is not here: pip install gradio")
    with serving(Halves(), "A title", Limits(megabytes=1, minutes=0.1), port=None) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


def drop(browser, path):
    """Give a file to the page's upload field."""
    browser.wait("!!document.querySelector('#song input[type=file]')", 40)
    found = browser.call(
        "Runtime.evaluate", expression="document.querySelector('#song input[type=file]')"
    )
    browser.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])


def separate_until(browser, condition):
    """Press the button until the condition is true: a page may not have the whole upload yet."""
    for _ in range(5):
        browser.click("#separate")
        with contextlib.suppress(AssertionError):
            return browser.wait(condition, 8)
    return browser.wait(condition)


def held(pattern):
    """Files of running demos."""
    found = Path(tempfile.gettempdir()).glob("mixit-mss-demo-*")
    return [file for folder in found for file in folder.rglob(pattern)]


def test_a_song_is_dropped_separated_and_heard(address, browser, song):
    assert urllib.parse.urlparse(address).hostname == "127.0.0.1"
    browser.look(1280, 1000)
    browser.open(address)
    drop(browser, song)
    browser.wait("!document.querySelector('#song input[type=file]')", 20)
    stem = "#stem-vocals audio, #stem-vocals a[download]"
    separate_until(browser, f"!!document.querySelector({json.dumps(stem)})")
    links = browser.wait("""(() => {
        const urls = [...document.querySelectorAll('a[download]')].map((link) => link.href);
        return urls.length >= 2 && urls })()""")
    assert not browser.run("!!document.querySelector('[aria-label*=hare], [title*=hare]')")
    vocals = next(link for link in links if link.endswith("vocals.flac"))
    with urllib.request.urlopen(vocals) as answer:
        content = answer.read()
    mixture, _ = soundfile.read(song)
    (song.parent / "got.flac").write_bytes(content)
    assert np.allclose(soundfile.read(song.parent / "got.flac")[0], 0.25 * mixture, atol=1e-5)
    shown = "document.querySelector('#stem-vocals').innerText.includes('{}')"
    browser.wait(shown.format("0:03"))  # its length: it is loaded
    browser.click("#stem-vocals button[aria-label*=Play]")
    browser.wait(shown.format("0:01"))
    assert held("vocals.flac")
    assert not [
        url
        for url in browser.requests
        if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
    ]


def test_what_is_too_long_or_no_song_is_refused_in_words(address, browser, tmp_path):
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros((8 * RATE, 1)), RATE)
    (tmp_path / "text.wav").write_text("not a song")
    for path, words in ((long, "at most 0.1 are taken"), (tmp_path / "text.wav", "cannot be")):
        browser.open(address)
        drop(browser, path)
        browser.wait("!document.querySelector('#song input[type=file]')", 20)
        separate_until(browser, f"document.body.innerText.includes({json.dumps(words)})")
        assert str(tempfile.gettempdir()) not in browser.run("document.body.innerText")


def test_an_upload_that_is_too_large_is_refused(address):
    body = b"--x\r\nContent-Disposition: form-data; name=files; filename=a.wav\r\n\r\n"
    body += bytes(2_000_000) + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        f"{address}gradio_api/upload",
        body,
        {"Content-Type": "multipart/form-data; boundary=x"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 413


def upload(address, content=b"the same bytes"):
    body = b"--x\r\nContent-Disposition: form-data; name=files; filename=a.wav\r\n\r\n"
    body += content + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    request = urllib.request.Request(f"{address}gradio_api/upload", body, kind)
    with urllib.request.urlopen(request) as answer:
        (path,) = json.load(answer)
    return Path(path)


def test_the_same_bytes_of_two_sessions_lie_apart(address):
    one, other = upload(address), upload(address)
    assert one.parent != other.parent and one.read_bytes() == other.read_bytes()
    assert one.parent.parent.name.startswith("mixit-mss-demo-")
    one.unlink()
    assert other.exists()


def test_a_name_that_is_not_the_servers_is_not_answered(address):
    for path in ("", "config", "gradio_api/info", "gradio_api/upload"):
        for host in ("evil.example", "evil.example:7860", "localhost.evil.example"):
            request = urllib.request.Request(address + path, headers={"Host": host})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request)
            assert refused.value.code == 421
    for host in ("localhost", "127.0.0.1:1"):
        request = urllib.request.Request(address, headers={"Host": host})
        assert urllib.request.urlopen(request).status == 200


HERE = Path(__file__).parent
SERVE = """
import sys, time
sys.path[:0] = [{here!r}, {tests!r}]
from test_demo import Halves, serving, Limits, upload
with serving(Halves(), "x", Limits(), port=None) as address:
    print(upload(address), flush=True)
    time.sleep({seconds})
"""


def test_only_its_own_folder_is_used_and_a_killed_ones_goes(tmp_path):
    pytest.importorskip("gradio")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed, ended = (
        [
            sys.executable,
            "-c",
            SERVE.format(here=str(HERE), tests=str(HERE.parent), seconds=seconds),
        ]
        for seconds in (60, 0)
    )
    with subprocess.Popen(killed, env=environment, stdout=subprocess.PIPE, text=True) as server:
        path = Path(server.stdout.readline().strip())
        os.kill(server.pid, signal.SIGKILL)
    assert path.exists() and [path.parents[1]] == list(tmp_path.iterdir())
    assert path.parents[1].stat().st_mode & 0o77 == 0
    subprocess.run(ended, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert not list(tmp_path.iterdir())


def test_no_file_stays_when_it_ends():
    pytest.importorskip("gradio")
    before = set(Path(tempfile.gettempdir()).glob("mixit-mss-demo-*"))
    with serving(Halves(), "Another", Limits(), port=None):
        (folder,) = set(Path(tempfile.gettempdir()).glob("mixit-mss-demo-*")) - before
        (folder / "left.wav").write_bytes(b"x")
    for _ in range(50):
        if not folder.exists():
            break
        time.sleep(0.1)
    assert not folder.exists()
