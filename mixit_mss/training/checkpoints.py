"""Checkpoints: never half written, resumed to the bit, and the average of the best of them."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from mixit_mss.data.disk import disk_errors
from mixit_mss.files import atomic_path
from mixit_mss.training.preemption import Preempted, StopSignals

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write under a temporary name, then rename; read tensors and plain values only."""

    def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
        """Save ``checkpoint`` at ``path``, atomically, and see that it is on the disk."""
        with disk_errors(path), atomic_path(path) as partial, open(partial, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(self, path, map_location=None, weights_only=None):
        """Load a checkpoint without running code from it."""
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


class Resumption(NamedTuple):
    """Where a run goes on: the file, and the optimiser steps that it has made."""

    path: Path
    step: int


def find_checkpoint(folder: Path) -> Resumption | None:
    """The newest checkpoint in ``folder`` that can be read; says so if one cannot."""
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return Resumption(path, int(content["global_step"]))
        except (RuntimeError, EOFError, OSError, KeyError, ValueError, pickle.UnpicklingError):
            print(f"{path} is broken; going on from the one before")
    return None


class ResumeCheckpoints(Callback):
    """Saves the state of the run every few minutes, after every epoch, and when it has to stop.

    The one before is kept too.  Must come after all callbacks whose state it saves.

    Args:
        folder: for the checkpoints.
        minutes: between two within an epoch.
        steps_per_epoch: optimiser steps.
    """

    def __init__(self, folder: Path, minutes: float, steps_per_epoch: int):
        self.folder, self.minutes, self.steps_per_epoch = folder, minutes, steps_per_epoch
        self.signals = StopSignals()

    def on_train_start(self, trainer, module) -> None:
        """Start the clock; from here on signals wait for the end of a step."""
        self.saved_at = time.monotonic()
        self.signals.install()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Save if it is time to; within a step or before its epoch's validation it never is."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if batch_idx + 1 == trainer.num_training_batches:
            return
        late = time.monotonic() - self.saved_at >= 60 * self.minutes
        if self._any_device(trainer, late or bool(self.signals.received)):
            self._save(trainer)

    def on_train_epoch_end(self, trainer, module) -> None:
        """Save, once validation is over."""
        self._save(trainer)

    def on_train_end(self, trainer, module) -> None:
        """Give the signals back."""
        self.signals.restore()

    def on_exception(self, trainer, module, exception) -> None:
        """Give the signals back."""
        self.signals.restore()

    def on_load_checkpoint(self, trainer, module, checkpoint) -> None:
        """Tell Lightning's loops in their own terms where the run is.

        They count batches, of which a step may have had another number before.
        """
        epoch, done = divmod(checkpoint["global_step"], self.steps_per_epoch)
        per_step = trainer.accumulate_grad_batches
        fit_loop = trainer.fit_loop
        if done:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            for part, steps in (("current", done), ("total", checkpoint["global_step"])):
                batches = steps * per_step
                progress[part].update(dict.fromkeys(("ready", "started", "processed"), batches))
                progress[part]["completed"] = batches - 1
        else:
            steps = checkpoint.pop("loops")["fit_loop"][
                "epoch_loop.automatic_optimization.optim_progress"
            ]
            fit_loop.epoch_loop.automatic_optimization.optim_progress.load_state_dict(steps)
            for progress in (fit_loop.epoch_progress.current, fit_loop.epoch_progress.total):
                progress.ready = progress.started = epoch
                progress.processed = progress.completed = epoch

    def _any_device(self, trainer, wanted: bool) -> bool:
        if trainer.world_size == 1:
            return wanted
        return trainer.strategy.reduce_boolean_decision(wanted, all=False)

    def _save(self, trainer) -> None:
        last = self.folder / LAST
        if trainer.is_global_zero and last.exists():
            os.replace(last, self.folder / PREVIOUS)
        trainer.save_checkpoint(last)
        self.saved_at = time.monotonic()
        if self._any_device(trainer, bool(self.signals.received)):
            raise Preempted(self.signals.received or 15, trainer.global_step)


def best_checkpoints(folder: Path, keep: int) -> ModelCheckpoint:
    """Keeps the ``keep`` epochs with the lowest validation loss."""
    return ModelCheckpoint(
        folder,
        filename="best-{epoch:04d}",
        enable_version_counter=False,
        auto_insert_metric_name=False,
        monitor="val_loss",
        save_top_k=keep,
        save_on_train_epoch_end=False,
    )


def remove_others(folder: Path) -> None:
    """Remove what runs with other settings left beside ``folder``."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def average_weights(paths: list[str]) -> dict[str, Tensor]:
    """Mean of the network's weights over checkpoints (the released models average five)."""
    total: dict[str, Tensor] = {}
    for path in paths:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        for name, tensor in state.items():
            if name.startswith("model."):
                name = name.removeprefix("model.")
                total[name] = total.get(name, 0) + tensor.double() / len(paths)
    return {name: tensor.float() for name, tensor in total.items()}
