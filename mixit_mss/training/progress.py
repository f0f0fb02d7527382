"""What a person sees of a running training: one line per epoch, and a bar on a terminal."""

from __future__ import annotations

import sys
import time

from pytorch_lightning.callbacks import Callback, RichProgressBar


class EpochLines(Callback):
    """Print losses, rate and time left after every epoch."""

    def on_train_start(self, trainer, module) -> None:
        """Start the clock."""
        self.started, self.first_step = time.monotonic(), trainer.global_step

    def on_train_epoch_end(self, trainer, module) -> None:
        """One line."""
        steps = trainer.global_step - self.first_step
        rate = steps / max(time.monotonic() - self.started, 1e-9)
        total = trainer.max_epochs * trainer.num_training_batches
        total = total // trainer.accumulate_grad_batches
        left = (total - trainer.global_step) / max(rate, 1e-9)
        losses = "".join(
            f"  {label} {trainer.callback_metrics[name]:6.2f} dB"
            for label, name in (("train", "loss_epoch"), ("valid", "val_loss"))
            if name in trainer.callback_metrics
        )
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  "
            f"step {trainer.global_step}/{total}{losses}  {rate:.2f} steps/s  "
            f"{left / 60:.1f} min left",
            flush=True,
        )


def progress_callbacks() -> list[Callback]:
    """Lines always; a bar as well where standard output is a terminal."""
    return [EpochLines(), *([RichProgressBar(leave=False)] if sys.stdout.isatty() else [])]
