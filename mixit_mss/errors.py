"""Exceptions that end a command without a traceback."""

from __future__ import annotations

import signal


class UserError(Exception):
    """An error the user can fix: one sentence that names the file or key, and what to do.

    Commands print it without a traceback and exit with status 1.  For any other exception they also
    print one sentence: the system's error, or where the traceback was saved.
    """


class UsageError(UserError):
    """An invalid command line: an option is out of range, unknown or missing.

    Commands exit with status 2.
    """


class Preempted(Exception):
    """A signal stopped the training, which saved a checkpoint to resume from.

    Attributes:
        signum: the signal, such as ``signal.SIGTERM``.
    """

    def __init__(self, signum: int, step: int):
        self.signum = signum
        name = signal.Signals(signum).name
        super().__init__(
            f"stopped by {name} after step {step}; run the same command again to go on"
        )
