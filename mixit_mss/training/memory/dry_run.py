"""Measure the memory of one real training step, in a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from mixit_mss.models.network import Network
from mixit_mss.training.memory.step import TrainingStep

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def dry_step(step: TrainingStep, device: str, batch: int, half: bool) -> int | None:
    """Peak memory in bytes of one training step on noise.

    On a GPU, the memory that torch allocates; on the CPU (Linux), the growth of the process.  The
    libraries themselves are not counted.

    Args:
        step: the network and its training.
        device: ``cuda`` or ``cpu``.
        batch: examples in the step.
        half: bfloat16 autocast, else float32.

    Returns:
        The bytes; None if the memory was not enough.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    work = (step, device, batch, half, there)
    process = context.Process(target=_weigh, args=work, daemon=True)
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        process.join()
        if process.exitcode is not None and process.exitcode < 0:  # killed: out of memory
            return None
        raise RuntimeError("the dry step failed; its traceback is above") from None
    finally:
        process.join()


def can_weigh(device: str) -> bool:
    """Whether :func:`dry_step` can measure memory on this system."""
    return device == "cuda" or STATUS.exists()


def _weigh(step: TrainingStep, device: str, batch: int, half: bool, pipe: Connection) -> None:
    try:
        pipe.send(_peak(step, device, batch, half))
    except (torch.OutOfMemoryError, MemoryError):
        pipe.send(None)
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the CPU allocator has no class of its own
            raise
        pipe.send(None)


def _peak(step: TrainingStep, device: str, batch: int, half: bool) -> int:
    torch.manual_seed(0)
    net = step.build()
    if device == "cpu":
        weights = sum(p.numel() * p.element_size() for p in net.parameters())
        with contextlib.suppress(OSError):
            CLEAR.write_text("5")  # resets the peak of resident memory
        before = _resident("VmRSS") - weights
    net.to(device)
    _step(step, net, device, batch, half)
    return torch.cuda.max_memory_allocated() if device == "cuda" else _resident("VmHWM") - before


def _step(step: TrainingStep, net: Network, device: str, batch: int, half: bool) -> None:
    """One step as in the middle of a run, with AdamW's moments and old gradients allocated."""
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    signals = 0.1 * torch.randn(
        batch, step.parts(net), net.num_channels, step.samples(net), device=device
    )
    with torch.autocast(device, torch.bfloat16, enabled=half):
        loss = step.loss(net, signals)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _resident(field: str) -> int:
    """Bytes of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return 1024 * int(lines[field].split()[0])
