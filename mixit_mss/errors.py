"""Exceptions that end a command without a traceback."""

from __future__ import annotations

import signal


class UserError(Exception):
    """Something the user can mend: one sentence that names the file or key, and what to do.

    Commands print it without a traceback and exit with status 1.  Of every other exception they
    print one sentence, too: what the system refused, or where the traceback is.
    """


class UsageError(UserError):
    """The command line itself cannot be: an option out of its range, unknown, or missing.

    Commands exit with status 2.
    """


class Preempted(Exception):
    """A signal asked the training to stop; it did, with a checkpoint to go on from.

    Attributes:
        signum: the signal, for instance ``signal.SIGTERM``.
    """

    def __init__(self, signum: int, step: int):
        self.signum = signum
        name = signal.Signals(signum).name
        super().__init__(
            f"stopped by {name} after step {step}; run the same command again to go on"
        )
