"""Show the progress of long work, as a bar on a terminal and as lines in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
    track,
)

SECONDS_BETWEEN_LINES = 60.0
Song = TypeVar("Song")


class ByteBar:
    """One line of progress; all methods are thread-safe."""

    def __init__(self, progress: Progress, task) -> None:
        self._progress, self._task = progress, task

    def advance(self, num_bytes: int) -> None:
        """Add to the number of bytes done."""
        self._progress.advance(self._task, num_bytes)

    def restart(self) -> None:
        """Start again from 0."""
        self._progress.reset(self._task)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._progress.disable:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def byte_bar(description: str, total: int, completed: int = 0) -> Iterator[ByteBar]:
    """Show a :class:`ByteBar` on standard error while the block runs, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    quiet = not console.is_terminal
    with Progress(*columns, console=console, disable=quiet, transient=True) as progress:
        yield ByteBar(progress, progress.add_task(description, total=total, completed=completed))


def counted(songs: Iterable[Song], what: str, total: int) -> Iterator[Song]:
    """Yield songs and show progress on standard error: a bar, or one line a minute in a log."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(songs, what, total, console=console)
        return
    said = time.monotonic()
    for number, song in enumerate(songs, start=1):
        yield song
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES and number < total:
            said = time.monotonic()
            print(f"{what}: {number} of {total} songs", file=sys.stderr, flush=True)
