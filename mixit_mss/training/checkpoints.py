"""Checkpoints: written atomically, verified, resumed bit by bit, and the best ones averaged."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from mixit_mss.disk import disk_errors
from mixit_mss.errors import UserError
from mixit_mss.files import atomic_path
from mixit_mss.models.hub.weights import check_finite, zip_damage
from mixit_mss.training.preemption import Preempted, StopSignals

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
# keys that Lightning needs in a checkpoint, and their types
NEEDED = {
    **{"global_step": int, "epoch": int, "state_dict": dict, "loops": dict, "callbacks": dict},
    **{"optimizer_states": list, "lr_schedulers": list},
}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write under a temporary name, verify, then rename; load tensors and plain values only.

    Once a new ``last.ckpt`` is in place, the old one becomes ``previous.ckpt``, provided that a run
    could resume from it.
    """

    def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
        """Save ``checkpoint`` atomically at ``path``, and verify it on the disk.

        Raises:
            UserError: the disk is full, or the file cannot be read back.
        """
        path = Path(path)
        with disk_errors(path), ExitStack() as afterwards, atomic_path(path) as partial:
            with open(partial, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
                if hasattr(os, "posix_fadvise"):  # so that it is read back from the disk
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if damage := damage_of(partial):
                raise UserError(
                    f"'{path}' was written and cannot be read back ({damage}): its disk may be "
                    "failing; the checkpoint before it stays"
                )
            if path.name == LAST and _is_a_state_of(path, checkpoint["state_dict"]):
                kept = afterwards.enter_context(atomic_path(path.with_name(PREVIOUS)))
                _link(path, kept)

    def load_checkpoint(self, path, map_location=None, weights_only=None):
        """Load a checkpoint without running code from it."""
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


def _is_a_state_of(path: Path, state: dict[str, Tensor]) -> bool:
    """Whether a run whose network has these weights could resume from a checkpoint."""
    try:
        _step_of(path, _network_in(state))
    except Exception:
        return False
    return True


def _link(path: Path, other: Path) -> None:
    """Hard-link a file; copy it if the file system has no hard links."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def damage_of(path: Path) -> str:
    """What is damaged in a file of ``torch.save``; empty if it is intact."""
    try:
        if damage := zip_damage(path):
            return damage
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damage raises exceptions of many kinds
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    """The first sentence of an error."""
    return str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__


class Resumption(NamedTuple):
    """Where a run resumes: the checkpoint, and its number of optimiser steps."""

    path: Path
    step: int


def find_checkpoint(folder: Path, network: nn.Module | None = None) -> Resumption | None:
    """The newest intact checkpoint in ``folder``; prints a line if one is damaged.

    Args:
        folder: the run's checkpoints.
        network: the checkpoint must hold weights of this network; None skips the check.
    """
    weights = None if network is None else network.state_dict()
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not os.path.lexists(path):
            continue
        try:
            return Resumption(path, _step_of(path, weights))
        except Exception as error:
            print(f"{path} is broken ({_reason(error)}); going on from the one before", flush=True)
    return None


def _step_of(path: Path, network: dict[str, Tensor] | None) -> int:
    """The optimiser steps of a usable checkpoint; any other raises an exception with the reason."""
    if damage := damage_of(path):
        raise ValueError(damage)
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(content, dict):
        raise ValueError("it is no checkpoint")
    for key, kind in NEEDED.items():
        if not isinstance(content.get(key), kind):
            raise ValueError(f"it has no '{key}'")
    _check_weights(_network_in(content["state_dict"]), network)
    return content["global_step"]


def _network_in(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's weights in the state of a checkpoint."""
    return {name[6:]: value for name, value in state.items() if name[:6] == "model."}


def _check_weights(weights: dict[str, Tensor], network: dict[str, Tensor] | None) -> None:
    """Raise ValueError unless the weights are finite and fit the network, if one is given."""
    check_finite(weights)
    if network is None:
        return
    wanted = {name: value.shape for name, value in network.items()}
    if {name: value.shape for name, value in weights.items()} != wanted:
        raise ValueError("its weights are not those of this network")


class ResumeCheckpoints(Callback):
    """Saves the state of the run every few minutes, after every epoch, and when it has to stop.

    The previous checkpoint is kept too.  Must come after all callbacks whose state it saves.

    Args:
        folder: for the checkpoints.
        minutes: between two checkpoints within an epoch.
        steps_per_epoch: optimiser steps per epoch.
    """

    def __init__(self, folder: Path, minutes: float, steps_per_epoch: int):
        self.folder, self.minutes, self.steps_per_epoch = folder, minutes, steps_per_epoch
        self.signals = StopSignals()

    def on_train_start(self, trainer, module) -> None:
        """Start the clock; from now on, signals are handled at the end of a step."""
        self.saved_at = time.monotonic()
        self.signals.install()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        """Save if it is time to, but never within a step or before the validation of the epoch."""
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
        """Restore the signal handlers."""
        self.signals.restore()

    def on_exception(self, trainer, module, exception) -> None:
        """Restore the signal handlers."""
        self.signals.restore()

    def on_load_checkpoint(self, trainer, module, checkpoint) -> None:
        """Set the counters of Lightning's loops to the position of the run.

        They count batches, and a step may have had another number of batches before.
        """
        # logging continues from this step
        trainer.fit_loop.epoch_loop._batches_that_stepped = checkpoint["global_step"]
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
        trainer.save_checkpoint(self.folder / LAST)
        self.saved_at = time.monotonic()
        if self._any_device(trainer, bool(self.signals.received)):
            raise Preempted(self.signals.received or 15, trainer.global_step)


class BestCheckpoints(ModelCheckpoint):
    """Keeps the ``keep`` epochs with the lowest validation loss, even if the folder is moved."""

    def __init__(self, folder: Path, keep: int) -> None:
        super().__init__(
            folder,
            filename="best-{epoch:04d}",
            enable_version_counter=False,
            auto_insert_metric_name=False,
            monitor="val_loss",
            save_top_k=keep,
            save_on_train_epoch_end=False,
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore the state, with paths in the present folder."""

        def here(path: str) -> str:
            return path and os.path.join(str(self.dirpath), os.path.basename(path))

        best = {here(path): loss for path, loss in state_dict["best_k_models"].items()}
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict[name]) for name in paths}
        super().load_state_dict(
            {**state_dict, **moved, "dirpath": self.dirpath, "best_k_models": best}
        )


def remove_others(folder: Path) -> None:
    """Remove the checkpoints of runs with other settings, which lie beside ``folder``."""
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)


def average_weights(paths: Sequence[str], network: nn.Module | None = None) -> dict[str, Tensor]:
    """Mean of the network's weights over checkpoints (the released models average five).

    Prints a line for each checkpoint that is left out: damaged, missing, or not of ``network``.

    Raises:
        UserError: no checkpoint is left.
    """
    wanted = None if network is None else network.state_dict()
    total: dict[str, Tensor] = {}
    count = 0
    for path in paths:
        try:
            if damage := damage_of(Path(path)):
                raise ValueError(damage)
            content = torch.load(path, map_location="cpu", weights_only=True)
            weights = _network_in(content["state_dict"])
            _check_weights(weights, wanted)
        except Exception as error:
            print(f"{path} is left out of the average: {_reason(error)}", flush=True)
            continue
        count += 1
        for name, tensor in weights.items():
            total[name] = total.get(name, 0) + tensor.double()
    if not count:
        raise UserError(
            f"none of the {len(paths)} best checkpoints can be read, the first is '{paths[0]}': "
            f"remove '{os.path.dirname(paths[0])}' to train again"
        )
    return {name: (tensor / count).float() for name, tensor in total.items()}
