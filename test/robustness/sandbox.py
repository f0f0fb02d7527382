"""A folder full of files of somebody else, in which one broken input meets one command.

::

    root/secret/...                 a stranger's, beside the work
    root/disk/home/songs/           where the command is called
    root/disk/home/songs/in/        what it is given, beside a stranger's notes
    root/disk/home/songs/out/       what it may write to, with a stranger's notes in it
    root/tmp/, root/state/          temporary files, and tracebacks that a command saves

Every file is listed with its hash before and after; :func:`damage` tells what a command has done that
it was not asked for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

WORK = "disk/home/songs"
STRANGERS = (
    "secret/diary.txt",
    "secret/album/mixture.wav",
    "disk/thesis/chapter.txt",
    "disk/home/precious/vocals.wav",
    f"{WORK}/notes.txt",
    f"{WORK}/in/notes.txt",
    f"{WORK}/out/notes.txt",
    f"{WORK}/out/photos/mine.jpg",
)
SECRET = "secret/album/mixture.wav"
"""A sound that nobody gave."""
OURS = ("tmp", "state", "home")


@dataclass
class Call:
    """What is run in a sandbox, and what it may do there.

    Attributes:
        argv: of ``mixit-mss``; or, with ``python``, arguments of that function.
        out: files and folders that may come into being, with what lies below them.
        own: files and folders that may be changed or removed as well, since they are the command's.
        python: ``module:function`` to call in place of a command.
        stdin: file to read as standard input.
        serve: files by their names on a server, whose address ``{url}`` in ``argv`` stands for.
        aims: inputs that a mutation may break, for one kind of mutation each.
        forbidden: what it would mean if this succeeded; empty if it may.
        note: what was broken, in words.
    """

    argv: list[str]
    out: tuple[Path, ...] = ()
    own: tuple[Path, ...] = ()
    python: str = ""
    stdin: Path | None = None
    serve: dict[str, Path] = field(default_factory=dict)
    aims: dict[str, list[Path]] = field(default_factory=dict)
    forbidden: str = ""
    note: str = ""


class Sandbox:
    """Makes the folder, and takes copies of the seeds into it."""

    def __init__(self, root: Path, seeds: Path):
        self.root, self.seeds = root, seeds
        self.work = root / WORK
        self.inputs, self.out = self.work / "in", self.work / "out"
        for name in STRANGERS:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"only copy of {name}\n")
        shutil.copy(seeds / "sounds/song.wav", root / SECRET)
        for name in OURS:
            (root / name).mkdir()
        os.mkfifo(self.inputs / "fifo")
        (self.work / "link").symlink_to("link")

    def take(self, seed: str, name: str | None = None) -> Path:
        """A copy of a seed, file or folder, among the inputs."""
        source, target = self.seeds / seed, self.inputs / (name or Path(seed).name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
        return target


def listing(root: Path) -> dict[str, str]:
    """What every entry below ``root`` holds, by its path relative to it."""
    found = {}
    for path, kind in _entries(os.fsencode(root)):
        name = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
        if kind == "file":
            with open(path, "rb") as file:
                found[name] = hashlib.sha1(file.read()).hexdigest()
        else:
            found[name] = os.fsdecode(os.readlink(path)) if kind == "link" else kind
    return found


def _entries(folder: bytes) -> Iterator[tuple[bytes, str]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                yield entry.path, "link"
            elif entry.is_dir():
                yield entry.path, "folder"
                yield from _entries(entry.path)
            elif stat.S_ISREG(entry.stat().st_mode):
                yield entry.path, "file"
            else:
                yield entry.path, "special"


def damage(root: Path, call: Call, before: dict[str, str], killed: bool) -> list[str]:
    """What has happened to ``root`` since it was listed that should not have, in words."""
    after = listing(root)
    out, own = (
        tuple(os.path.relpath(path, root) for path in paths) for paths in (call.out, call.own)
    )
    faults = []
    for name in sorted(before.keys() | after.keys()):
        if _within(name, own) or _within(name, OURS):
            continue
        if name not in after:
            faults.append(f"removed: {name}")
        elif name not in before:
            leads_here = after[name] == "folder" and any(_within(o, (name,)) for o in out)
            if not leads_here and not _within(name, out):
                faults.append(f"written outside of its folder: {name}")
        elif before[name] != after[name]:
            faults.append(f"changed: {name}")
    if not killed:
        left = [name for name in after.keys() - before.keys() if _is_temporary(name)]
        faults += [f"left behind: {name}" for name in sorted(left)]
    return faults


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}/") for place in places)


def _is_temporary(name: str) -> bool:
    if name.startswith("tmp/"):
        return name.count("/") == 1
    last = name.rsplit("/", 1)[-1]
    return last.startswith(".") and ".partial" in last and not name.startswith("state/")
