"""Detect a run that goes wrong: non-finite gradients, and collapse to the mixtures."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mixit_mss.errors import UserError
from mixit_mss.training.records import BAD_BATCHES, HISTORY, Records

COLUMNS = ("step", "first_example", "last_example", "loss", "songs")
CLEAR_SNR, CLOSE = 3.0, 1.0


class BadSteps:
    """Counts skipped steps, and records their examples and songs.

    The rows are part of the checkpoints, so a repeated step is recorded once.

    Args:
        records: of the run; ``bad_batches.csv`` is written there.
        batch_size: examples per step, over all devices.
        limit: number of bad steps in a row that ends the run.
        songs_of: gives the names of the songs in an example, by its number in the run.

    Attributes:
        rows: one per bad step so far: its number, first and last example, loss, and songs.
    """

    def __init__(
        self,
        records: Records,
        batch_size: int,
        limit: int,
        songs_of: Callable[[int], Sequence[str]] | None = None,
    ):
        self.records, self.batch_size, self.limit = records, batch_size, limit
        self.songs_of = songs_of
        self.rows: list[list] = []
        self._in_a_row = 0

    @property
    def count(self) -> int:
        """Number of bad steps so far."""
        return len(self.rows)

    def is_bad(self, norm: Tensor, losses: Sequence[Tensor], trainer) -> bool:
        """Whether the gradient's norm is not finite, so that the step must be skipped.

        Args:
            norm: of the whole gradient, the same on all devices.
            losses: of the step's examples on this device.
            trainer: Lightning's.

        Raises:
            UserError: ``limit`` steps in a row are bad.
        """
        if norm.isfinite():
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        self._note(trainer, _of_all_devices(losses, trainer))
        if self._in_a_row >= self.limit:
            raise UserError(
                f"{self._in_a_row} steps in a row had a loss or gradient that is NaN or infinite; "
                f"{self.records.experiment / BAD_BATCHES} lists their songs: lower optimizer.lr, or look for broken songs"
            )
        return True

    def _note(self, trainer, losses: list[float]) -> None:
        """Add a row, with the songs of the examples without a finite loss, or else of all."""
        step = trainer.global_step
        first = step * self.batch_size
        bad = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
        songs: list[str] = []
        if self.songs_of is not None and trainer.is_global_zero:
            for number in bad or range(len(losses)):
                songs += self.songs_of(first + number)
        loss = sum(losses) / max(1, len(losses))
        names = "; ".join(dict.fromkeys(songs))
        self.rows.append([step, first, first + self.batch_size - 1, loss, names])
        if trainer.is_global_zero:
            table = io.StringIO()
            writer = csv.writer(table, lineterminator="\n")
            writer.writerows([COLUMNS, *self.rows])
            self.records.write(BAD_BATCHES, table.getvalue())


def _of_all_devices(losses: Sequence[Tensor], trainer) -> list[float]:
    """A step's losses in the order of its examples; each of N devices has every N-th."""
    mine = torch.cat(list(losses)).float()
    gathered = trainer.strategy.all_gather(mine).reshape(-1, len(mine))
    return gathered.T.flatten().tolist()


def warn_of_collapse(trainer) -> None:
    """Warn if a single output is as good as the best sum of outputs for every mixture.

    The network then returns the summed mixtures: it separates songs but not their sources, although
    its loss looks good.  Reads the validation means ``snr_of_remix`` and ``snr_of_one_output``
    (dB).
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
