"""Servers on this machine that misbehave as asked, and small zips in the layout of the corpora."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import zipfile
from collections import deque

import numpy as np

from mixit_mss.corpora.musdb18hq import VALIDATION
from mixit_mss.fetch.archives import Archive


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files`` (bytes by name).

    ranges: whether byte ranges are known.  cuts: transfers to cut off, each after ``cut_after``
    bytes.  answers: status codes to give before any file.  max_active: further transfers at a time
    get 503.  forget: transfers to which the whole file is sent, whatever range was asked for.  gather:
    nothing is sent before so many transfers were asked for at a time.  hold_at: when so many bytes
    were sent, no more are.  pause: seconds per block of 4 KiB.
    """

    daemon_threads = True

    def __init__(self, files=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files or {}
        self.ranges, self.cuts, self.cut_after, self.pause = True, 0, 0, 0.0
        self.answers, self.max_active, self.forget = deque(), 99, 0
        self.gather, self.hold_at = 0, None
        self.log, self.active, self.peak, self.sent = [], 0, 0, 0
        self.guard = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def transfers(self):
        """First byte of every transfer that was asked for, in order."""
        return [first for first, last in self.log if (first, last) != (0, 0)]

    def rest(self):
        """Wait until it has noticed that nobody listens, and begin to count anew."""
        self.hold_at = None
        while self.active:
            time.sleep(0.005)
        self.log, self.sent = [], 0

    def handle_error(self, request, client_address):
        pass  # clients hang up in these tests


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = map(int, asked.groups()) if asked else (0, None)
        transfer = (first, last) != (0, 0)  # or the question whether ranges are known
        with server.guard:
            server.log.append((first, last))
            server.peak = max(server.peak, server.active + transfer)
            refuse = transfer and server.active >= server.max_active
            self.counted = transfer and not refuse
            server.active += self.counted
            status = 503 if refuse else server.answers.popleft() if server.answers else 0
        try:
            self.answer(server, first, last, status)
        finally:
            self.leave(server)

    def leave(self, server):
        """Count this transfer as over; called before its last bytes, which free the client."""
        with server.guard:
            server.active -= self.counted
            self.counted = False

    def answer(self, server, first, last, status):
        content = server.files.get(self.path.lstrip("/"))
        if status or content is None:
            self.send_response(status or 404)
            self.leave(server)
            self.end_headers()
            return
        with server.guard:
            forget = bool(server.forget and last)
            server.forget -= forget
        if server.ranges and last is not None and not forget:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            part = content[first : last + 1]
        else:
            self.send_response(200)
            part = content
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        limit = len(part)
        if last != 0:
            with server.guard:
                if server.cuts:
                    server.cuts -= 1
                    limit = server.cut_after
        while last != 0 and server.peak < server.gather:
            time.sleep(0.002)
        for start in range(0, limit, 4096):
            while server.hold_at is not None and server.sent >= server.hold_at:
                time.sleep(0.002)
            time.sleep(server.pause)
            block = part[start : min(start + 4096, limit)]
            with server.guard:
                server.sent += len(block)
            if start + 4096 >= limit:
                self.leave(server)
            self.wfile.write(block)


@contextlib.contextmanager
def serving(files=None):
    server = Server(files)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


NGINX = """
{user}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format bytes "$uri $status $body_bytes_sent";
  access_log {folder}/access.log bytes;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  limit_conn_zone $server_port zone=all:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {root}; }}
    location /whole/ {{ alias {root}/; max_ranges 0; }}
    location /slow/ {{ alias {root}/; limit_rate {rate}; }}
    location /one/ {{ alias {root}/; limit_conn all 1; limit_rate 500k; }}
  }}
}}
"""


class Nginx:
    """A real web server with the files of a folder: at /, /whole/ (no ranges), /slow/, and /one/."""

    def __init__(self, root, folder):
        self.program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
        self.folder, self.process = folder, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        user = "user root;" if os.getuid() == 0 else ""
        self.settings = {"user": user, "folder": folder, "root": root, "port": self.port}

    def start(self, rate="0"):
        """Begin to serve; ``rate`` limits each connection to /slow/ (bytes per second, 0: none)."""
        (self.folder / "nginx.conf").write_text(NGINX.format(**self.settings, rate=rate))
        command = [self.program, "-c", self.folder / "nginx.conf", "-e", self.folder / "error.log"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self.process.poll() is None and time.monotonic() < deadline, "nginx fails"
            time.sleep(0.02)

    def stop(self):
        """Stop at once: every connection is cut."""
        self.process.terminate()
        self.process.wait(60)

    def body_bytes(self):
        """Bytes of bodies that were sent, as the server's own log counts them."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines if " 20" in line)


def noise(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


def make_zip(members, compression=zipfile.ZIP_BZIP2):
    """Bytes of a zip, the same every time; a name may also be a ready ``ZipInfo``."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name) if isinstance(name, str) else name
            archive.writestr(info, content, compression)
    return file.getvalue()


# Columns as in the corpus: two rows of names, then the name of the index on a row of its own.
TRACKS_HEADER = ",album,set,set,track,track\n,title,split,subset,license,title\ntrack_id,,,,,\n"
TRACKS = {
    2: ("training", "small", "Attribution"),
    3: ("validation", "medium", ""),
    5: ("test", "small", "Attribution-NonCommercial"),
    1234: ("training", "small", "CC0, by its artist"),
    140003: ("training", "large", ""),
}


def tracks_csv(tracks=None):
    rows = [
        f'{number},"An album, of sorts",{split},{subset},"{license}",A title\n'
        for number, (split, subset, license) in (tracks or TRACKS).items()
    ]
    return TRACKS_HEADER + "".join(rows)


def fma_members(subset="small", size=20_000, tracks=(2, 5, 1234), listed=None):
    """Members of fma_<subset>.zip: text, list of checksums, clips; ``listed`` replaces a clip's sum."""
    clips = {f"{n // 1000:03d}/{n:06d}.mp3": noise(size, n) for n in tracks}
    sums = {name: hashlib.sha1(content).hexdigest() for name, content in clips.items()}
    sums.update(listed or {})
    listing = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    top = f"fma_{subset}"
    texts = [(f"{top}/", b""), (f"{top}/README.txt", "clips"), (f"{top}/checksums", listing)]
    return texts + [(f"{top}/{name}", content) for name, content in clips.items()]


def metadata_members():
    return [("fma_metadata/tracks.csv", tracks_csv()), ("fma_metadata/README.txt", "tables")]


def musdb_members(size=2_000):
    """Members of musdb18hq.zip: two folders at the root, songs with five files each."""
    songs = [f"train/{VALIDATION[0]}", "train/A - B", "test/C - D"]
    stems = ("mixture", "vocals", "drums", "bass", "other")
    names = [f"{song}/{stem}.wav" for song in songs for stem in stems]
    return [(name, noise(size, i)) for i, name in enumerate(names)]


def archive_of(name, content, base_url, **known):
    """What the table of a corpus would say of a zip with this content."""
    known = {"top_folder": "" if name == "musdb18hq" else name, **known}
    if name.startswith("fma"):
        known = {"checksum_list": "checksums", **known}
    checksums = {"sha1": hashlib.sha1(content).hexdigest()}
    return Archive(name, base_url, len(content), checksums, 2 * len(content) + 4000, **known)
