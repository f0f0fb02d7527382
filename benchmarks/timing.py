"""Fair comparisons in one process: contestants take turns, and memory is what the system saw."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

STATUS = Path("/proc/self/status")  # Linux only; elsewhere memory is reported as NaN
CLEAR = Path("/proc/self/clear_refs")
M_MMAP_THRESHOLD = -3  # malloc.h


def alternate(contestants: Mapping[str, Callable], repeats: int) -> dict[str, float]:
    """Seconds of each contestant: the best of `repeats` rounds in which each runs once.

    Taking turns spreads whatever else the machine does over all of them; a first round, not
    counted, pays for what is done once only.
    """
    best = dict.fromkeys(contestants, float("inf"))
    for round_ in range(repeats + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            if round_ > 0:
                best[name] = min(best[name], seconds)
    return best


def alternate_cpu(
    contestants: Mapping[str, Callable], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Like :func:`alternate`, and the processors' seconds (user and system) of each.

    Those of processes count when they have ended, so each contestant has to wait for its own.  They
    hardly change when the machine is busy with something else, as the clock's seconds do.
    """
    wall, cpu = (dict.fromkeys(contestants, float("inf")) for _ in range(2))
    for round_ in range(repeats + 1):
        for name, run in contestants.items():
            start, used = time.perf_counter(), os.times()
            run()
            seconds, now = time.perf_counter() - start, os.times()
            if round_ > 0:
                wall[name] = min(wall[name], seconds)
                cpu[name] = min(cpu[name], sum(now[:4]) - sum(used[:4]))
    return wall, cpu


def once(run: Callable) -> tuple[float, object]:
    """Seconds of a single run, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def return_freed_memory() -> None:
    """Have glibc hand every large block back when it is freed, so that resident means in use.

    To be called in a new process, before anything large was allocated.
    """
    if CLEAR.exists():
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)


def peak_growth(run: Callable) -> float:
    """MiB by which the peak of resident memory during `run` exceeds what was resident before."""
    if not CLEAR.exists():
        return float("nan")
    CLEAR.write_text("5")  # the peak starts anew from here
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def resident(field: str = "VmHWM") -> float:
    """MiB of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    if not STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return int(lines[field].split()[0]) / 1024


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """A Markdown table, numbers set to the right."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print(f"\n{title}\n")
    for line in [header, rule, *rows]:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print(f"| {' | '.join(cells)} |")
