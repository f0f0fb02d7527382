"""Signals that stop a training: recorded at once, handled between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from mixit_mss.errors import Preempted

__all__ = ["Preempted", "StopSignals", "leave_to_parent"]

# Clusters and systems send SIGTERM first.  SIGUSR1 and SIGUSR2 are SLURM's early warnings, as users
# of Lightning and submitit set them up.  Ctrl-C sends SIGINT, and a closing terminal SIGHUP.
Handler = Callable[[int, FrameType | None], object] | int | None
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP")


class StopSignals:
    """Handlers that record a signal, from :meth:`install` to :meth:`restore`.

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
        """Restore the previous handlers."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: object) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number


def leave_to_parent(worker: int) -> None:
    """Ignore the signals in a loader's worker, so that its parent can finish the step.

    Clusters and terminals send these signals to every process of a job.
    """
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
