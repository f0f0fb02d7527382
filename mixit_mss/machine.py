"""What this machine has: cores and memory, as far as the system and its container tell."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from mixit_mss.errors import UserError

MEMORY = Path("/proc/meminfo")
LIMITS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
LEAST_PROCESSES = 8
"""So many processes may be asked for on any machine."""

PHRASES = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""By which torch's errors are known that have no class of their own."""


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processes(wanted: int, option: str) -> int:
    """``wanted`` processes, or as many as are of use here, which is then said.

    Args:
        wanted: what was asked for.
        option: by which name.
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
    """Memory that is left on this machine and in this container; None where nobody says."""
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
    """See that ``needed`` bytes can be had.

    Raises:
        UserError: they cannot.
    """
    free = free_bytes()
    if free is not None and needed > free:
        raise UserError(
            f"{what} needs {needed / 2**30:,.1f} GiB of memory, of which {free / 2**30:,.1f} GiB are "
            "free here: take a smaller one, or a larger machine"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, of the machine or of a device; torch need not be loaded."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(phrase in said for phrase in PHRASES)
