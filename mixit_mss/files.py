"""Atomic writing: a file or a folder appears complete, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MODEL_FILES = (WEIGHTS, CONFIG, "README.md")  # of a model folder, as listed in stamps
MAX_NAME_BYTES = 255
DAY = 86400.0
# marks this machine's temporary names: processes of other machines cannot be looked up
HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_TEMPORARY = re.compile(r"\..+\.(\d+)-([0-9a-f]{8})\.partial(\.[^.]*)?")
_lock = threading.Lock()
_unfinished: dict[str, int] = {}  # what this process is writing, and in which thread


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` when the block succeeds.

    The temporary name keeps the suffix, because audio writers choose the format by it.  If the
    block raises or the process is killed, the old ``path`` stays as it was; :func:`sweep` removes
    what a killed process left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path, path.stem, path.suffix) as partial:
        try:
            yield partial
            os.replace(partial, path)
        except OSError as error:
            if error.errno and error.filename is None:  # a failed write does not name its file
                error.filename = str(path)
            raise
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: str | Path, replace: bool = False) -> Iterator[Path]:
    """Like :func:`atomic_path` for a whole folder.

    Args:
        folder: the folder that appears when the block succeeds.
        replace: replace an existing folder and everything in it.  Prefer
            :func:`mixit_mss.stamps.replaced_folder`, which first checks that we wrote it.

    Raises:
        FileExistsError: the folder exists and ``replace`` is false.
    """
    folder = Path(folder)
    if not replace and os.path.lexists(folder):
        raise FileExistsError(errno.EEXIST, "it is there already", str(folder))
    with temporary_folder(folder) as partial, _temporary(folder, folder.name, ".old") as old:
        try:
            yield partial
            if replace and os.path.lexists(folder):
                os.rename(folder, old)
            os.rename(partial, folder)
        finally:
            if os.path.lexists(folder):
                shutil.rmtree(old, ignore_errors=True)
            elif os.path.lexists(old):
                os.rename(old, folder)


@contextlib.contextmanager
def temporary_folder(beside: str | Path) -> Iterator[Path]:
    """Make a folder with a temporary name beside another path, and remove it afterwards."""
    beside = Path(beside)
    beside.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(beside, beside.name, "") as partial:
        partial.mkdir()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _temporary(path: Path, stem: str, suffix: str) -> Iterator[Path]:
    end = f".{os.getpid()}-{HOST}.partial{suffix}"
    begin = os.fsencode(f".{stem}")
    room = MAX_NAME_BYTES - len(os.fsencode(end))
    if len(begin) > room:
        mark = f"~{hashlib.sha256(begin).hexdigest()[:8]}".encode()
        begin = os.fsencode(begin[: room - len(mark)].decode("utf-8", "ignore")) + mark
    partial = path.with_name(os.fsdecode(begin) + end)
    name = os.path.abspath(partial)
    with _lock:
        # the same thread may write again: a signal may have interrupted its earlier write anywhere
        if _unfinished.setdefault(name, threading.get_ident()) != threading.get_ident():
            raise FileExistsError(errno.EEXIST, "is being written at this moment", str(path))
    try:
        if partial.is_dir():  # left by a killed process that had our process id
            shutil.rmtree(partial)
        yield partial
    finally:
        _unfinished.pop(name, None)


def is_temporary(name: str) -> bool:
    """Whether this is the name of one of our unfinished files or folders."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: str | Path) -> None:
    """Remove unfinished files of killed processes from ``folder``, but none still being written.

    Processes of this machine are looked up; files of other machines count as abandoned after a day.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        match = _TEMPORARY.fullmatch(entry.name)
        if match is None or not _is_abandoned(entry, int(match[1]), match[2]):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _is_abandoned(entry: os.DirEntry, process: int, host: str) -> bool:
    if host != HOST:
        with contextlib.suppress(OSError):
            return time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
        return False
    if process == os.getpid():
        return os.path.abspath(entry.path) not in _unfinished
    return not is_running(process)


def is_running(process: int) -> bool:
    """Whether a process with this id is running on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError, IndexError):  # an ended process may remain as a zombie
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rpartition(")")[2].split()[0] not in ("Z", "X")
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically; names that are not UTF-8 are preserved."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(content, indent=2)
    write_text(path, text + "\n")
