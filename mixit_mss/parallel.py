"""Distribute many files over processes, none of which can stop the others, and over jobs."""

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
    """Yield (job, ``work(job)``) as they finish, in no fixed order.

    Args:
        work: a function of a module, so that another process can import it.
        jobs: its arguments, one per call.
        num_processes: 1 works in this process, which a fault inside a decoder would end.

    A job whose process dies (a fault inside a decoder, memory) or that asks for more memory than
    there is gives None instead of a result; the jobs that ran beside one that died are done again,
    each in a process of its own.  Any other exception of ``work`` is raised here and ends
    everything.
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
    """Let no worker outlive a command that was killed, nor end before it.

    SLURM warns every process of a job of its end; a worker that died of it would look like a fault.
    """
    for name in ("SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):  # Windows has none
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    parent = multiprocessing.parent_process()
    if parent is None:  # only in a process that nobody spawned
        return

    def wait_for_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


class Shard(NamedTuple):
    """A share of a list, so that the jobs of an array do all of it and nothing twice.

    Share ``number`` (from 1) of ``total``; written ``3/8``.
    """

    number: int
    total: int

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every ``total``-th item from ``number`` on: neighbours, often alike in length, part."""
        return list(items[self.number - 1 :: self.total])

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_shard(text: str) -> Shard:
    """Read ``3/8``.

    Raises:
        UserError: it is no such share.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: write it as 3/8 for the third of eight shares")
    return Shard(int(match[1]), int(match[2]))
