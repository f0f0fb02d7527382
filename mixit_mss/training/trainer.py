"""One training run, from configs to trained weights; a killed run resumes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.strategies import DDPStrategy
from torch.optim.lr_scheduler import LambdaLR

from mixit_mss.disk import require_space
from mixit_mss.errors import UserError
from mixit_mss.files import is_temporary, sweep
from mixit_mss.models.network import Network
from mixit_mss.training.checkpoints import (
    AtomicCheckpointIO,
    BestCheckpoints,
    ResumeCheckpoints,
    average_weights,
    find_checkpoint,
    remove_others,
)
from mixit_mss.training.config import FinetuneConfig, Precision, PretrainConfig, Run
from mixit_mss.training.hardware import Hardware, is_first_process
from mixit_mss.training.health import BadSteps
from mixit_mss.training.history import DataWait, History, progress_bar
from mixit_mss.training.loaders import Datasets, Loaders
from mixit_mss.training.records import TENSORBOARD, Records
from mixit_mss.training.schedules import lr_factor
from mixit_mss.training.systems import TrainingSystem

# weights, two moments of AdamW and a moving average of the weights, in float32
BYTES_PER_PARAMETER = 16


def train(
    system_class: type[TrainingSystem],
    model: Network,
    datasets: Datasets,
    config: PretrainConfig | FinetuneConfig,
    folder: Path,
    *,
    records: Records,
    seed: int = 0,
    hardware: Hardware | None = None,
    batch_per_device: int | None = None,
    more_callbacks: Sequence[Callback] = (),
) -> int | None:
    """Train ``model`` in place, with checkpoints and logs under ``folder``.

    At the end the model holds the average of the ``average_best`` checkpoints with the lowest
    validation loss.  A run resumes from its own checkpoints; those of other runs are kept until
    this run is over.

    Args:
        system_class: the training step.
        model: the network.
        datasets: to train and validate on.
        config: the settings.
        folder: of the experiment.
        records: of the run.
        seed: of the network's random draws.
        hardware: the devices; one by default.
        batch_per_device: examples per forward pass on a device; by default its whole share.
        more_callbacks: additional callbacks, called before anything is saved.

    Returns:
        The number of optimiser steps of the whole run; None on devices other than the first, whose
        model does not get the average.

    Raises:
        UserError: the batch or a device is impossible, or the disk has too little space.
        Preempted: a signal stopped the run; the same call resumes it.
    """
    _quiet()
    run, hardware = config.run, hardware or Hardware()
    share = hardware.share(run.batch_size)
    at_once = batch_per_device or share
    checkpoints = folder / "checkpoints" / records.folder.name  # one folder per run
    _prepare(checkpoints, run, model)
    found = find_checkpoint(checkpoints, model)
    done = found.step if found else 0
    if found and is_first_process():
        print(f"going on from {found.path}, step {done}", flush=True)

    best = BestCheckpoints(checkpoints, run.average_best)
    trainer = _trainer(
        folder,
        records,
        done,
        config,
        hardware,
        [
            *more_callbacks,
            best,
            ResumeCheckpoints(checkpoints, hardware.checkpoint_minutes, run.steps_per_epoch),
        ],
        accumulate=share // at_once,
    )
    _arrange(model, run)
    loaders = Loaders(datasets, run, at_once, hardware.world_size, done)
    songs_of = getattr(datasets.train, "songs_of", None)
    bad_steps = BadSteps(records, run.batch_size, run.max_bad_steps, songs_of)
    system = _system(system_class, model, loaders, config, trainer.precision, seed, bad_steps)
    song_of = getattr(datasets.valid, "song_of", None)
    if song_of is not None:
        system.song_of = torch.as_tensor(song_of)
    trainer.fit(system, ckpt_path=str(found.path) if found else None, weights_only=True)
    if not trainer.is_global_zero:
        return None
    paths = list(best.best_k_models)
    model.load_state_dict(average_weights(paths, model) if paths else model.state_dict())
    remove_others(checkpoints)
    records.forget_others()
    return trainer.global_step


def _trainer(
    folder: Path,
    records: Records,
    done: int,
    config: PretrainConfig | FinetuneConfig,
    hardware: Hardware,
    saving: list[Callback],
    accumulate: int,
) -> pl.Trainer:
    """Lightning's trainer; callbacks that save come after those whose state they save."""
    run, accelerator, wait = config.run, hardware.accelerator, DataWait()
    if accelerator == "cuda" and run.tf32:
        torch.set_float32_matmul_precision("high")
    average = [EMAWeightAveraging(decay=run.ema_decay)] if run.ema_decay else []
    history = History(records, run.steps_per_epoch, run.epochs * run.steps_per_epoch, wait)
    return pl.Trainer(
        accelerator=accelerator,
        devices=hardware.ngpu,
        num_nodes=hardware.num_nodes,
        strategy=_strategy(hardware),
        precision=_precision(run.precision, accelerator),
        max_epochs=run.epochs,
        accumulate_grad_batches=accumulate,
        check_val_every_n_epoch=run.validate_every_epochs,
        gradient_clip_val=config.optimizer.clip_norm,
        callbacks=[*average, history, *saving, *progress_bar()],
        plugins=[AtomicCheckpointIO()],
        logger=_loggers(folder, records, done, hardware),
        profiler=wait,
        log_every_n_steps=min(50, run.steps_per_epoch * accumulate),
        num_sanity_val_steps=0,
        enable_progress_bar=bool(progress_bar()),
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def _prepare(checkpoints: Path, run: Run, model: Network) -> None:
    if not is_first_process():
        return
    if not checkpoints.exists() and checkpoints.parent.exists():
        print(
            "config, data or seed are not those of the checkpoints in "
            f"{checkpoints.parent}: starting anew; they stay until this run is over",
            flush=True,
        )
    checkpoints.mkdir(parents=True, exist_ok=True)
    size = BYTES_PER_PARAMETER * model.num_parameters
    sweep(checkpoints)
    kept = len([path for path in checkpoints.glob("*.ckpt") if not is_temporary(path.name)])
    require_space(
        checkpoints, size * max(1, run.average_best + 3 - kept), "the checkpoints of this run"
    )


def _strategy(hardware: Hardware) -> DDPStrategy | str:
    if hardware.world_size == 1:
        return "auto"
    # the network's buffers are constants: no need to broadcast them before every pass
    return DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


def _loggers(folder: Path, records: Records, done: int, hardware: Hardware) -> list:
    # steps logged after the last checkpoint will be logged again
    loggers: list = [
        TensorBoardLogger(
            records.folder,
            name=None,
            version=TENSORBOARD,
            default_hp_metric=False,
            purge_step=done,
        )
    ]
    if hardware.wandb:
        try:
            import wandb  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError("--wandb: not installed; pip install wandb") from error
        from pytorch_lightning.loggers import WandbLogger

        loggers.append(
            WandbLogger(
                project="mixit_mss",
                name=folder.name,
                save_dir=folder,
                id=f"{folder.name}-{records.folder.name}",
                resume="allow",
            )
        )
    return loggers


def _arrange(model: Network, run: Run) -> None:
    """Set the options of the network that trade memory for time."""
    model.activation_checkpointing = run.activation_checkpointing
    if run.compile:
        for block in model.blocks():
            for part in block.children():
                part.compile()


def _system(
    system_class: type[TrainingSystem],
    model: Network,
    loaders: Loaders,
    config: PretrainConfig | FinetuneConfig,
    precision: str,
    seed: int,
    bad_steps: BadSteps,
) -> TrainingSystem:
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=config.optimizer.lr,
        weight_decay=config.optimizer.weight_decay,
        betas=config.optimizer.betas,
        # with a fused optimiser, gradients would be clipped before they are unscaled
        fused=precision != "16-mixed",
    )
    shape = {**config.schedule.model_dump(), "steps_per_epoch": config.run.steps_per_epoch}
    schedule = LambdaLR(optimizer, lambda step: lr_factor(step, **shape))
    return system_class(
        model,
        optimizer,
        loaders,
        {"scheduler": schedule, "interval": "step"},
        config.model_dump(mode="json"),
        config.loss.model_dump(),
        seed,
        bad_steps,
    )


def _precision(wanted: Literal["auto"] | Precision, accelerator: str) -> Precision:
    if wanted != "auto":
        return wanted
    if accelerator == "cpu":
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


def _quiet() -> None:
    """Silence Lightning's advice that does not apply here."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning.*")
