"""Songs as streams: block by block from file to file, so that memory does not grow with length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from mixit_mss.data import audio
from mixit_mss.errors import UserError

BLOCK_SECONDS = 4.0
CONTEXT_SECONDS = 0.5  # far beyond the reach of any resampling filter in use
SUBTYPES = {"wav": "FLOAT", "flac": "PCM_24"}  # float never clips; FLAC knows integers only


def read_sum(paths: Iterable[Path]) -> Iterator[Tensor]:
    """Blocks (channel, sample) of the sum of several files of one rate and length.

    One file, as a rule: the mixture.  Where a corpus holds stems only, the mixture is their sum.
    """
    paths = list(paths)
    block = round(BLOCK_SECONDS * audio.probe(paths[0]).sample_rate)
    streams = [audio.stream(path, block) for path in paths]
    try:
        for parts in zip(*streams, strict=True):
            yield torch.from_numpy(np.sum(parts, axis=0, dtype=np.float32))
    except ValueError as error:
        raise UserError(
            f"{paths[0].parent}: {', '.join(path.name for path in paths)} have different lengths "
            "or channels, so they do not add up to a mixture"
        ) from error


def resample_stream(blocks: Iterable[Tensor], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """Resample a song that arrives in blocks (channel, sample); the same as resampling it whole.

    With the rates in lowest terms p : q, a signal that starts a multiple of p samples later is
    resampled onto the same grid a multiple of q later.  So windows that start at multiples of p,
    with enough context on both sides, give exactly the samples of the whole song.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    divisor = math.gcd(from_rate, to_rate)
    p, q = from_rate // divisor, to_rate // divisor
    step = p * math.ceil(BLOCK_SECONDS * from_rate / p)
    context = p * math.ceil(CONTEXT_SECONDS * from_rate / p)
    held, base, done = None, 0, 0  # what is held starts at `base`; all before `done` was given out
    for block in blocks:
        held = block if held is None else torch.cat([held, block], dim=-1)
        while base + held.shape[-1] >= done + step + context:
            window = _resample(held[..., : done + step + context - base], from_rate, to_rate)
            first = (done - base) // p * q
            yield window[..., first : first + step // p * q]
            done += step
            keep_from = max(done - context, 0)
            held, base = held[..., keep_from - base :].clone(), keep_from
    if held is not None and base + held.shape[-1] > done:
        yield _resample(held, from_rate, to_rate)[..., (done - base) // p * q :]


def _resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    return torch.as_tensor(audio.resample(waveform.numpy(), from_rate, to_rate))


class StreamWriter:
    """An audio file that grows block by block, no longer than ``limit`` samples if one is set."""

    def __init__(self, path: Path, sample_rate: int, channels: int):
        format_ = path.suffix[1:].lower()
        self._file = soundfile.SoundFile(
            path, "w", sample_rate, channels, subtype=SUBTYPES[format_], format=format_.upper()
        )
        self.written = 0

    def write(self, waveform: Tensor) -> None:
        """Append (channel, sample), full scale 1; an integer format clips beyond it."""
        self._file.write(waveform.T.numpy())
        self.written += waveform.shape[-1]

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
