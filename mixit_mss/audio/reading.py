"""Read audio files as waveforms: probe, read a range, stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np

from mixit_mss.audio import mp3
from mixit_mss.audio.decoding import SLACK, Source, planar
from mixit_mss.audio.headers import AudioError

Frames = TypeVar("Frames", bound="int | None")

# A stereo block of half a MiB stays in a core's cache while it is measured and encoded.
BLOCK_FRAMES = 1 << 16
LONGEST_BLOCK = 1 << 20  # of a range read as one block
OGG_SUFFIXES = (".ogg", ".oga", ".opus", ".spx")


@dataclass(frozen=True)
class AudioInfo(Generic[Frames]):
    """Properties of a file: ``frames`` are samples per channel, ``sample_rate`` is in Hz.

    ``frames`` is None if the header does not state it exactly and it was not counted.
    """

    path: str
    frames: Frames
    sample_rate: int
    channels: int


@overload
def probe(path: str | Path, count: Literal[True] = True) -> AudioInfo[int]: ...
@overload
def probe(path: str | Path, count: bool) -> AudioInfo[int | None]: ...
def probe(path: str | Path, count: bool = True) -> AudioInfo[Any]:
    """Length, rate and channels of a file, from its header alone if libsndfile reads it.

    Args:
        path: the file.
        count: search the file for others joined to it, and count the samples of a file that ffmpeg
            reads by decoding it, because such headers round the length.

    Raises:
        AudioError: the file is missing, empty or not audio.
    """
    with AudioStream(path, only_first=not count) as stream:
        frames = stream.frames
        if frames is None and count:
            frames = sum(map(len, stream.raw()))
        elif frames is None:
            said = mp3.promise(path)
            frames = said.frames if said.trusted else None
        return AudioInfo(str(path), frames, stream.sample_rate, stream.channels)


def read(
    path: str | Path, start: int = 0, frames: int | None = None, stream: int | None = None
) -> tuple[np.ndarray, int]:
    """A range of a file: (channel, sample) float32, and the sample rate in Hz.

    Args:
        path: the file.
        start: first sample.
        frames: samples per channel; None reads to the end.
        stream: see :func:`stream`.

    Raises:
        AudioError: the file cannot be read, ends before ``start + frames``, or is truncated.
    """
    if frames is None:
        samples, blocks = _range(path, start, None, stream, False)
        if blocks.cut:
            raise AudioError(f"'{path}' {blocks.cut}")
        return samples, blocks.sample_rate
    for only_first in (True, False):  # most files are not joined to others
        samples, blocks = _range(path, start, start + frames, stream, only_first)
        if samples.shape[1] == frames:
            return samples, blocks.sample_rate
    raise AudioError(
        f"'{path}' ends before sample {start + frames}; "
        "it is cut short, or was changed after it was listed"
    )


def _range(
    path: str | Path, start: int, stop: int | None, stream: int | None, only_first: bool
) -> tuple[np.ndarray, AudioStream]:
    size = BLOCK_FRAMES if stop is None else min(max(1, stop - start), LONGEST_BLOCK)
    with AudioStream(path, size, stream, start, stop, only_first) as blocks:
        parts = list(blocks)
        if len(parts) == 1:
            return parts[0], blocks
        return np.concatenate([np.zeros((blocks.channels, 0), np.float32), *parts], axis=1), blocks


class AudioStream:
    """Result of :func:`stream`: iterate once; closes itself at the end or on leaving ``with``.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        integers: whether the file holds 16-bit samples; :meth:`raw` then yields int16.
        frames: samples per channel according to the header; None if ffmpeg decodes, since the
            headers of its formats round.
    """

    def __init__(
        self,
        path: str | Path,
        block_frames: int = BLOCK_FRAMES,
        stream: int | None = None,
        start: int = 0,
        stop: int | None = None,
        only_first: bool = False,
    ):
        self._source = Source(path, stream, start, stop, only_first)
        self._block_frames = block_frames
        self._path = path
        self.sample_rate, self.channels = self._source.sample_rate, self._source.channels
        self.frames, self.integers = self._source.frames, self._source.integers

    @property
    def warnings(self) -> list[str]:
        """After iteration, the lines in which the decoder reported damage.

        A song with broken frames often decodes without an exception; only these lines show it.
        """
        return self._source.warnings

    @property
    def cut(self) -> str:
        """After iteration, what is missing, as words to follow the file name; empty if complete."""
        return self._source.cut

    @property
    def notes(self) -> list[str]:
        """After iteration, sentences on what of the file was used, if that is not simply all."""
        cut = [f"'{self._path}' {self.cut}; what is there is used"] if self.cut else []
        return [*cut, *self._source.notes]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(planar, self.raw())

    def raw(self) -> Iterator[np.ndarray]:
        """The blocks as decoded: (sample, channel), int16 or float32; see :func:`planar`."""
        with self:
            yield from self._source.blocks(self._block_frames)

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *_) -> None:
        self._source.close()


def stream(
    path: str | Path, block_frames: int = BLOCK_FRAMES, stream: int | None = None
) -> AudioStream:
    """Stream a whole file in blocks, (channel, sample) float32, in bounded memory.

    Args:
        path: the file.
        block_frames: samples per block; the last one may be shorter.
        stream: number of the audio stream, from 1, in a video with several; None takes ffmpeg's
            choice: the one that is marked as default, or has the most channels.

    Raises:
        AudioError: the file cannot be read (raised at once), or a sample is NaN or infinite (raised
            while iterating).
    """
    return AudioStream(path, block_frames, stream)


def decode_warnings(path: str | Path) -> list[str]:
    """Decode a whole file and return the lines in which the decoder reported damage."""
    with stream(path) as blocks:
        for _ in blocks.raw():
            pass
    return blocks.warnings


def header_slack(path: str | Path) -> int:
    """Number of samples by which a file may be shorter or longer than its header states."""
    name = str(path).lower()
    return SLACK["mp3"] if name.endswith(".mp3") else SLACK["ogg"] * name.endswith(OGG_SUFFIXES)


def to_channels(waveform: np.ndarray, num_channels: int) -> np.ndarray:
    """Change the number of channels of (channel, sample): duplicate mono, or average to mono.

    Raises:
        ValueError: any other change, since no single rule is right for it.
    """
    have = waveform.shape[0]
    if have == num_channels:
        return waveform
    if have == 1:
        return np.repeat(waveform, num_channels, axis=0)
    if num_channels == 1:
        return waveform.mean(axis=0, keepdims=True, dtype=waveform.dtype)
    raise ValueError(f"no rule to make {num_channels} channels of a waveform {waveform.shape}")


def to_samples(seconds: float, sample_rate: int) -> int:
    """Whole samples in ``seconds``, rounded down so that sums of lengths never exceed the end."""
    return int(seconds * sample_rate + 1e-6)
