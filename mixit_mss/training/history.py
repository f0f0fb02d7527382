"""Show the progress of a training: one printed line and one table row per epoch."""

from __future__ import annotations

import csv
import io
import sys
import time

from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.profilers import Profiler

from mixit_mss.training.records import HISTORY, Records


class DataWait(Profiler):
    """Measures the seconds that the training loop waits for data, by Lightning's profiler hooks."""

    def __init__(self):
        super().__init__()
        self.seconds, self._since = 0.0, 0.0

    def start(self, action_name: str) -> None:
        """The loop requests a batch."""
        if action_name.endswith("train_dataloader_next"):
            self._since = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """The batch has arrived."""
        if action_name.endswith("train_dataloader_next"):
            self.seconds += time.perf_counter() - self._since


class History(Callback):
    """One line and one row of ``history.csv`` per epoch.

    The rows are part of the checkpoints, so a resumed run has the same table as an uninterrupted
    one, except for the seconds.

    Args:
        records: of the run.
        steps_per_epoch: optimiser steps.
        total_steps: of the whole run.
        wait: measures how long the loop waits for data.
    """

    def __init__(
        self, records: Records, steps_per_epoch: int, total_steps: int, wait: DataWait
    ) -> None:
        self.records = records
        self.steps_per_epoch, self.total_steps, self.wait = steps_per_epoch, total_steps, wait
        self.rows: list[dict] = []
        self.spent = {"seconds": 0.0, "wait": 0.0, "loss": 0.0, "examples": 0.0}
        self._module = None

    def on_train_start(self, trainer, module) -> None:
        """Start the clock."""
        self._module = module
        module.take_losses()
        self._restart_clock()
        self.started, self.first_step = time.monotonic(), trainer.global_step

    def on_train_epoch_end(self, trainer, module) -> None:
        """Print the line, write the table."""
        self._take_stock(module)
        spent = self.spent
        known = {name: value.item() for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": spent["loss"] / max(spent["examples"], 1),
            "val_loss": None,
            "val_usdr": None,
            "seconds": round(spent["seconds"], 2),
            "data_wait_percent": round(100 * spent["wait"] / max(spent["seconds"], 1e-9), 2),
            "skipped_steps": module.skipped_steps,
        }
        if module.validated_at == trainer.global_step:
            row.update({name: known[name] for name in known if name not in ("loss", "train_loss")})
        self.rows.append(row)
        self.spent = dict.fromkeys(spent, 0)
        if trainer.is_global_zero:
            self._write()
            print(self._line(trainer, row), flush=True)

    def state_dict(self) -> dict:
        """State for the checkpoint: the rows, and the sums of the epoch so far."""
        if self._module is not None:
            self._take_stock(self._module)
        return {"rows": self.rows, "spent": dict(self.spent)}

    def load_state_dict(self, state: dict) -> None:
        """Restore the state."""
        self.rows, self.spent = list(state["rows"]), dict(state["spent"])

    def _take_stock(self, module) -> None:
        strategy = module.trainer.strategy
        loss, examples = strategy.reduce(module.take_losses(), reduce_op="sum").tolist()
        now, wait = time.perf_counter(), self.wait.seconds
        self.spent["loss"] += loss
        self.spent["examples"] += examples
        self.spent["seconds"] += now - self._clock
        self.spent["wait"] += wait - self._waited
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._clock, self._waited = time.perf_counter(), self.wait.seconds

    def _write(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.records.write(HISTORY, table.getvalue())

    def _line(self, trainer, row: dict) -> str:
        rate = (row["step"] - self.first_step) / max(time.monotonic() - self.started, 1e-9)
        left = (self.total_steps - row["step"]) / max(rate, 1e-9)
        parts = [
            f"epoch {row['epoch']}/{trainer.max_epochs}",
            f"step {row['step']}/{self.total_steps}",
            f"train {row['train_loss']:6.2f} dB",
        ]
        for name, title in (("val_loss", "valid"), ("val_usdr", "uSDR")):
            if row[name] is not None:
                parts.append(f"{title} {row[name]:6.2f} dB")
        if row["skipped_steps"]:
            parts.append(f"{row['skipped_steps']} steps skipped")
        parts += [
            f"{rate:.2f} steps/s",
            f"data wait {row['data_wait_percent']:.0f} %",
            f"{_in_words(left)} left",
        ]
        return "  ".join(parts)


def progress_bar() -> list[Callback]:
    """A bar with loss, rate and time left, if standard output is a terminal."""
    return [RichProgressBar(leave=False)] if sys.stdout.isatty() else []


def _in_words(seconds: float) -> str:
    """``3.4 min``, ``5.0 h`` or ``2.1 days``."""
    for unit, size, limit in (("min", 60, 90), ("h", 3600, 48)):
        if seconds / size < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"
