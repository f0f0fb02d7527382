"""Find the largest batch that fits a device, by trial before the run starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from mixit_mss.errors import UserError
from mixit_mss.files import write_json
from mixit_mss.machine import free_bytes
from mixit_mss.training.config import FinetuneConfig
from mixit_mss.training.hardware import Hardware, divisors, is_first_process
from mixit_mss.training.memory.dry_run import dry_step
from mixit_mss.training.memory.step import TrainingStep, training_step


def batch_at_once(folder: Path, hardware: Hardware, settings, **step) -> int | None:
    """The batch per device: as requested, or found by trial and stored in ``folder``.

    Args:
        folder: of the experiment.
        hardware: the devices, and the requested batch.
        settings: of the training.
        step: arguments of :func:`mixit_mss.training.memory.step.training_step` except ``stage``.

    Returns:
        The batch, or None for a device's whole share.

    Raises:
        UserError: not even one example fits, or the free memory is unknown.
    """
    wished, share = hardware.batch_per_device, hardware.share(settings.run.batch_size)
    cuda = hardware.accelerator == "cuda"
    if wished or not (cuda or hardware.find_batch):
        return wished
    kind = "finetune" if isinstance(settings, FinetuneConfig) else "pretrain"
    work = training_step(step.pop("config"), stage=kind, **step)
    device = torch.cuda.get_device_name() if cuda else "cpu"
    half = settings.run.precision in (
        ("auto", "bf16-mixed", "16-mixed") if cuda else ("bf16-mixed",)
    )
    key = {"step": repr(work), "device": device, "share": share, "half": half}
    note = folder / "batch_per_device.json"

    def remembered() -> int | None:
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
            return int(found["batch"]) if found["for"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    while (batch := remembered()) is None:
        if not is_first_process():  # the first one searches
            time.sleep(1)
            continue
        room = torch.cuda.get_device_properties(0).total_memory if cuda else free_bytes()
        if not room:
            raise UserError("--find-batch: this system does not tell its free memory; set a size")
        peak = partial(_peak, work, "cuda" if cuda else "cpu", half)
        batch = largest_batch(share, peak, int(0.9 * room))
        write_json(note, {"batch": batch, "for": key})
        print(f"batch per device: {batch} of {share}, found by trial on {device}", flush=True)
    return batch


def _peak(work: TrainingStep, device: str, half: bool, batch: int) -> int | None:
    return dry_step(work, device, batch, half)


def largest_batch(share: int, peak: Callable[[int], int | None], room: int) -> int:
    """The largest divisor of ``share`` whose step fits.

    Two small steps show how the memory grows with the batch.  Then the largest batch that should
    fit is tried, and smaller ones if it does not.

    Args:
        share: examples per step and device.
        peak: maps a batch to the bytes of its step, None if it does not fit.
        room: bytes available to a step.

    Raises:
        UserError: not even one example fits.
    """
    one = peak(1)
    if one is None or one > room:
        raise UserError(
            "a step with one example does not fit into the memory of this device; set "
            "run.activation_checkpointing: true, shorten run.chunk_seconds, or take a smaller network"
        )
    candidates = [n for n in divisors(share) if n > 1]
    if not candidates:
        return 1
    two = peak(candidates[0])
    if two is None or two > room:
        return 1
    per_example = max(1.0, (two - one) / (candidates[0] - 1))
    for batch in reversed(candidates[1:]):
        if one + (batch - 1) * per_example <= room:
            grown = peak(batch)
            if grown is not None and grown <= room:
                return batch
    return candidates[0]
