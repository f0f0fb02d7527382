"""Atomic writing, and the stamps by which a stage knows that it has nothing to do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

STAMP = ".done.json"
WEIGHTS, CONFIG = "model.safetensors", "config.json"  # of a model folder: stamps name them


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` when the block succeeds.

    The temporary name keeps the suffix, since audio writers choose the format by it.  A block that
    raises, or a process that is killed, leaves the old ``path`` as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.errno and error.filename is None:  # a write that failed does not know its file
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """Like :func:`atomic_path` for a whole folder: it appears complete, or not at all."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def fingerprint(options: dict, inputs: Iterable[str | Path]) -> dict:
    """What a stage's result depends on: its options, and the files that it reads.

    A file counts by its content up to 64 MiB and by size and time above; a folder by the name, size
    and time of every file in it.  Missing inputs count as missing.
    """
    return {
        "options": json.loads(json.dumps(options, default=str)),
        "inputs": {str(path): _digest(Path(path)) for path in inputs},
    }


def is_done(folder: str | Path, wanted: dict) -> bool:
    """Whether ``folder`` carries the stamp of exactly this :func:`fingerprint`."""
    try:
        return json.loads((Path(folder) / STAMP).read_text(encoding="utf-8")) == wanted
    except (OSError, ValueError):
        return False


def mark_done(folder: str | Path, finished: dict) -> None:
    """Stamp ``folder`` as the complete result of this :func:`fingerprint`."""
    write_json(Path(folder) / STAMP, finished)


def _digest(path: Path) -> str:
    if path.is_dir():
        listing = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                stat = file.stat()
                line = f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
                listing.update(line.encode("utf-8", "surrogateescape"))
        return listing.hexdigest()
    if not path.exists():
        return "missing"
    stat = path.stat()
    if stat.st_size > 64 * 2**20:
        return f"{stat.st_size} bytes at {stat.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()
