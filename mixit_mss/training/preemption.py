"""Signals that stop a training: noted at once, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from mixit_mss.errors import Preempted

__all__ = ["Preempted", "StopSignals", "leave_to_parent"]

# SIGTERM is what clusters and systems send first; USR1 and USR2 are SLURM's early warnings as
# Lightning's and submitit's users set them up; SIGINT is Ctrl-C; SIGHUP comes when a terminal closes.
Handler = Callable[[int, FrameType | None], object] | int | None
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP")


class StopSignals:
    """Handlers that remember the first signal, from :meth:`install` to :meth:`restore`.

    A second Ctrl-C interrupts at once.

    Attributes:
        received: the signal's number, or 0.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Handler] = {}

    def install(self) -> None:
        """Install the handlers; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in SIGNALS:
            number = getattr(signal, name, None)  # Windows has no USR signals
            if number is None or number in self._before:
                continue
            if name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._before[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the signals back."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: object) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number


def leave_to_parent(worker: int) -> None:
    """Let a loader's worker live on, for its parent to finish the step.

    Clusters and terminals send these signals to every process of a job.
    """
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
