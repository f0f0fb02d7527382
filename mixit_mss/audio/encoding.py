"""Write stems block by block as WAV of any bit depth, FLAC or MP3, with the song's tags.

Estimates are never rescaled.  Float WAV keeps any value; samples beyond full scale are counted, so
that the caller can warn about clipping in other formats.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixit_mss.audio.ffmpeg_encoder import FfmpegEncoder
from mixit_mss.audio.writing import Writer, open_writer, to_integers
from mixit_mss.errors import UserError


class Encoding(NamedTuple):
    """A file's suffix, and its bits per sample; 32 means float."""

    suffix: str
    bits: int


ENCODINGS = {
    "wav": Encoding("wav", 32),
    "wav24": Encoding("wav", 24),
    "wav16": Encoding("wav", 16),
    "flac": Encoding("flac", 24),
    "flac16": Encoding("flac", 16),
    "mp3": Encoding("mp3", 32),
}
SUBTYPES = {32: "FLOAT", 24: "PCM_24", 16: "PCM_16"}
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MPEG1_RATE = 32000
FLAC_MAX_RATE, FLAC_MAX_CHANNELS = 655350, 8
WAV_MAX_BYTES = 0xF0000000  # of samples; the header counts in 32 bits, and tags need room too
# Tags that RIFF INFO can hold: ffmpeg's name -> libsndfile's name.
WAV_TAGS = {
    **{
        name: name for name in ("title", "artist", "album", "date", "genre", "comment", "copyright")
    },
    "track": "tracknumber",
}


@dataclass
class StemWriter:
    """Writes (channel, sample) blocks to one file, and measures how far they exceed full scale.

    Attributes:
        path: the file.
        peak: largest magnitude so far.
        over: number of samples beyond full scale.
    """

    path: Path
    encoding: Encoding
    sink: Writer | FfmpegEncoder
    peak: float = 0.0
    over: int = 0

    def write(self, waveform: np.ndarray) -> None:
        """Add a block."""
        magnitude = np.abs(waveform)
        if magnitude.size:
            self.peak = max(self.peak, float(magnitude.max()))
            self.over += int(np.count_nonzero(magnitude > 1))
        if not isinstance(self.sink, FfmpegEncoder):
            self.sink.write(waveform)
            return
        try:
            self.sink.write(_raw_bytes(waveform, self.encoding.bits))
        except OSError as error:
            raise _unwritable(self.path, error) from error


def check_encoding(name: str, sample_rate: int, channels: int) -> None:
    """Raise UserError if a format cannot hold such audio; the message names one that can."""
    suffix = ENCODINGS[name].suffix
    if suffix == "mp3" and (sample_rate not in MP3_RATES or channels > 2):
        raise UserError(
            f"MP3 cannot hold {channels} channels at {sample_rate} Hz; choose --format flac or wav"
        )
    if suffix == "flac" and (sample_rate > FLAC_MAX_RATE or channels > FLAC_MAX_CHANNELS):
        raise UserError(
            f"FLAC cannot hold {channels} channels at {sample_rate} Hz; choose --format wav"
        )


@contextlib.contextmanager
def open_stem(
    path: Path,
    name: str,
    sample_rate: int,
    channels: int,
    tags: Mapping[str, str],
    frames: int | None,
) -> Iterator[StemWriter]:
    """Open ``path`` for blocks of a stem, in the encoding ``name`` of :data:`ENCODINGS`.

    Args:
        path: the file, with the encoding's suffix.
        name: of the encoding.
        sample_rate: Hz.
        channels: number of channels.
        tags: as :func:`~mixit_mss.audio.ffmpeg.describe` gives them; WAV keeps :data:`WAV_TAGS`.
        frames: expected samples per channel; None if unknown.  A WAV above 4 GB becomes RF64, which
            is WAV with a 64-bit length; one that turns out smaller ends as plain WAV.

    Raises:
        UserError: the file cannot be written.
    """
    encoding = ENCODINGS[name]
    if encoding.suffix == "wav":
        known = {WAV_TAGS[tag]: value for tag, value in tags.items() if tag in WAV_TAGS}
        long = frames is None or frames * channels * encoding.bits // 8 > WAV_MAX_BYTES
        form = "RF64" if long else "WAV"
        subtype = SUBTYPES[encoding.bits]
        with open_writer(path, sample_rate, channels, subtype, form, known) as sink:
            yield StemWriter(path, encoding, sink)
        return
    raw = {32: "f32le", 24: "s24le", 16: "s16le"}[encoding.bits]
    codec = _codec(encoding.suffix, sample_rate)
    encoder = FfmpegEncoder(path, sample_rate, channels, raw, codec, tags)
    try:
        yield StemWriter(path, encoding, encoder)
        try:
            encoder.finish()
        except OSError as error:
            raise _unwritable(path, error) from error
    finally:
        encoder.close()


def _codec(suffix: str, sample_rate: int) -> list[str]:
    """The encoder's options.

    Below 32 kHz, LAME at a constant bit rate lowers the level by 5 % (measured), so these sample
    rates use its best variable bit rate.
    """
    if suffix == "flac":
        return ["-c:a", "flac"]
    quality = ["-b:a", "320k"] if sample_rate >= MPEG1_RATE else ["-q:a", "0"]
    return ["-c:a", "libmp3lame", *quality, "-id3v2_version", "4"]


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"'{path}' cannot be written ({error}); is the disk full?")


def _raw_bytes(waveform: np.ndarray, bits: int) -> bytes:
    """Interleaved little-endian samples of 16, 24 or (float) 32 bits."""
    if bits == 32:
        return np.ascontiguousarray(waveform.T, "<f4").tobytes()
    samples = to_integers(waveform, bits)
    if bits == 16:
        return samples.astype("<i2").tobytes()
    return samples.astype("<i4")[..., None].view(np.uint8)[..., :3].tobytes()
