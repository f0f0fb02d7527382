"""Distribute files over processes, so that a crash in one does not stop the rest, and over jobs."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, TypeVar

from mixit_mss.errors import UserError

Item = TypeVar("Item")


def run_parallel(
    work: Callable[[Any], Any], jobs: Iterable[Any], num_processes: int
) -> Iterator[tuple[Any, Any]]:
    """Yield (job, ``work(job)``) as jobs finish, in no fixed order.

    Args:
        work: a module-level function, so that another process can import it.
        jobs: its arguments, one per call.
        num_processes: with 1, jobs run in this process, which a crash inside a decoder would end.

    If the process of a job dies (a crash inside a decoder, out of memory) or the job raises
    MemoryError, its result is None.  Jobs that ran beside one that died run again, each in a
    process of its own.  Any other exception of ``work`` is raised here and stops the rest.
    """
    waiting = deque(jobs)
    if num_processes == 1:
        while waiting:
            job = waiting.popleft()
            try:
                result = work(job)
            except MemoryError:
                result = None
            yield job, result
    while waiting:
        suspects: list[Any] = []
        with _pool(num_processes) as pool:
            running: dict[Future, Any] = {}
            while (waiting or running) and not suspects:
                while waiting and len(running) < 2 * num_processes:
                    job = waiting.popleft()
                    try:
                        running[pool.submit(work, job)] = job
                    except BrokenProcessPool:
                        suspects.append(job)
                        break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        result = future.result()
                    except MemoryError:
                        result = None
                    except BrokenProcessPool:
                        suspects.append(job)
                        continue
                    yield job, result
            suspects += running.values()
        for job in suspects:
            with _pool(1) as pool:
                try:
                    result = pool.submit(work, job).result()
                except (BrokenProcessPool, MemoryError):
                    result = None
                yield job, result


def _pool(num_processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_processes, mp_context=context, initializer=_follow_parent)


def _follow_parent() -> None:
    """Make a worker end with its parent: not later if that is killed, and not earlier.

    SLURM sends its warning signal to every process of a job; a worker that it killed would look
    like a crash.
    """
    for name in ("SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):  # not on Windows
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    parent = multiprocessing.parent_process()
    if parent is None:  # only in a process that was not spawned
        return

    def wait_for_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


class Shard(NamedTuple):
    """Share ``number`` (from 1) of ``total`` of a list, written ``3/8``.

    Together, the jobs of an array cover the whole list, each item once.
    """

    number: int
    total: int

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every ``total``-th item from ``number``: neighbours are often of similar length."""
        return list(items[self.number - 1 :: self.total])

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_shard(text: str) -> Shard:
    """Read ``3/8``.

    Raises:
        UserError: the text is not a valid share.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: write it as 3/8 for the third of eight shares")
    return Shard(int(match[1]), int(match[2]))
