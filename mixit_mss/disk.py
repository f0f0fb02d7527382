"""Disk space: checked before long work, and reported in one sentence when it runs out."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mixit_mss.errors import UserError


def in_words(num_bytes: float) -> str:
    """Format a size for people: ``93.0 GiB``."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(num_bytes) < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def require_space(folder: str | Path, needed: int, purpose: str) -> None:
    """Check that ``needed`` bytes fit on the disk of ``folder``, which must exist.

    Raises:
        UserError: there is too little free space.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{purpose} needs {in_words(needed)} on the disk of '{folder}', where "
            f"{in_words(free)} are free: free {in_words(needed - free)} more, or name another folder"
        )


@contextlib.contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn disk errors while ``path`` is written into a :class:`UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk is full at '{path}': free some space and run the same command again to "
                "go on"
            ) from error
        raise UserError(f"'{path}' cannot be written ({error.strerror or error})") from error


def folder_content(folder: str | Path) -> tuple[int, int]:
    """Number and total bytes of the files below ``folder``, without hidden files."""
    sizes = [
        os.stat(os.path.join(parent, name)).st_size
        for parent, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    ]
    return len(sizes), sum(sizes)
