"""What may end a command without a traceback."""

from __future__ import annotations

import signal


class UserError(Exception):
    """Something the user can mend: one sentence that names the file or key, and what to do.

    Commands print it without a traceback and exit with status 1.  Every other exception is a
    fault of ours and keeps its traceback.
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
