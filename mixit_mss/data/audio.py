"""The only door to audio files: probe, read a range, stream, write, resample.

libsndfile (``soundfile``) reads wav, flac, ogg, opus, aiff and mp3; ffmpeg reads the rest.  Every
waveform is float32, full scale 1, with axes (channel, sample).
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, Literal, TypeVar, overload

import numpy as np
import soundfile

from mixit_mss.data.ffmpeg_pipe import FfmpegDecoder
from mixit_mss.data.resampling import (  # noqa: F401 - part of the door
    can_resample,
    resample,
    resample_blocks,
)
from mixit_mss.errors import UserError
from mixit_mss.files import atomic_path

Frames = TypeVar("Frames", bound="int | None")

# A block, half a MiB of stereo, stays in a core's cache while it is measured and encoded.
BLOCK_FRAMES = 1 << 16
INT16_SCALE = 1 << 15
# What libsndfile says of a FLAC file that was written to a pipe, whose header has no length.
UNKNOWN_FRAMES = 1 << 62
# Sound files can have fewer samples than they state.  A two-frame error in an MP3's own count is
# common (encoders that count their header frame); an Ogg stream can carry its mark of the end some
# pages early, where libvorbis stops.
SLACK = {"MP3": 2 * 1152, "OGG": 1 << 15}
OGG_SUFFIXES = (".ogg", ".oga", ".opus")
# libmpg123 marks every fault of a frame, such as "dequantization failed" or "part2_3_length too
# large for available bit count", as an error, and what it can mend as a note; ffmpeg does not.
MP3_DAMAGE = re.compile(
    r"\] error: |big_values too|overread|invalid block type|Error while decoding MPEG audio frame"
)


class AudioError(UserError):
    """A file that cannot be read as audio, or not completely."""


@dataclass(frozen=True)
class AudioInfo(Generic[Frames]):
    """What the header says: ``frames`` are samples per channel, ``sample_rate`` is in Hz.

    ``frames`` is None where the header does not state it exactly, and nobody counted.
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
    """Length, rate and channels of a file, from its header alone where libsndfile reads it.

    Args:
        path: the file.
        count: decode other files once and count, because their headers round the length.

    Raises:
        AudioError: the file is missing, empty or not audio.
    """
    with _open(path) as file:
        if not isinstance(file, FfmpegDecoder):
            frames = file.frames
        else:
            frames = sum(map(len, file.blocks(BLOCK_FRAMES))) if count else None
        return AudioInfo(str(path), frames, file.samplerate, file.channels)


def read(path: str | Path, start: int = 0, frames: int | None = None) -> tuple[np.ndarray, int]:
    """A range of a file: (channel, sample) float32, and the sample rate in Hz.

    Args:
        path: the file.
        start: first sample.
        frames: samples per channel; None reads to the end.

    Raises:
        AudioError: the file cannot be read, or ends before ``start + frames``.
    """
    with _open(path, start, None if frames is None else start + frames) as file:
        if isinstance(file, FfmpegDecoder):
            nothing = np.zeros((0, file.channels), np.float32)
            samples = np.concatenate([nothing, *file.blocks(BLOCK_FRAMES)])
        else:
            try:
                # libsndfile cannot seek beyond the end; the check of the length then speaks.
                file.seek(min(start, file.frames))
                samples = _raw(file, -1 if frames is None else frames)
            except soundfile.LibsndfileError as error:
                raise _unreadable(path, error.error_string) from error
        if frames is not None and len(samples) < frames:
            raise AudioError(
                f"'{path}' ends before sample {start + frames}; "
                "it is cut short, or was changed after it was listed"
            )
        return planar(samples), file.samplerate


class AudioStream:
    """What :func:`stream` returns: iterate over it once; it closes itself at the end, or ``with``.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        integers: whether the file holds 16-bit samples, as :meth:`raw` then gives them.
        frames: samples per channel that the header promises; None where ffmpeg decodes, whose
            headers round.
        warnings: at the end, the lines in which the decoder reported damage.  A song with broken
            frames often decodes without an exception, and only these lines tell.
    """

    def __init__(self, path: str | Path, block_frames: int):
        self._path, self._block_frames = path, block_frames
        self.warnings: list[str] = []
        with tempfile.TemporaryFile() as unheard, _stderr_into(unheard):
            self._file = _open(path)
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels
        self.frames = None if isinstance(self._file, FfmpegDecoder) else self._file.frames
        self.integers = not isinstance(self._file, FfmpegDecoder) and self._file.subtype == "PCM_16"

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(planar, self.raw())

    def raw(self) -> Iterator[np.ndarray]:
        """The blocks as they are decoded: (sample, channel), int16 or float32; see :func:`planar`."""
        decode = self._by_ffmpeg if isinstance(self._file, FfmpegDecoder) else self._by_soundfile
        with self._file:
            yield from decode()

    def _by_soundfile(self) -> Iterator[np.ndarray]:
        file: soundfile.SoundFile = self._file
        count, is_mp3 = 0, file.format == "MP3"
        with tempfile.TemporaryFile() as capture:
            while count < file.frames:
                try:
                    with _stderr_into(capture) if is_mp3 else contextlib.nullcontext():
                        block = _raw(file, self._block_frames)
                except soundfile.LibsndfileError as error:
                    raise _unreadable(self._path, error.error_string) from error
                if not len(block):
                    break
                count += len(block)
                yield block
            capture.seek(0)
            lines = capture.read().decode("utf-8", "replace").splitlines()
        self.warnings += filter(MP3_DAMAGE.search, lines)
        if count < file.frames - SLACK.get(file.format, 0):
            raise AudioError(
                f"'{self._path}' is cut short: it ends after {count} of {file.frames} samples"
            )

    def _by_ffmpeg(self) -> Iterator[np.ndarray]:
        try:
            yield from self._file.blocks(self._block_frames)
        except OSError as error:
            raise _unreadable(self._path, str(error)) from error
        lines = self._file.messages()
        if str(self._path).lower().endswith(".mp3"):
            # ffmpeg calls harmless tags at the end of an MP3 an error too
            lines = filter(MP3_DAMAGE.search, lines)
        self.warnings += lines

    def __enter__(self) -> AudioStream:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()


def stream(path: str | Path, block_frames: int = BLOCK_FRAMES) -> AudioStream:
    """Blocks of a whole file, (channel, sample) float32, one after another in bounded memory.

    Raises:
        AudioError: the file cannot be read (at once), or ends before the length in its header
            (while iterating).
    """
    return AudioStream(path, block_frames)


def decode_warnings(path: str | Path) -> list[str]:
    """Decode a whole file and return the lines in which the decoder reported damage."""
    with stream(path) as blocks:
        for _ in blocks:
            pass
    return blocks.warnings


def header_slack(path: str | Path) -> int:
    """By how many samples a sound file may be shorter or longer than its header says."""
    name = os.fspath(path).lower()
    return SLACK["MP3"] if name.endswith(".mp3") else SLACK["OGG"] * name.endswith(OGG_SUFFIXES)


def to_channels(waveform: np.ndarray, num_channels: int) -> np.ndarray:
    """Give (channel, sample) another number of channels: mono is copied, any to mono is the mean.

    Raises:
        ValueError: any other change, for which there is no one right rule.
    """
    have = waveform.shape[0]
    if have == num_channels:
        return waveform
    if have == 1:
        return np.repeat(waveform, num_channels, axis=0)
    if num_channels == 1:
        return waveform.mean(axis=0, keepdims=True, dtype=waveform.dtype)
    raise ValueError(f"no rule to make {num_channels} channels of a waveform {waveform.shape}")


@contextlib.contextmanager
def open_writer(
    path: str | Path,
    sample_rate: int,
    channels: int,
    subtype: str = "PCM_16",
    form: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Writer]:
    """A file whose ``write`` takes (channel, sample) blocks; ``path`` appears at the end.

    Samples beyond full scale are clipped, except in a ``FLOAT`` file.

    Args:
        path: the file.
        sample_rate: Hz.
        channels: number of channels.
        subtype: libsndfile's name of the sample format.
        form: libsndfile's name of the file format; that of the suffix if None.
        tags: ``title``, ``artist`` and others that libsndfile knows.

    Raises:
        UserError: the file cannot be written (no space, no permission, a suffix without a format).
    """
    try:
        with atomic_path(path) as partial:
            try:
                file = soundfile.SoundFile(
                    os.fsencode(partial), "w", sample_rate, channels, subtype, format=form
                )
            except (soundfile.LibsndfileError, ValueError, TypeError) as error:
                raise UserError(f"'{path}' cannot be written ({error})") from error
            with file:
                for name, value in (tags or {}).items():
                    setattr(file, name, value)
                yield Writer(file, path)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UserError(f"'{path}' cannot be written ({error}); is the disk full?") from error


def write(
    path: str | Path, waveform: np.ndarray, sample_rate: int, subtype: str = "PCM_16"
) -> None:
    """Write (channel, sample) audio atomically, in the format of the suffix; see `open_writer`."""
    with open_writer(path, sample_rate, waveform.shape[0], subtype) as file:
        file.write(waveform)


class Writer:
    """Takes (channel, sample) blocks, and tells failures to write from any other error."""

    def __init__(self, file: soundfile.SoundFile, path: str | Path):
        self._file, self._path = file, path

    def write(self, waveform: np.ndarray) -> None:
        """Add a block."""
        subtype = self._file.subtype
        if subtype == "PCM_16":
            samples = to_integers(waveform, 16)
        elif subtype == "PCM_24":
            samples = to_integers(waveform, 24) << 8  # libsndfile takes the upper bits of 32
        else:
            samples = waveform.T
        self.write_raw(samples)

    def write_raw(self, samples: np.ndarray) -> None:
        """Add (sample, channel) samples as they are to be stored."""
        try:
            self._file.write(np.ascontiguousarray(samples))
        except (soundfile.LibsndfileError, AssertionError) as error:
            # soundfile states a short write as an assertion
            raise UserError(f"'{self._path}' cannot be written; is the disk full?") from error


def to_integers(waveform: np.ndarray, bits: int) -> np.ndarray:
    """(sample, channel) integers of (channel, sample) float32, rounded and clipped.

    16 bits come as int16, 24 as int32.  The factor is that of reading, a power of two; libsndfile
    would write with one less, so that a copy of a file would differ from it.
    """
    scale = 1 << (bits - 1)
    samples = np.empty(waveform.shape[::-1], np.int16 if bits == 16 else np.int32)
    for channel, target in zip(waveform, samples.T, strict=True):
        scaled = np.rint(channel * np.float32(scale))
        target[:] = np.clip(scaled, -scale, scale - 1, out=scaled)
    return samples


def _open(
    path: str | Path, start: int = 0, stop: int | None = None
) -> soundfile.SoundFile | FfmpegDecoder:
    """libsndfile's file, or ffmpeg's stream of the samples from ``start`` to ``stop``."""
    reason = ""
    if not os.fspath(path).lower().endswith(".mp3") or _mp3_states_length(path):
        try:
            file = soundfile.SoundFile(os.fsencode(path))  # any bytes
            # an MP3 may be called otherwise, or have no name, as from a pipe
            trusted = file.format != "MP3" or _mp3_states_length(path)
            if trusted and file.frames < UNKNOWN_FRAMES:
                return file
            file.close()
        except (soundfile.LibsndfileError, TypeError) as error:
            reason = str(error)
    if not os.path.isfile(path):
        raise AudioError(f"'{path}' does not exist or is not a file")
    if os.path.getsize(path) == 0:
        raise AudioError(f"'{path}' is empty")
    try:
        return FfmpegDecoder(path, start, stop)
    except OSError as error:
        raise _unreadable(path, str(error) or reason) from error


def _unreadable(path: str | Path, reason: str) -> AudioError:
    return AudioError(f"'{path}' cannot be decoded as audio ({reason.strip().rstrip('.')})")


def _mp3_states_length(path: str | Path) -> bool:
    """Whether an MP3 begins with a Xing, Info or VBRI header.

    Without one libsndfile guesses the length from the first frame's bit rate and stops there, even
    if that is the middle of the song.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(10)
            if head[:3] == b"ID3" and len(head) == 10:
                a, b, c, d = struct.unpack("4B", head[6:])
                file.seek(10 + (a << 21 | b << 14 | c << 7 | d))
            else:
                file.seek(0)
            first = file.read(4096)
    except OSError:
        return False
    return any(tag in first for tag in (b"Xing", b"Info", b"VBRI"))


@contextlib.contextmanager
def _stderr_into(capture: IO[bytes]) -> Iterator[None]:
    """Send what is written to file descriptor 2 within the block to another file.

    libmpg123, inside libsndfile, tells of broken frames nowhere else.  The redirection holds for
    the whole process, so it lasts for one call of libsndfile at a time.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        os.dup2(capture.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _raw(file: soundfile.SoundFile, frames: int) -> np.ndarray:
    """The next samples as (sample, channel), int16 if the file holds such, else float32."""
    return file.read(frames, "int16" if file.subtype == "PCM_16" else "float32", always_2d=True)


def planar(samples: np.ndarray) -> np.ndarray:
    """Waveform (channel, sample) float32 of (sample, channel) int16 or float32.

    16-bit samples are converted here and not by libsndfile, with the same result, because the axes
    have to be swapped anyway: one pass over memory instead of two.
    """
    scale = np.float32(1 / INT16_SCALE if samples.dtype == np.int16 else 1)
    planar = np.empty(samples.shape[::-1], np.float32)
    for channel, target in zip(samples.T, planar, strict=True):
        np.multiply(channel, scale, out=target)
    return planar
