"""One song, streaming: read, resample, separate in chunks, resample back, write.

Each step buffers only the part of the song that it needs, so memory does not grow with the song's
length.  Stems have the song's own sample rate, channel count and exact length.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixit_mss.audio import resample_blocks
from mixit_mss.audio.encoding import ENCODINGS, StemWriter, check_encoding, open_stem
from mixit_mss.audio.ffmpeg import describe
from mixit_mss.errors import UserError
from mixit_mss.models.network import Network
from mixit_mss.separation.overlap_add import Model, device_of, separate_stream, shift_samples
from mixit_mss.separation.request import Options, output_files
from mixit_mss.separation.songs import MixtureStream, Song

# Songs with up to this many channels are separated in one pass.  Of more channels, one group after
# another is separated, so that 64 channels need little more memory than 2.
CHANNELS_AT_ONCE = 8


class Written(NamedTuple):
    """The written length in seconds, and notes for the listener."""

    seconds: float
    notes: list[str]


def separate_song(
    model: Network,
    song: Song,
    folder: Path,
    options: Options,
    advance: Callable[[int, int | None], None] = lambda samples, total: None,
) -> list[str]:
    """Separate one song as a stream and write its stems to ``folder``.

    Args:
        model: a network with ``sample_rate``, ``num_channels``, ``num_sources`` and ``stems``.
        song: the song.
        folder: must exist.
        options: see :class:`~mixit_mss.separation.request.Options`.
        advance: called with the number of samples written, and the total if the header states it.

    Returns:
        Sentences for the listener: about a file that is truncated or damaged or has several audio
        streams, and about samples that clip.

    Raises:
        UserError: the song cannot be read or has NaN or infinite samples, or the output format
            cannot hold it.
    """
    return write_stems(model, song, folder, options, advance).notes


def write_stems(
    model: Network,
    song: Song,
    folder: Path,
    options: Options,
    advance: Callable[[int, int | None], None],
) -> Written:
    """Like :func:`separate_song`, but also return the song's length."""
    outputs = output_names(model, options)
    files = output_files(written_names(model, options), options.audio_format)
    with MixtureStream(song, options.audio_stream) as mixture, contextlib.ExitStack() as stack:
        rate, channels = mixture.sample_rate, mixture.channels
        check_encoding(options.audio_format, rate, channels)
        tags, seconds = describe(song.parts[0]) if len(song.parts) == 1 else ({}, None)
        frames = mixture.frames
        if frames is None and seconds is not None:
            frames = round(seconds * rate)
        backlog = _Backlog(mixture, keep=options.two_stems is not None)
        wanted = list(outputs.values())
        if channels > CHANNELS_AT_ONCE:
            spool = _Spool(model, song, folder, options, wanted, (rate, channels))
            stack.callback(spool.close)
            estimates = spool.estimates(backlog, lambda samples: advance(samples, frames))
        else:
            estimates = _estimates(model, backlog, rate, channels, wanted, options)
        stems = [folder / name for name in files.values()]
        writers = [
            stack.enter_context(open_stem(path, options.audio_format, rate, channels, tags, frames))
            for path in stems
        ]
        written = 0
        for block in estimates:
            # resampling there and back may give a few samples too many, never too few
            block = block[..., : backlog.read - written]
            written += block.shape[-1]
            if not np.isfinite(block).all():
                raise UserError(
                    f"'{song.parts[0]}': the network answered with infinite or undefined samples; "
                    "try without --half, or another model"
                )
            if options.two_stems is not None:
                rest = backlog.take(block.shape[-1]) - block[0]
                block = np.stack([block[0], rest])
            for writer, estimate in zip(writers, block, strict=True):
                writer.write(estimate)
            if channels <= CHANNELS_AT_ONCE:
                advance(block.shape[-1], frames)
    if written == 0:
        raise UserError(f"'{song.parts[0]}' holds no audio; leave it out or replace it")
    notes = mixture.notes + _notes(song, mixture.warnings, writers)
    return Written(written / rate, notes)


def for_channels(model: Network, channels: int, half: bool = False) -> Model:
    """Adapt the network to mixtures of any channel count: (batch, channel, sample) -> estimates.

    A multiple of the network's own channel count is separated in groups, such as six channels as
    three pairs, one after another so that memory does not grow with the number of groups.  With any
    other count, each channel is separated alone: it is copied to all inputs of the network, and the
    outputs are averaged.  So a mono song stays mono.

    With ``half`` the network computes in bfloat16 (float16 on a GPU without bfloat16) wherever
    PyTorch's automatic mixed precision considers that safe.
    """
    width, group = model.num_channels, _group(model, channels)

    def separate(mixture: Tensor) -> Tensor:
        device = device_of(model)
        parts = []
        for part in mixture.to(device).split(group, dim=1):
            with torch.autocast(device.type, _half_type(device), enabled=half):
                estimates = model(part if group == width else part.expand(-1, width, -1))
            parts.append(estimates if group == width else estimates.mean(dim=2, keepdim=True))
        return torch.cat(parts, dim=2)

    return separate


def written_names(model: Network, options: Options) -> list[str]:
    """Names of the files to write: the wanted outputs, plus ``no_<stem>`` with ``two_stems``."""
    rest = [] if options.two_stems is None else [f"no_{options.two_stems}"]
    return [*output_names(model, options), *rest]


def output_names(model: Network, options: Options) -> dict[str, int]:
    """Map the name of each wanted output to its index among the network's outputs."""
    if options.all_channels:
        return {f"channel_{index:02d}": index for index in range(model.num_sources)}
    if model.stems is None:
        raise UserError(
            f"the model's {model.num_sources} outputs have no names yet; give --all-channels to "
            "hear each of them, or select channels first (stage 4)"
        )
    known = list(model.stems)
    option = "--stems" if options.two_stems is None else "--two-stems"
    wanted = options.stems or known
    for name in wanted if options.two_stems is None else [options.two_stems]:
        if name not in known:
            raise UserError(f"{option}: the model has no stem '{name}'; it has {', '.join(known)}")
    wanted = wanted if options.two_stems is None else [options.two_stems]
    return {name: known.index(name) for name in wanted}


class _Spool:
    """Estimates of many channels: a few channels at a time for the whole song, stored on disk.

    The song is decoded once per group of channels, which costs little compared with the network.
    """

    def __init__(
        self,
        model: Network,
        song: Song,
        folder: Path,
        options: Options,
        outputs: list[int],
        shape: tuple[int, int],
    ) -> None:
        self._model, self._song, self._folder = model, song, folder
        self._options, self._outputs = options, outputs
        self._rate, self._channels = shape
        group = _group(model, self._channels)
        self._step = max(group, CHANNELS_AT_ONCE // group * group)
        self._firsts = range(0, self._channels, self._step)
        self._files: list[IO[bytes]] = []

    def estimates(
        self, mixture: Iterable[np.ndarray], advance: Callable[[int], None]
    ) -> Iterator[np.ndarray]:
        """Blocks (source, channel, sample), each as long as the mixture's block.

        Args:
            mixture: the song's blocks; read only after all channels are separated.
            advance: called with samples done, averaged over all groups of channels.
        """
        for first in self._firsts:
            self._separate(first, advance)
        for file in self._files:
            file.seek(0)
        for block in mixture:
            parts = [
                self._next(file, block.shape[-1], min(self._step, self._channels - first))
                for file, first in zip(self._files, self._firsts, strict=True)
            ]
            yield np.concatenate(parts, axis=1)

    def _separate(self, first: int, advance: Callable[[int], None]) -> None:
        """Separate the group of channels from ``first`` on; store (sample, source, channel)."""
        try:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close()
            self._files.append(file)
            done, parts = 0, len(self._firsts)
            with MixtureStream(self._song, self._options.audio_stream) as mixture:
                blocks = (block[first : first + self._step] for block in mixture)
                estimates = _estimates(
                    *(self._model, blocks, self._rate, self._channels),
                    *(self._outputs, self._options),
                )
                for block in estimates:
                    file.write(np.ascontiguousarray(block.transpose(2, 0, 1), np.float32).data)
                    before, done = done, done + block.shape[-1]
                    advance(done // parts - before // parts)
        except OSError as error:
            raise UserError(
                f"the estimates of '{self._song.parts[0]}' cannot be kept in '{self._folder}' "
                f"({error}); is the disk full?"
            ) from error

    def _next(self, file: IO[bytes], samples: int, channels: int) -> np.ndarray:
        sources = len(self._outputs)
        content = np.frombuffer(file.read(4 * samples * sources * channels), np.float32)
        return content.reshape(-1, sources, channels).transpose(1, 2, 0)

    def close(self) -> None:
        """Remove the temporary files."""
        for file in self._files:
            file.close()


class _Backlog:
    """Pass the mixture on to the network; with ``keep``, hold it until it is taken."""

    def __init__(self, blocks: Iterable[np.ndarray], keep: bool) -> None:
        self._blocks, self._keep = blocks, keep
        self._held: deque[np.ndarray] = deque()
        self.read = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.read += block.shape[-1]
            if self._keep:
                self._held.append(block)
            yield block

    def take(self, samples: int) -> np.ndarray:
        """The next samples of the mixture; at most as many as were read."""
        parts = []
        while samples > 0:
            block = self._held.popleft()
            parts.append(block[..., :samples])
            if samples < block.shape[-1]:
                self._held.appendleft(block[..., samples:])
            samples -= parts[-1].shape[-1]
        return np.concatenate(parts, axis=-1)


def _estimates(
    model: Network,
    mixture: Iterable[np.ndarray],
    rate: int,
    channels: int,
    outputs: list[int],
    options: Options,
) -> Iterator[np.ndarray]:
    """Blocks (source, channel, sample) of the wanted outputs, at the song's rate."""
    chunk, hop = (
        max(1, round(seconds * model.sample_rate))
        for seconds in (options.chunk_seconds, options.hop_seconds)
    )
    at_model_rate = resample_blocks(mixture, rate, model.sample_rate)
    estimates = separate_stream(
        for_channels(model, channels, options.half),
        map(torch.from_numpy, at_model_rate),
        chunk,
        hop,
        options.batch_size,
        shift_samples(options.shifts, model.sample_rate),
        options.window,
    )
    wanted = (block[outputs].numpy() for block in estimates)
    return (block for block in resample_blocks(wanted, model.sample_rate, rate) if block.size)


def _group(model: Network, channels: int) -> int:
    """Number of channels that go through the network together."""
    return model.num_channels if channels % model.num_channels == 0 else 1


def _half_type(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16


def _notes(song: Song, warnings: list[str], writers: list[StemWriter]) -> list[str]:
    notes = []
    if warnings:
        notes.append(
            f"'{song.parts[0]}' is damaged and may have gaps; the decoder said {len(warnings)} "
            f"times something like: {warnings[0].strip()}"
        )
    over = [writer for writer in writers if writer.over and writer.encoding != ENCODINGS["wav"]]
    if over:
        stems = ", ".join(f"{w.path.stem} ({20 * np.log10(w.peak):+.1f} dB)" for w in over)
        notes.append(
            f"'{song.parts[0]}': {sum(writer.over for writer in over)} samples exceed full scale and "
            f"clip in {stems}; --format wav (float) keeps them"
        )
    return notes
