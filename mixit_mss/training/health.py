"""Early signs of a run that goes wrong: steps without a finite gradient, and collapse."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mixit_mss.errors import UserError
from mixit_mss.training.history import FILE as HISTORY

FILE = "bad_batches.csv"
CLEAR_SNR, CLOSE = 3.0, 1.0


class BadSteps:
    """Counts the steps that were left out, and notes the examples that they were made of.

    Args:
        folder: for ``bad_batches.csv``.
        batch_size: examples per step, over all devices.
        limit: so many in a row end the run.

    Attributes:
        count: steps so far.
    """

    def __init__(self, folder: Path, batch_size: int, limit: int):
        self.path, self.batch_size, self.limit = folder / FILE, batch_size, limit
        self.count, self._in_a_row = 0, 0

    def is_bad(self, norm: Tensor, loss: Tensor, trainer) -> bool:
        """Whether the gradient's norm is not finite, so that its step must be left out.

        Raises:
            UserError: ``limit`` steps in a row were.
        """
        if norm.isfinite():
            self._in_a_row = 0
            return False
        self.count += 1
        self._in_a_row += 1
        if trainer.is_global_zero:
            self._note(trainer.global_step, loss.item())
        if self._in_a_row >= self.limit:
            raise UserError(
                f"{self._in_a_row} steps in a row had a loss or gradient that is NaN or infinite; "
                f"{self.path} lists their examples: lower optimizer.lr, or look for broken songs"
            )
        return True

    def _note(self, step: int, loss: float) -> None:
        first = step * self.batch_size
        new = not self.path.exists()
        with open(self.path, "a", encoding="utf-8") as file:
            if new:
                file.write("step,first_example,last_example,loss\n")
            file.write(f"{step},{first},{first + self.batch_size - 1},{loss}\n")


def warn_of_collapse(trainer) -> None:
    """Say so when one output alone is as good as the best sum of outputs for every mixture.

    The network then gives back the mixtures that were added up, and has learned to tell songs apart
    but not their sources, though its loss is fine.  Takes validation's means ``snr_of_remix`` and
    ``snr_of_one_output`` (dB).
    """
    remix, one = (
        float(trainer.callback_metrics[f"snr_of_{name}"]) for name in ("remix", "one_output")
    )
    if trainer.is_global_zero and remix > CLEAR_SNR and one > remix - CLOSE:
        print(
            f"warning: one output alone is as close to a mixture ({one:.1f} dB) as the best sum of "
            f"outputs ({remix:.1f} dB): so far the network separates songs, not their sources; "
            f"watch snr_of_one_output beside snr_of_remix in {HISTORY}",
            flush=True,
        )
