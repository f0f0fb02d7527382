"""Checkpoints that are never half written, and the average of the best of them."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from mixit_mss.files import atomic_path

LAST = "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write under a temporary name, then rename; read tensors and plain values only."""

    def save_checkpoint(self, checkpoint, path, storage_options=None) -> None:
        """Save ``checkpoint`` at ``path``, atomically."""
        with atomic_path(path) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(self, path, map_location=None, weights_only=None):
        """Load a checkpoint without running code from it."""
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


def checkpoint_callbacks(folder: Path, keep_best: int) -> list[ModelCheckpoint]:
    """One that keeps the last epoch for resuming, one that keeps the best by validation loss."""
    last = ModelCheckpoint(
        folder, filename=Path(LAST).stem, save_top_k=1, enable_version_counter=False
    )
    best = ModelCheckpoint(
        folder,
        filename="best-{epoch:04d}",
        auto_insert_metric_name=False,
        monitor="val_loss",
        save_top_k=keep_best,
        save_on_train_epoch_end=False,
    )
    return [last, best]


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
