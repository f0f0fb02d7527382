"""Long songs in chunks: separate each chunk, and average the estimates wherever chunks overlap.

The paper cuts a song into 12-s chunks that overlap by 6 s (section IV-A).  Every sample is the plain
mean of the chunks that cover it, so the weights sum to one everywhere and a network that only
applies a gain comes out as exactly that gain.

Chunks start at every hop.  The last chunk ends where the song ends, so it overlaps its neighbour by
more than the others do but holds as much music; nothing is padded with silence.  A song shorter
than one chunk is one chunk of its own length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]


def separate(
    model: Model,
    mixture: Tensor,
    chunk_seconds: float = 12.0,
    hop_seconds: float = 6.0,
    batch_size: int = 1,
) -> Tensor:
    """Separate a song that is in memory; see :func:`separate_stream` for one that is not.

    Args:
        model: maps (batch, channel, sample) to (batch, source, channel, sample); its
            ``sample_rate`` (Hz) turns seconds into samples.
        mixture: (channel, sample), at the model's rate, on any device.
        chunk_seconds: length of a chunk in seconds.
        hop_seconds: step between chunks in seconds, at most a chunk.
        batch_size: chunks given to the model at once.

    Returns:
        Estimates (source, channel, sample), as long as the mixture, on the mixture's device.
    """
    if mixture.ndim != 2 or mixture.shape[-1] == 0:
        raise ValueError(f"expected a mixture (channel, sample), got {tuple(mixture.shape)}")
    chunk, hop = (round(seconds * model.sample_rate) for seconds in (chunk_seconds, hop_seconds))
    finished = separate_stream(model, [mixture], chunk, hop, batch_size)
    return torch.cat(list(finished), dim=-1).to(mixture.device)


def separate_stream(
    model: Model, blocks: Iterable[Tensor], chunk: int, hop: int, batch_size: int = 1
) -> Iterator[Tensor]:
    """Separate a song that arrives in blocks, and give every sample out as soon as it is final.

    Memory holds ``batch_size`` chunks and one block, however long the song.  Gradients are not kept.

    Args:
        model: maps (batch, channel, sample) to (batch, source, channel, sample).
        blocks: (channel, sample) each, of any lengths, in the song's order.
        chunk: length of a chunk in samples.
        hop: step between chunks in samples, at most a chunk.
        batch_size: chunks given to the model at once.

    Yields:
        Estimates (source, channel, sample), float32 on the CPU; joined, they are as long as the song.
    """
    if not 0 < hop <= chunk:
        raise ValueError(f"the hop must be between 1 and the chunk's {chunk} samples, got {hop}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    mean, waiting = _OverlapMean(), []
    for start, samples in cut_chunks(blocks, chunk, hop):
        waiting.append((start, samples))
        if len(waiting) == batch_size:
            yield from _separate_batch(model, waiting, mean)
            waiting = []
    if waiting:
        yield from _separate_batch(model, waiting, mean)
    yield from mean.final_before(None)


def cut_chunks(blocks: Iterable[Tensor], chunk: int, hop: int) -> Iterator[tuple[int, Tensor]]:
    """Cut a stream (channel, sample) into ``(start, chunk)``: one every hop, the last at the end.

    Only a song shorter than ``chunk`` gives a chunk of another length.
    """
    parts, held = [], 0  # what arrived since `base`, and how many samples it is
    base = start = 0  # first sample held, and where the next chunk starts
    for block in blocks:
        parts.append(block)
        held += block.shape[-1]
        if start + chunk > base + held:
            continue
        signal = torch.cat(parts, dim=-1)
        while start + chunk <= base + held:
            yield start, signal[..., start - base : start - base + chunk]
            start += hop
        # a last chunk that ends with the song starts after the chunk just cut
        keep = start - hop - base
        parts, held, base = [signal[..., keep:].clone()], held - keep, base + keep
    total = base + held
    covered = start - hop + chunk if start else 0
    if covered < total:
        signal = torch.cat(parts, dim=-1)
        last = max(total - chunk, 0)
        yield last, signal[..., last - base :]


class _OverlapMean:
    """Running sum and count of the chunks that cover each sample not yet given out."""

    def __init__(self) -> None:
        self.start, self.sum, self.count = 0, None, None

    def final_before(self, sample: int | None) -> Iterator[Tensor]:
        """Give out the mean of everything before ``sample`` (of everything if None)."""
        if self.sum is None or sample == self.start:
            return
        ready = self.sum.shape[-1] if sample is None else sample - self.start
        yield self.sum[..., :ready] / self.count[:ready]
        self.sum, self.count = self.sum[..., ready:].clone(), self.count[ready:].clone()
        self.start += ready

    def add(self, start: int, estimates: Tensor) -> None:
        """Add a chunk (source, channel, sample) whose first sample is ``start`` of the song."""
        if self.sum is None:
            self.sum = estimates.new_zeros(*estimates.shape[:-1], 0)
            self.count = estimates.new_zeros(0)
        grown = start + estimates.shape[-1] - self.start - self.sum.shape[-1]
        self.sum = torch.nn.functional.pad(self.sum, (0, grown))
        self.count = torch.nn.functional.pad(self.count, (0, grown))
        covered = slice(start - self.start, start - self.start + estimates.shape[-1])
        self.sum[..., covered] += estimates
        self.count[covered] += 1


def _separate_batch(
    model: Model, chunks: list[tuple[int, Tensor]], mean: _OverlapMean
) -> Iterator[Tensor]:
    batch = torch.stack([samples for _, samples in chunks])
    with torch.no_grad():
        estimates = model(batch.to(device_of(model))).float().cpu()
    if estimates.ndim != 4 or estimates.shape[0] != len(chunks):
        raise ValueError(
            "the model must return (batch, source, channel, sample); for a mixture "
            f"{tuple(batch.shape)} it returned {tuple(estimates.shape)}"
        )
    if estimates.shape[-1] != batch.shape[-1]:
        raise ValueError(
            f"the model turned {batch.shape[-1]} samples into {estimates.shape[-1]}; "
            "a chunk must keep its length"
        )
    for (start, _), estimate in zip(chunks, estimates, strict=True):
        yield from mean.final_before(start)
        mean.add(start, estimate)


def device_of(model: Model) -> torch.device:
    """Where the model's first parameter lives; the CPU for a callable without parameters."""
    parameters = getattr(model, "parameters", lambda: iter(()))
    first = next(iter(parameters()), None)
    return torch.device("cpu") if first is None else first.device
