"""Write audio files through libsndfile, atomically: a file appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from mixit_mss.errors import UserError
from mixit_mss.files import atomic_path

RF64_AUTO_DOWNGRADE = 0x1210  # a libsndfile command for which soundfile has no name


@contextlib.contextmanager
def open_writer(
    path: str | Path,
    sample_rate: int,
    channels: int,
    subtype: str = "PCM_16",
    form: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Writer]:
    """Open a file for (channel, sample) blocks; ``path`` appears when it is complete.

    Samples beyond full scale are clipped, except in a ``FLOAT`` file.

    Args:
        path: the file.
        sample_rate: Hz.
        channels: number of channels.
        subtype: libsndfile's name of the sample format.
        form: libsndfile's name of the file format; that of the suffix if None.  ``RF64`` becomes
            plain WAV if it ends below 4 GB.
        tags: ``title``, ``artist`` and others that libsndfile supports.

    Raises:
        UserError: the file cannot be written (no space, no permission, an unknown suffix).
    """
    try:
        with atomic_path(path) as partial:
            try:
                file = soundfile.SoundFile(
                    for_libsndfile(partial), "w", sample_rate, channels, subtype, format=form
                )
            except (soundfile.LibsndfileError, ValueError, TypeError) as error:
                raise UserError(f"'{path}' cannot be written ({error})") from error
            with file:
                if form == "RF64":
                    soundfile._snd.sf_command(
                        file._file, RF64_AUTO_DOWNGRADE, soundfile._ffi.NULL, soundfile._snd.SF_TRUE
                    )
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
    """Writes (channel, sample) blocks, and raises UserError if writing fails."""

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
            # soundfile reports a short write as an AssertionError
            raise UserError(f"'{self._path}' cannot be written; is the disk full?") from error


def to_integers(waveform: np.ndarray, bits: int) -> np.ndarray:
    """(sample, channel) integers of (channel, sample) float32, rounded and clipped.

    16 bits give int16, 24 give int32.  The scale is a power of two, as in reading; libsndfile would
    write with one less, so that a copy of a file would differ from the file.
    """
    scale = 1 << (bits - 1)
    samples = np.empty(waveform.shape[::-1], np.int16 if bits == 16 else np.int32)
    for channel, target in zip(waveform, samples.T, strict=True):
        scaled = np.rint(channel * np.float32(scale))
        target[:] = np.clip(scaled, -scale, scale - 1, out=scaled)
    return samples


def for_libsndfile(path: str | Path) -> str | bytes:
    """A path for soundfile, whose own conversion fails on names that are not UTF-8."""
    return os.fspath(path) if sys.platform == "win32" else os.fsencode(path)
