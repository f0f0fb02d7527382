"""What a person sees of a running training: one line per epoch, and a bar on a terminal."""

from __future__ import annotations

import sys
import time

import torch
from pytorch_lightning.callbacks import Callback, RichProgressBar


class EpochLines(Callback):
    """Print losses, rate and time left after every epoch."""

    def on_train_start(self, trainer, module) -> None:
        """Start the clock."""
        self.started, self.first_step = time.monotonic(), trainer.global_step
        self.losses: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Keep the loss; it stays on its device until the epoch ends."""
        self.losses.append(outputs["loss"].detach())

    def on_train_epoch_end(self, trainer, module) -> None:
        """One line."""
        steps = trainer.global_step - self.first_step
        rate = steps / max(time.monotonic() - self.started, 1e-9)
        total = trainer.max_epochs * trainer.num_training_batches
        total = total // trainer.accumulate_grad_batches
        left = (total - trainer.global_step) / max(rate, 1e-9)
        loss = torch.stack(self.losses).mean().item()
        self.losses.clear()
        valid = trainer.callback_metrics.get("val_loss")
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  "
            f"step {trainer.global_step}/{total}  train {loss:6.2f} dB"
            f"{'' if valid is None else f'  valid {valid:6.2f} dB'}  {rate:.2f} steps/s  "
            f"{left / 60:.1f} min left",
            flush=True,
        )


def progress_callbacks() -> list[Callback]:
    """Lines always; a bar as well where standard output is a terminal."""
    return [EpochLines(), *([RichProgressBar(leave=False)] if sys.stdout.isatty() else [])]
