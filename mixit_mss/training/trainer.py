"""One training run from configs to a model folder; a killed run goes on where it stopped."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from mixit_mss.data.datasets import EpochSampler
from mixit_mss.files import is_done, mark_done
from mixit_mss.training.checkpoints import (
    LAST,
    AtomicCheckpointIO,
    average_weights,
    checkpoint_callbacks,
)
from mixit_mss.training.config import FinetuneConfig, PretrainConfig
from mixit_mss.training.progress import progress_callbacks
from mixit_mss.training.schedules import lr_factor


class Datasets(NamedTuple):
    """What a run trains and validates on."""

    train: Dataset
    valid: Dataset


def train(
    system_class: type,
    model: nn.Module,
    datasets: Datasets,
    config: PretrainConfig | FinetuneConfig,
    folder: Path,
    *,
    identity: dict,
    devices: int | str = "auto",
) -> int:
    """Train ``model`` in place, with checkpoints and logs under ``folder``.

    At the end the model holds the average of the ``average_best`` checkpoints with the lowest
    validation loss.  Checkpoints found in ``folder`` are continued if they belong to the same
    ``identity`` (see :func:`mixit_mss.files.fingerprint`), else removed.

    Returns:
        The number of optimiser steps made in the whole run.
    """
    _quiet()
    run, checkpoints = config.run, folder / "checkpoints"
    if not is_done(checkpoints, identity):
        shutil.rmtree(checkpoints, ignore_errors=True)
        mark_done(checkpoints, identity)
    last = checkpoints / LAST
    if last.exists():
        print(f"going on from {last}")
    callbacks = checkpoint_callbacks(checkpoints, run.average_best)
    trainer = pl.Trainer(
        accelerator="auto",
        devices=devices,
        precision=_precision(run.precision),
        max_epochs=run.epochs,
        check_val_every_n_epoch=run.validate_every_epochs,
        gradient_clip_val=config.optimizer.clip_norm,
        callbacks=[*callbacks, *progress_callbacks()],
        plugins=[AtomicCheckpointIO()],
        logger=CSVLogger(folder, name=None, version="logs"),
        log_every_n_steps=min(50, run.steps_per_epoch),
        num_sanity_val_steps=0,
        enable_progress_bar=any(
            isinstance(c, pl.callbacks.ProgressBar) for c in progress_callbacks()
        ),
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    model.activation_checkpointing = run.activation_checkpointing
    if run.compile:
        for block in model.separator:
            block.band_path.compile()
            block.frame_path.compile()
    system = _system(system_class, model, datasets, config)
    trainer.fit(system, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    best = list(callbacks[1].best_k_models)
    model.load_state_dict(average_weights(best) if best else model.state_dict())
    return trainer.global_step


def _system(system_class: type, model: nn.Module, datasets: Datasets, config):
    run = config.run
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained,
        lr=config.optimizer.lr,
        weight_decay=config.optimizer.weight_decay,
        betas=config.optimizer.betas,
        # Lightning cannot clip what a fused optimiser unscales by itself
        fused=run.precision != "16-mixed",
    )
    shape = {**config.schedule.model_dump(), "steps_per_epoch": run.steps_per_epoch}
    schedule = LambdaLR(optimizer, lambda step: lr_factor(step, **shape))
    workers = {"num_workers": run.num_workers, "persistent_workers": run.num_workers > 0}
    length = run.steps_per_epoch * run.batch_size
    loaders = (
        DataLoader(
            datasets.train, run.batch_size, sampler=EpochSampler(length), drop_last=True, **workers
        ),
        DataLoader(datasets.valid, run.batch_size, **workers),
    )
    return system_class(
        model,
        optimizer,
        loaders,
        {"scheduler": schedule, "interval": "step"},
        config.model_dump(mode="json"),
        config.loss.model_dump(),
    )


def _precision(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


def _quiet() -> None:
    """Silence Lightning's advice that does not apply here."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning.*")
