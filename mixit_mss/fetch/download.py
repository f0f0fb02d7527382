"""Download one large file over HTTP in pieces, on several connections, and resume it after a kill.

The file is identified by its checksum, so pieces may come from different mirrors and on different
days; a state file records what has arrived (see :mod:`mixit_mss.fetch.partial`).  A failed
connection resumes at the byte where it stopped, after a pause that doubles with each failure.  A
server without byte ranges gets a single connection, which starts over after a failure.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

from mixit_mss import __version__
from mixit_mss.disk import in_words
from mixit_mss.errors import UserError
from mixit_mss.fetch.partial import PartialFile, partial_paths
from mixit_mss.files import write_json
from mixit_mss.progress import ByteBar, byte_bar

BLOCK_BYTES = 1 << 18
MAX_PIECES = 2048
# Status codes of requests that may succeed later; other 4xx codes are final.
PASSING = (408, 425, 429)
GRACE_SECONDS = 2.0  # time for connections to end
NETWORK_ERRORS = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Transfer:
    """Connections, retries and timeouts of a download.

    Attributes:
        connections: number of parallel connections, if the server supports byte ranges.
        attempts: consecutive failures without a byte received before a connection gives up.
        first_wait: seconds to wait after the first failure; doubled after each further one.
        longest_wait: upper limit of the wait, in seconds.
        timeout: seconds without a byte that count as a failure.
        piece_bytes: bytes per request.
    """

    connections: int = 4
    attempts: int = 10
    first_wait: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 30.0
    piece_bytes: int = 128 * 2**20

    def pause(self, failures: int, error: Exception) -> float:
        """Seconds to wait after consecutive failures, or longer if the server asks for it."""
        asked = error.headers.get("Retry-After", "") if isinstance(error, HTTPError) else ""
        doubled = self.first_wait * 2 ** (failures - 1)
        return min(max(doubled, _number(asked) or 0.0), self.longest_wait)


def fetch(
    url: str,
    path: str | Path,
    checksums: Mapping[str, str],
    size: int,
    size_tolerance: float = 0.0,
    transfer: Transfer | None = None,
) -> None:
    """Download ``url`` to ``path`` and verify it; resume a download that was interrupted.

    Args:
        url: http or https.
        path: appears only once it is verified.  An existing file is verified once.
        checksums: hexadecimal digests by name of the hash: ``sha1``, ``sha256``, ``md5``.
        size: expected bytes.
        size_tolerance: fraction by which the real size may differ.
        transfer: see :class:`Transfer`.

    Raises:
        UserError: the server does not answer or has another file, the disk is full, or a checksum
            is wrong.
    """
    path, transfer = Path(path), transfer or Transfer()
    if path.exists():
        if not _known_good(path, checksums):
            if wrong := _mismatch(path, checksums, path.name):
                raise UserError(
                    f"'{path}' is damaged or another file ({wrong}): delete it, and run the same "
                    "command again to fetch it"
                )
            _note_good(path, path, checksums)
        for leftover in partial_paths(path):
            leftover.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _fetch_all(url, path, size, size_tolerance, transfer)
    if wrong := _mismatch(partial.data, checksums, path.name):
        partial.delete()
        raise UserError(
            f"what came from {url} is damaged ({wrong}) and was deleted: run the same command again, "
            "and if that does not help, with another --base-url"
        )
    _note_good(path, partial.data, checksums)
    partial.finish()


def good_note(path: Path) -> Path:
    """The hidden file that records that ``path`` was verified."""
    return path.with_name(f".{path.name}.verified.json")


def _fetch_all(
    url: str, path: Path, size: int, size_tolerance: float, transfer: Transfer
) -> PartialFile:
    """Download all bytes of the file, without verifying them."""
    partial = PartialFile.resume(path)
    if partial is not None and not partial.unfinished():
        return partial
    offered, ranges = ask(url, transfer)
    if abs(offered - size) > size_tolerance * size:
        raise UserError(
            f"{url} has {offered} bytes where {'about ' if size_tolerance else ''}{size} are "
            "expected, so it is another file or cut off: check --base-url"
        )
    if partial is None or partial.size != offered:
        if partial is not None:
            partial.close()
        piece_bytes = max(transfer.piece_bytes, -(-offered // MAX_PIECES))
        partial = PartialFile.create(path, offered, piece_bytes)
    try:
        with byte_bar(f"fetching {path.name}", offered, sum(partial.received)) as bar:
            _Connections(url, partial, transfer, bar, ranges).run()
    except BaseException:
        partial.close()
        raise
    return partial


def ask(url: str, transfer: Transfer) -> tuple[int, bool]:
    """Size in bytes of the file at ``url``, and whether the server supports byte ranges.

    Raises:
        UserError: there was no useful answer within half of the attempts.
    """
    for failures in itertools.count(1):
        try:
            with _open(url, transfer, "bytes=0-0") as response:
                ranges = response.status == 206
                if ranges:
                    length = response.headers.get("Content-Range", "").rpartition("/")[2]
                else:
                    length = response.headers.get("Content-Length", "")
            size = _number(length)
            if size is None:
                raise UserError(f"{url} does not say how long it is: try another --base-url")
            return size, ranges
        except NETWORK_ERRORS as error:
            if _is_final(error) or failures >= (transfer.attempts + 1) // 2:
                raise _given_up(url, error, "nothing was fetched") from error
            time.sleep(transfer.pause(failures, error))
    raise AssertionError("unreachable")


class _Connections:
    """Connections that fetch pieces of one file from a shared queue until it is empty."""

    def __init__(
        self, url: str, partial: PartialFile, transfer: Transfer, bar: ByteBar, ranges: bool
    ) -> None:
        self.url, self.partial, self.transfer, self.bar = url, partial, transfer, bar
        self.ranges = ranges
        self.waiting = deque(partial.unfinished())
        self.reading: set[http.client.HTTPResponse] = set()
        self.stop = threading.Event()
        self.error: Exception | None = None  # the last network error
        self.failure: BaseException | None = None  # any other error, which ends the transfer

    def run(self) -> None:
        """Fetch until the file is complete; save the state every second and at the end.

        Raises:
            UserError: all connections gave up, or the disk is full.
        """
        count = max(1, min(self.transfer.connections, len(self.waiting))) if self.ranges else 1
        target = self._take_pieces if self.ranges else self._take_whole
        # daemons: a thread that waits for a server must not keep the program from ending
        workers = [
            threading.Thread(target=self._guarded, args=(target,), daemon=True)
            for _ in range(count)
        ]
        try:
            for worker in workers:
                worker.start()
            while _any_works(workers, seconds=1.0) and not self.stop.is_set():
                self.partial.save()
        finally:
            self._halt()
            _any_works(workers, seconds=GRACE_SECONDS)
            self.partial.save()
        if self.failure is not None:
            raise self.failure
        if self.partial.unfinished():
            done = (
                f"{in_words(sum(self.partial.received))} of {in_words(self.partial.size)} are here"
            )
            raise _given_up(self.url, self.error, done) from self.error

    def _halt(self) -> None:
        """Stop all connections, and wake up those that wait for bytes."""
        self.stop.set()
        for response in list(self.reading):
            with contextlib.suppress(OSError, ValueError):  # it has already ended
                duplicate = socket.socket(fileno=os.dup(response.fileno()))
                duplicate.shutdown(socket.SHUT_RDWR)
                duplicate.close()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            self.failure = error
            self.stop.set()

    def _take_pieces(self) -> None:
        """Run one connection; after too many failures it ends and leaves its piece to others."""
        failures = 0
        while not self.stop.is_set():
            try:
                piece = self.waiting.popleft()
            except IndexError:
                return
            before = self.partial.received[piece]
            try:
                position, end = self.partial.span(piece)
                with _open(self.url, self.transfer, f"bytes={position}-{end - 1}") as response:
                    self._check_range(response, position)
                    self._receive(response, piece, end - position)
                failures = 0
            except NETWORK_ERRORS as error:
                self.waiting.appendleft(piece)
                failures = 1 if self.partial.received[piece] > before else failures + 1
                if not self._wait_after(error, failures):
                    return

    def _take_whole(self) -> None:
        """Run the only connection to a server without ranges; each attempt starts at byte 0."""
        for failures in itertools.count(1):
            self.partial.restart()
            self.bar.restart()
            try:
                with _open(self.url, self.transfer) as response:
                    for piece in range(len(self.partial.received)):
                        position, end = self.partial.span(piece)
                        self._receive(response, piece, end - position)
                return
            except NETWORK_ERRORS as error:
                if not self._wait_after(error, failures):
                    return

    def _receive(self, response: http.client.HTTPResponse, piece: int, count: int) -> None:
        self.reading.add(response)
        try:
            while count and not self.stop.is_set():
                block = response.read1(min(count, BLOCK_BYTES))
                if not block:
                    raise ConnectionError("the connection was cut")
                self.partial.write(piece, block)
                self.bar.advance(len(block))
                count -= len(block)
        finally:
            self.reading.discard(response)

    def _check_range(self, response: http.client.HTTPResponse, position: int) -> None:
        sent = response.headers.get("Content-Range", "")
        wanted = rf"bytes {position}-\d+/{self.partial.size}"
        if response.status != 206 or not re.fullmatch(wanted, sent):
            raise ConnectionError(f"the server sent '{sent}' for bytes from {position}")

    def _wait_after(self, error: Exception, failures: int) -> bool:
        """Pause after a failure; return False if there should be no further attempt."""
        self.error = error
        if _is_final(error):
            self.stop.set()
        if self.stop.is_set() or failures >= self.transfer.attempts:
            return False
        seconds = self.transfer.pause(failures, error)
        self.bar.say(f"{self.url}: {_reason(error)}; next attempt in {seconds:.0f} s")
        return not self.stop.wait(seconds)


def _any_works(workers: Sequence[threading.Thread], seconds: float) -> bool:
    """Whether any thread is still alive after ``seconds``."""
    end = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))
    return any(worker.is_alive() for worker in workers)


def _open(url: str, transfer: Transfer, span: str | None = None) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"mixit_mss/{__version__}", "Accept-Encoding": "identity"}
    try:
        request = urllib.request.Request(url, headers=headers | ({"Range": span} if span else {}))
        return urllib.request.urlopen(request, timeout=transfer.timeout)
    except ValueError as error:  # this URL, or one that it redirects to, is invalid
        raise UserError(f"{url} is, or leads to, no address of the web ({error})") from error


def _number(text: str) -> int | None:
    """Parse a whole number from a header; None if it is not one, or larger than any file."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _is_final(error: Exception) -> bool:
    """Whether the same request would fail again after any wait."""
    if isinstance(error, HTTPError):
        error.close()
        return 400 <= error.code < 500 and error.code not in PASSING
    return isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)


def _reason(error: Exception | None) -> str:
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _given_up(url: str, error: Exception | None, done: str) -> UserError:
    return UserError(
        f"{url} could not be fetched ({_reason(error)}; {done}): check the address and the network, "
        "and run the same command again to go on"
    )


def _mismatch(path: Path, checksums: Mapping[str, str], name: str) -> str:
    """Describe which checksums of the file are wrong; empty if none is."""
    hashes = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in checksums}
    with open(path, "rb") as file, byte_bar(f"verifying {name}", path.stat().st_size) as bar:
        while block := file.read(4 * BLOCK_BYTES):
            for running in hashes.values():
                running.update(block)
            bar.advance(len(block))
    found = {algorithm: running.hexdigest() for algorithm, running in hashes.items()}
    return ", ".join(
        f"its {algorithm} is {found[algorithm]} and not {wanted}"
        for algorithm, wanted in checksums.items()
        if found[algorithm] != wanted.lower()
    )


def _identity(path: Path, checksums: Mapping[str, str]) -> dict:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "checksums": dict(checksums)}


def _note_good(path: Path, verified: Path, checksums: Mapping[str, str]) -> None:
    """Record that ``verified``, which is or becomes ``path``, need not be verified again."""
    write_json(good_note(path), _identity(verified, checksums))


def _known_good(path: Path, checksums: Mapping[str, str]) -> bool:
    try:
        return json.loads(good_note(path).read_text("utf-8")) == _identity(path, checksums)
    except (OSError, ValueError):
        return False
