"""Cores and memory of this machine, as reported by the system and its container."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from mixit_mss.errors import UserError

MEMORY = Path("/proc/meminfo")
LIMITS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
LEAST_PROCESSES = 8
"""This many processes may be requested on any machine."""

PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""Phrases that identify torch errors without a class of their own."""


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes(wanted: int, option: str) -> int:
    """Limit ``wanted`` processes to a useful number for this machine, and say so if it is fewer.

    Args:
        wanted: the requested number.
        option: the option's name, for the message.
    """
    most = max(LEAST_PROCESSES, 2 * cores())
    if wanted <= most:
        return wanted
    if sys.stderr is not None:
        print(
            f"{option} {wanted}: this machine has {cores()} cores; {most} are taken",
            file=sys.stderr,
        )
    return most


def free_bytes() -> int | None:
    """Memory left on this machine and in this container, in bytes; None if unknown."""
    left = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = MEMORY.read_text().splitlines()
        left.append(1024 * next(int(s.split()[1]) for s in lines if s.startswith("MemAvailable")))
    with contextlib.suppress(OSError, ValueError):  # without a limit it reads "max"
        limit, used = (int(path.read_text()) for path in LIMITS)
        left.append(limit - used)
    if not left:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # not on Windows
            left.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(left, default=None)


def require_memory(needed: int, what: str) -> None:
    """Check that ``needed`` bytes of memory are free.

    Raises:
        UserError: they are not.
    """
    free = free_bytes()
    if free is not None and needed > free:
        raise UserError(
            f"{what} needs {needed / 2**30:,.1f} GiB of memory, of which {free / 2**30:,.1f} GiB are "
            "free here: take a smaller one, or a larger machine"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or a device ran out of memory; does not import torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(phrase in said for phrase in PHRASES)
