"""What a training run will cost: parameters, arithmetic, memory, time, audio and disk.

Nothing is trained.  The FLOPs are counted on tensors without content; the memory of one step is
measured or estimated; everything else follows from the config.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch

from mixit_mss.corpora import fma, musdb18hq
from mixit_mss.data.manifest import Manifest
from mixit_mss.disk import in_words
from mixit_mss.errors import UserError
from mixit_mss.fetch.archives import Archive
from mixit_mss.machine import free_bytes
from mixit_mss.training.config import (
    PretrainConfig,
)
from mixit_mss.training.memory.dry_run import can_weigh, dry_step
from mixit_mss.training.memory.step import TrainingStep
from mixit_mss.training.memory.step_cost import COUNTED, StepCost, simulate_step

CORPORA: dict[str, Archive] = {
    **{f"fma_{subset}": fma.ARCHIVES[subset] for subset in fma.SUBSETS},
    "musdb18hq": musdb18hq.ARCHIVE,
}
"""The corpora of the paper, by the names of their archives."""

DRY_RUN_BYTES = 2**30
"""Approximate memory limit of a dry step on the CPU; larger steps are scaled from smaller ones."""


class Memory(NamedTuple):
    """Peak memory of a step on one device, and its source."""

    bytes: int
    source: str  # measured-cuda, measured-cpu or estimated
    note: str


class Disk(NamedTuple):
    """Disk space of a corpus."""

    corpus: str
    bytes: int
    note: str


@dataclass(frozen=True)
class Plan:
    """The cost of a run; FLOPs are those of a whole optimiser step, over all devices."""

    stage: str
    sources: int
    parameters: int
    trainable: int
    batch_size: int
    batch_per_device: int
    chunk_seconds: float
    forward_flops: int
    backward_flops: int
    flops_per_step: int
    memory_bytes: int
    memory_source: str
    memory_note: str
    steps: int
    network_hours: float
    drawn_hours: float
    tflops: float
    gpu_hours: float
    ngpu: int
    days: float
    corpus: str | None
    corpus_bytes: int | None
    corpus_note: str | None
    counted: str = COUNTED


def make_plan(
    step: TrainingStep,
    *,
    ngpu: int = 1,
    tflops: float = 100.0,
    dry_run: bool = True,
    disk: Disk | None = None,
) -> Plan:
    """Estimate the cost of a training run.

    Args:
        step: the network and its training.
        ngpu: devices that share the batch.
        tflops: 10^12 FLOP/s that a device sustains.
        dry_run: whether one step may be run to measure its memory.
        disk: disk space of the corpus.

    Raises:
        UserError: the numbers are impossible.
    """
    run = step.config.run
    if ngpu < 1 or run.batch_size % ngpu:
        raise UserError(
            f"a batch_size of {run.batch_size} cannot be shared by {ngpu} devices: choose a number "
            "of devices (--ngpu) that divides it"
        )
    if not tflops > 0:
        raise UserError(f"--tflops must be positive, got {tflops:g}")
    # a run with automatic precision is planned for a GPU
    cost = simulate_step(step, half=_half(run.precision, "cuda"))
    per_device = run.batch_size // ngpu
    memory = weigh(step, cost, per_device, dry_run)
    steps = run.epochs * run.steps_per_epoch
    hours = steps * run.batch_size * run.chunk_seconds / 3600
    forward, backward = (
        run.batch_size * flops for flops in (cost.forward_flops, cost.backward_flops)
    )
    gpu_hours = steps * (forward + backward) / (tflops * 1e12) / 3600
    # data-parallel training exchanges a copy of the gradients
    buckets = 4 * cost.trainable if ngpu > 1 else 0
    return Plan(
        stage="pretrain" if isinstance(step.config, PretrainConfig) else "finetune",
        sources=step.network["num_sources"],
        parameters=cost.parameters,
        trainable=cost.trainable,
        batch_size=run.batch_size,
        batch_per_device=per_device,
        chunk_seconds=run.chunk_seconds,
        forward_flops=forward,
        backward_flops=backward,
        flops_per_step=forward + backward,
        memory_bytes=memory.bytes + buckets,
        memory_source=memory.source,
        memory_note=memory.note,
        steps=steps,
        network_hours=hours,
        drawn_hours=hours * cost.parts,
        tflops=tflops,
        gpu_hours=gpu_hours,
        ngpu=ngpu,
        days=gpu_hours / ngpu / 24,
        corpus=disk.corpus if disk else None,
        corpus_bytes=disk.bytes if disk else None,
        corpus_note=disk.note if disk else None,
    )


def weigh(step: TrainingStep, cost: StepCost, batch: int, dry_run: bool) -> Memory:
    """Memory of a step with ``batch`` examples: measured if possible, else estimated.

    A step that is too large for the device is measured with fewer examples and scaled.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    reason = "no dry step was asked for"
    if dry_run:
        reason = f"no dry step: the memory of this {device} cannot be told or is too small"
        half = _half(step.config.run.precision, device)
        examples = _examples(step, cost, batch, device) if can_weigh(device) else 0
        while examples:
            measured = dry_step(step, device, examples, half)
            if measured is not None:
                return _measured(cost, measured, examples, batch, device, half)
            examples //= 2
    half = _half(step.config.run.precision, "cuda")
    note = (
        f"weights, gradients, AdamW's two moments and the tensors alive at the peak of the step, "
        f"{_precision(half)}, without the loss and the libraries; {reason}"
    )
    return Memory(cost.bytes(batch), "estimated", note)


def files_on_disk(manifest: Manifest) -> Disk:
    """Bytes of the audio files of a manifest, every file once."""
    paths = sorted(set(manifest.tracks["path"]))
    note = f"{len(paths):,} audio files, {manifest.hours:,.1f} h"
    return Disk(manifest.name, sum(os.path.getsize(path) for path in paths), note)


def archive_on_disk(corpus: str) -> Disk:
    """Bytes of the archive of one of :data:`CORPORA`."""
    archive = CORPORA[corpus]
    return Disk(corpus, archive.size, f"the archive; unpacked {in_words(archive.extracted_size)}")


def table(plan: Plan) -> str:
    """The plan as text."""
    gigaflops = [f"{n / 1e9:,.1f}" for n in (plan.forward_flops, plan.backward_flops)]
    rows = [
        ("training", f"{plan.stage}, {plan.sources} outputs, {plan.chunk_seconds:g}-s chunks"),
        ("parameters", f"{plan.parameters:,}, of which {plan.trainable:,} are trained"),
        (
            "batch",
            f"{plan.batch_size}, on {plan.ngpu} device(s) of {plan.batch_per_device} each",
        ),
        (
            "arithmetic",
            f"{plan.flops_per_step / 1e9:,.1f} GFLOP per step: {gigaflops[0]} forward, "
            f"{gigaflops[1]} backward",
        ),
        ("", f"counted: {plan.counted}"),
        ("memory", f"{in_words(plan.memory_bytes)} per device, {plan.memory_source}"),
        ("", plan.memory_note),
        ("steps", f"{plan.steps:,}"),
        (
            "audio",
            f"{plan.network_hours:,.1f} h through the network, sums of {plan.drawn_hours:,.1f} h",
        ),
        (
            "time",
            f"{plan.gpu_hours:,.3g} GPU-hours if a device sustains {plan.tflops:g} TFLOP/s "
            f"(assumed: --tflops); {plan.days:,.3g} days on {plan.ngpu} device(s)",
        ),
    ]
    if plan.corpus_bytes is not None:
        rows.append(("disk", f"{in_words(plan.corpus_bytes)}: {plan.corpus}, {plan.corpus_note}"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def as_dict(plan: Plan) -> dict:
    """The plan as a dict."""
    return asdict(plan)


def _examples(step: TrainingStep, cost: StepCost, batch: int, device: str) -> int:
    """Number of examples in a dry step: all on a GPU; few, or none, on the CPU."""
    if device == "cuda":
        return batch
    precision = step.config.run.precision
    if _half(precision, "cpu") != _half(precision, "cuda"):
        cost = simulate_step(step, half=False)
    free = free_bytes()
    # the estimate lacks the loss, and memory that is not returned to the system
    if free is None or 2 * cost.bytes(1) > free:
        return 0
    return max(1, min(batch, (DRY_RUN_BYTES - cost.fixed_bytes) // cost.example_bytes))


def _measured(cost: StepCost, measured: int, examples: int, batch: int, device, half) -> Memory:
    note = f"a dry step on this {device}, {_precision(half)}, with "
    if examples == batch:
        return Memory(measured, f"measured-{device}", f"{note}the whole batch of a device")
    fixed = min(measured, 4 * (cost.parameters + 3 * cost.trainable))
    scaled = fixed + (measured - fixed) * batch // examples
    return Memory(scaled, f"measured-{device}", f"{note}{examples} of {batch} examples, scaled")


def _half(precision: str, device: str) -> bool:
    """Whether a run on ``device`` computes in half precision, as the trainer chooses."""
    return device == "cuda" if precision == "auto" else precision != "32-true"


def _precision(half: bool) -> str:
    return "half precision with float32 weights" if half else "float32"
