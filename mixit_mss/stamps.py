"""Stamps record whether a stage is up to date, and which files it wrote.

A folder's stamp, ``.done.json``, records for every result in it the command, its options, its
inputs and its files.  Inputs are identified by content, and outputs by their path relative to the
folder, so a folder stays done when it is moved or reached by another path.  A result counts only
while all its files exist with the recorded sizes.

Only files listed in a stamp are ours: nothing else is ever replaced or removed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixit_mss.errors import UserError
from mixit_mss.files import atomic_folder, write_json

STAMP = ".done.json"
BLOCK_BYTES = 1 << 20
# Size, modification and change time (ns) of an input, to recognise it without reading it.
Look = tuple[int, int, int]


@dataclass
class Result:
    """What one run of a command wrote to a folder.

    Attributes:
        command: the command, such as ``separate``.
        options: everything besides files that the result depends on.
        inputs: sha256 of every file read, by role (``mixture``, ``weights``).
        looks: sizes and times of these files.
        outputs: sizes in bytes of the files written, by path relative to the folder.
        complete: false while files are being moved into place, and after another result has
            replaced some of them; the files are still ours, but the result does not count.
    """

    command: str
    options: dict[str, Any]
    inputs: dict[str, str]
    looks: dict[str, Look | None] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    complete: bool = True


class Fingerprint:
    """Everything a result depends on: the command, its options, and the content of its inputs.

    Args:
        command: the command, such as ``separate``.
        options: plain values.
        inputs: files or folders, by role.  Missing ones are recorded as missing.
        contents: digests, by role, of inputs that were digested elsewhere, such as
            :meth:`~mixit_mss.data.manifest.Manifest.digest`.
    """

    def __init__(
        self,
        command: str,
        options: Mapping,
        inputs: Mapping[str, str | Path] | None = None,
        contents: Mapping[str, str] | None = None,
    ) -> None:
        self.command = command
        self.options = json.loads(json.dumps(dict(options), default=str))
        self.contents = dict(contents or {})
        self._paths = {role: Path(path) for role, path in (inputs or {}).items()}
        self._looks = {role: _look(path) for role, path in self._paths.items()}

    @functools.cached_property
    def inputs(self) -> dict[str, str]:
        """sha256 by role; each file is read in full once per process."""
        read = {role: content_digest(path) for role, path in self._paths.items()}
        return {**read, **self.contents}

    @property
    def identity(self) -> dict:
        """The fingerprint as plain values, to compare or store."""
        return {"command": self.command, "options": self.options, "inputs": self.inputs}

    @property
    def digest(self) -> str:
        """The fingerprint as 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def done_in(self, folder: str | Path) -> Result | None:
        """The result in ``folder`` with this fingerprint, if all of its files exist."""
        for result in read_stamp(folder):
            if result.complete and self._describes(result) and _is_whole(Path(folder), result):
                return result
        return None

    def is_done(self, folder: str | Path) -> bool:
        """Whether ``folder`` holds a complete result with this fingerprint."""
        return self.done_in(folder) is not None

    def mark_done(
        self, folder: str | Path, outputs: Iterable[str | Path], complete: bool = True
    ) -> None:
        """Stamp ``folder`` with these files as the result.

        An input that has changed since this object was made is recorded as changed, so that the
        work is done again.  Other results in the folder lose only the files that this one replaces.
        """
        folder = Path(folder)
        names = [os.path.relpath(path, folder) for path in outputs]
        sizes = {name: _size_of(folder, name) if complete else -1 for name in names}
        inputs = self.inputs | {
            role: "changed while it was read"
            for role, path in self._paths.items()
            if _look(path) != self._looks[role]
        }
        new = Result(self.command, self.options, inputs, self._looks, sizes, complete)
        others = (_without(result, set(names)) for result in read_stamp(folder))
        write_stamp(folder, [*(other for other in others if other.outputs), new])

    def _describes(self, result: Result) -> bool:
        if (self.command, self.options) != (result.command, result.options):
            return False
        if {*self._paths, *self.contents} != set(result.inputs):
            return False
        if any(result.inputs[role] != digest for role, digest in self.contents.items()):
            return False
        if "inputs" not in vars(self) and all(
            look is not None and look == result.looks.get(role)
            for role, look in self._looks.items()
        ):
            return True  # no input was touched, so there is no need to read them
        if any(
            look and (known := result.looks.get(role)) and look[0] != known[0]
            for role, look in self._looks.items()
        ):
            return False  # a different size means different content
        return self.inputs == result.inputs


def read_stamp(folder: str | Path) -> list[Result]:
    """The results in a folder's stamp; none if there is no valid stamp."""
    try:
        content = json.loads((Path(folder) / STAMP).read_text(encoding="utf-8"))
        return [_result(entry) for entry in content["results"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def write_stamp(folder: str | Path, results: Iterable[Result]) -> None:
    """Replace a folder's stamp."""
    write_json(Path(folder) / STAMP, {"results": [asdict(result) for result in results]})


def own_files(folder: str | Path, command: str | None = None) -> set[str]:
    """Paths, relative to ``folder``, of the files that its stamp says a command (or any) wrote.

    A stamp may come from anywhere, so only regular files inside the folder count.
    """
    return {
        name
        for result in read_stamp(folder)
        if command is None or result.command == command
        for name in result.outputs
        if not os.path.isabs(name) and ".." not in Path(name).parts
    }


def foreign_files(folder: str | Path) -> list[str]:
    """Paths, relative to ``folder``, of files at any depth that none of our stamps lists."""
    folder, ours = Path(folder), own_files(folder) | {STAMP}
    found = []
    for parent, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in names]
    return sorted(name for name in found if name not in ours)


@contextlib.contextmanager
def replaced_folder(folder: str | Path) -> Iterator[Path]:
    """An :func:`~mixit_mss.files.atomic_folder` that may replace a folder with only our files.

    Raises:
        UserError: the folder holds files that none of our stamps lists; nothing was removed.
    """
    folder = Path(folder)
    require_ours(folder)
    with atomic_folder(folder, replace=True) as partial:
        yield partial
        require_ours(folder)


def require_ours(folder: str | Path) -> None:
    """Check that everything in ``folder``, if it exists, was written by us.

    Raises:
        UserError: it was not, or the path is not a folder.
    """
    folder = Path(folder)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or folder.is_symlink():
        raise UserError(
            f"'{folder}' is there already and is no folder of ours; choose another name"
        )
    if foreign := foreign_files(folder):
        raise UserError(
            f"'{folder}' holds files that this command did not write ('{foreign[0]}'"
            f"{f' and {len(foreign) - 1} more' if len(foreign) > 1 else ''}); nothing was replaced: "
            "choose another folder, or move them away"
        )


def content_digest(path: str | Path) -> str:
    """sha256 of a file's content, or of the names and contents of all files in a folder.

    Hidden files do not count.  A path that does not exist gives ``missing``.

    Raises:
        UserError: the path is neither a regular file nor a folder.
        OSError: the path cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        listing = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                name = os.fsencode(file.relative_to(path))
                listing.update(name + b"\0" + content_digest(file).encode() + b"\n")
        return listing.hexdigest()
    if not os.path.lexists(path):
        return "missing"
    if not path.is_file():
        raise UserError(f"'{path}' is no regular file; give a file on a disk")
    return _file_digest(os.path.abspath(path), _look(path))


@functools.lru_cache(maxsize=1024)
def _file_digest(path: str, look: Look | None) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _look(path: Path) -> Look | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return None if path.is_dir() else (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _result(entry: dict) -> Result:
    result = Result(**entry)
    names = (result.inputs, result.looks, result.outputs)
    if not (isinstance(result.command, str) and all(isinstance(part, dict) for part in names)):
        raise ValueError("no stamp of ours")
    result.looks = {role: _as_look(look) for role, look in result.looks.items()}
    return result


def _is_whole(folder: Path, result: Result) -> bool:
    try:
        return all(_size_of(folder, name) == size for name, size in result.outputs.items())
    except OSError:
        return False


def _size_of(folder: Path, name: str) -> int:
    return os.stat(os.path.abspath(folder / name)).st_size


def _without(result: Result, names: set[str]) -> Result:
    """Remove these files from a result; it becomes incomplete if it listed any of them."""
    kept = {name: size for name, size in result.outputs.items() if name not in names}
    result.complete = result.complete and len(kept) == len(result.outputs)
    result.outputs = kept
    return result


def _as_look(numbers: Sequence[int] | None) -> Look | None:
    if not numbers:
        return None
    size, modified, changed = numbers
    return size, modified, changed
