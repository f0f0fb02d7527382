"""Separate long songs in chunks, and average the estimates where chunks overlap.

The paper cuts a song into 12-s chunks that overlap by 6 s (section IV-A).  Every sample is the mean
of the chunks that cover it, plain or weighted by a window.  The weights of a sample are normalised
to sum 1, so a network that only applies a gain gives exactly that gain up to both ends of the song.

A chunk starts at every hop.  The last chunk ends where the song ends: it has the full length but
overlaps its neighbour by more than the others do, and nothing is padded with silence.  A song
shorter than one chunk is one chunk of its own length.

With shifts, the song is separated once per shift, delayed by that much silence, and the estimates
are realigned and averaged: a network's estimates change slightly with the position of its frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

LONGEST_SHIFT = 0.5  # s
Model = Callable[[Tensor], Tensor]
"""Maps (batch, channel, sample) to (batch, source, channel, sample), as a network does."""


class RatedModel(Protocol):
    """A :data:`Model` that states its sample rate."""

    sample_rate: int

    def __call__(self, mixture: Tensor) -> Tensor:
        """Separate a batch."""


def _flat(chunk: int) -> Tensor:
    return torch.ones(chunk)


def _fade(chunk: int) -> Tensor:
    rise = torch.arange(1, chunk + 1, dtype=torch.float32)
    return torch.minimum(rise, rise.flip(0)) / ((chunk + 1) // 2)


WINDOWS = {"flat": _flat, "fade": _fade}
"""Weights of a chunk's samples, all positive: constant (the plain mean), or a triangle."""


def shift_samples(shifts: int, sample_rate: int) -> list[int]:
    """Delays in samples, spread evenly from 0 up to half a second."""
    if shifts < 1:
        raise ValueError(f"shifts must be at least 1, got {shifts}")
    return [round(LONGEST_SHIFT * sample_rate * index / shifts) for index in range(shifts)]


def separate(
    model: RatedModel,
    mixture: Tensor,
    chunk_seconds: float = 12.0,
    hop_seconds: float = 6.0,
    batch_size: int = 1,
    shifts: int = 1,
    window: str = "flat",
) -> Tensor:
    """Separate a song in memory; see :func:`separate_stream` for one that arrives in blocks.

    Args:
        model: maps (batch, channel, sample) to (batch, source, channel, sample); its
            ``sample_rate`` (Hz) turns seconds into samples.
        mixture: (channel, sample), at the model's rate, on any device.
        chunk_seconds: length of a chunk in seconds.
        hop_seconds: step between chunks in seconds, at most ``chunk_seconds``.
        batch_size: chunks per call of the model.
        shifts: number of delays of the song to average over.
        window: one of :data:`WINDOWS`.

    Returns:
        Estimates (source, channel, sample), as long as the mixture, on the mixture's device.
    """
    if mixture.ndim != 2 or mixture.shape[-1] == 0:
        raise ValueError(f"expected a mixture (channel, sample), got {tuple(mixture.shape)}")
    chunk, hop = (round(seconds * model.sample_rate) for seconds in (chunk_seconds, hop_seconds))
    delays = shift_samples(shifts, model.sample_rate)
    finished = separate_stream(model, [mixture], chunk, hop, batch_size, delays, window)
    return torch.cat(list(finished), dim=-1).to(mixture.device)


def separate_stream(
    model: Model,
    blocks: Iterable[Tensor],
    chunk: int,
    hop: int,
    batch_size: int = 1,
    shifts: Sequence[int] = (0,),
    window: str = "flat",
) -> Iterator[Tensor]:
    """Separate a song that arrives in blocks, and yield every sample as soon as it is final.

    Holds ``batch_size`` chunks and one block per shift in memory, however long the song is.  No
    gradients are recorded.

    Args:
        model: maps (batch, channel, sample) to (batch, source, channel, sample).
        blocks: (channel, sample) each, of any lengths, in the song's order.
        chunk: length of a chunk in samples.
        hop: step between chunks in samples, at most ``chunk``.
        batch_size: chunks per call of the model.
        shifts: delays in samples to average over.
        window: one of :data:`WINDOWS`.

    Yields:
        Estimates (source, channel, sample), float32 on the CPU, together as long as the song.
    """
    if not 0 < hop <= chunk:
        raise ValueError(f"the hop must be between 1 and the chunk's {chunk} samples, got {hop}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    copies = itertools.tee(blocks, len(shifts))
    streams = [
        _without_first(
            _separate_chunks(
                model, cut_chunks(_delayed(copy, shift), chunk, hop), batch_size, WINDOWS[window]
            ),
            shift,
        )
        for copy, shift in zip(copies, shifts, strict=True)
    ]
    yield from streams[0] if len(streams) == 1 else _mean_of(streams)


def _separate_chunks(
    model: Model,
    chunks: Iterable[tuple[int, Tensor]],
    batch_size: int,
    window: Callable[[int], Tensor],
) -> Iterator[Tensor]:
    mean, waiting = _OverlapMean(window), []
    for start, samples in chunks:
        waiting.append((start, samples))
        if len(waiting) == batch_size:
            yield from _separate_batch(model, waiting, mean)
            waiting = []
    if waiting:
        yield from _separate_batch(model, waiting, mean)
    yield from mean.final_before(None)


def _delayed(blocks: Iterable[Tensor], shift: int) -> Iterator[Tensor]:
    """The stream after ``shift`` samples of silence; an empty stream stays empty."""
    for index, block in enumerate(blocks):
        if index == 0 and shift:
            yield block.new_zeros(*block.shape[:-1], shift)
        yield block


def _without_first(blocks: Iterable[Tensor], samples: int) -> Iterator[Tensor]:
    """The stream without its first samples."""
    for block in blocks:
        if samples < block.shape[-1]:
            yield block[..., samples:]
        samples = max(0, samples - block.shape[-1])


def _mean_of(streams: list[Iterator[Tensor]]) -> Iterator[Tensor]:
    """The mean of equally long streams, whose blocks may differ in length."""
    held: list[Tensor] = [torch.zeros(0)] * len(streams)
    while True:
        for index, stream in enumerate(streams):
            if held[index].shape[-1] == 0:
                block = next(stream, None)
                if block is None:  # all end together
                    return
                held[index] = block
        ready = min(block.shape[-1] for block in held)
        yield torch.stack([block[..., :ready] for block in held]).mean(dim=0)
        held = [block[..., ready:] for block in held]


def cut_chunks(blocks: Iterable[Tensor], chunk: int, hop: int) -> Iterator[tuple[int, Tensor]]:
    """Cut a stream (channel, sample) into ``(start, chunk)``: one per hop, the last at the end.

    All chunks have the same length, except that a song shorter than ``chunk`` is one short chunk.
    """
    parts, held = [], 0  # blocks held since `base`, and their number of samples
    base = start = 0  # first sample held, and start of the next chunk
    for block in blocks:
        parts.append(block)
        held += block.shape[-1]
        if start + chunk > base + held:
            continue
        signal = torch.cat(parts, dim=-1)
        while start + chunk <= base + held:
            yield start, signal[..., start - base : start - base + chunk]
            start += hop
        # the last chunk, which ends with the song, starts after the chunk just cut
        keep = start - hop - base
        parts, held, base = [signal[..., keep:].clone()], held - keep, base + keep
    total = base + held
    covered = start - hop + chunk if start else 0
    if covered < total:
        signal = torch.cat(parts, dim=-1)
        last = max(total - chunk, 0)
        yield last, signal[..., last - base :]


class _OverlapMean:
    """Running sums, over chunks, of estimates and weights for each sample not yet yielded."""

    def __init__(self, window: Callable[[int], Tensor]) -> None:
        self.start = 0
        self.sum = self.weight = self._weights = torch.zeros(0)
        self._window = window

    def final_before(self, sample: int | None) -> Iterator[Tensor]:
        """Yield the mean of everything before ``sample`` (of everything if None)."""
        if sample == self.start or self.sum.shape[-1] == 0:
            return
        ready = self.sum.shape[-1] if sample is None else sample - self.start
        yield self.sum[..., :ready] / self.weight[:ready]
        self.sum, self.weight = self.sum[..., ready:].clone(), self.weight[ready:].clone()
        self.start += ready

    def add(self, start: int, estimates: Tensor) -> None:
        """Add a chunk (source, channel, sample) that begins at sample ``start`` of the song."""
        if self.sum.ndim == 1:
            self.sum = estimates.new_zeros(*estimates.shape[:-1], 0)
        if len(self._weights) != estimates.shape[-1]:
            self._weights = self._window(estimates.shape[-1])
        grown = start + estimates.shape[-1] - self.start - self.sum.shape[-1]
        self.sum = torch.nn.functional.pad(self.sum, (0, grown))
        self.weight = torch.nn.functional.pad(self.weight, (0, grown))
        covered = slice(start - self.start, start - self.start + estimates.shape[-1])
        self.sum[..., covered] += estimates * self._weights
        self.weight[covered] += self._weights


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
    """Device of the model's first parameter; the CPU for a callable without parameters."""
    parameters = getattr(model, "parameters", lambda: iter(()))
    first = next(iter(parameters()), None)
    return torch.device("cpu") if first is None else first.device
