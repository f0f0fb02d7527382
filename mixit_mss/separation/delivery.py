"""Move finished files into a folder without touching other files in it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from mixit_mss.errors import UserError
from mixit_mss.files import temporary_folder
from mixit_mss.names import printable
from mixit_mss.stamps import Fingerprint, own_files

try:
    import fcntl
except ImportError:  # Windows: no lock against other processes
    fcntl = None  # type: ignore[assignment]

_change = threading.Condition()
_busy: set[str] = set()


@contextlib.contextmanager
def delivered(folder: str | Path, fingerprint: Fingerprint, names: Iterable[str]) -> Iterator[Path]:
    """Yield an empty folder to write to; if the block succeeds, its files are moved to ``folder``.

    If ``folder`` does not exist yet, the files appear all at once; otherwise one by one, each
    replacing the earlier file of its name.  The stamp lists them before the first one is moved, so
    that they are known as ours even after a kill.

    Args:
        folder: the destination; other files in it stay as they are.
        fingerprint: of the request.
        names: of the files.

    Raises:
        UserError: a file of that name exists that this command did not write.
    """
    folder, names = Path(folder), list(names)
    require_free(folder, names, fingerprint.command)
    with temporary_folder(folder) as partial:
        yield partial
        fingerprint.mark_done(partial, [partial / name for name in names])
        try:
            os.rename(partial, folder)  # works if there is none, or an empty one
        except OSError:
            if not folder.is_dir():
                raise
            _join(partial, folder, fingerprint, names)


def require_free(folder: Path, names: Iterable[str], command: str) -> None:
    """Raise UserError if a file of one of these names exists that the command did not write."""
    ours = own_files(folder, command)
    for path in (folder / name for name in names):
        if os.path.lexists(path) and (path.name not in ours or path.is_dir()):
            raise UserError(
                f"'{printable(path)}' is there already and was not written by mixit-mss {command}; "
                "choose another --out, or move it"
            )


@contextlib.contextmanager
def one_at_a_time(folder: str | Path) -> Iterator[None]:
    """Let one thread of this process work on a folder at a time; the others wait."""
    name = os.path.abspath(folder)
    with _change:
        _change.wait_for(lambda: name not in _busy)
        _busy.add(name)
    try:
        yield
    finally:
        with _change:
            _busy.discard(name)
            _change.notify_all()


def _join(partial: Path, folder: Path, fingerprint: Fingerprint, names: list[str]) -> None:
    paths = [folder / name for name in names]
    with _locked(folder):
        require_free(folder, names, fingerprint.command)
        fingerprint.mark_done(folder, paths, complete=False)
        for name in names:
            os.replace(partial / name, folder / name)
        fingerprint.mark_done(folder, paths)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change a folder; without a lock if the file system has none."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
