"""MP3: the length stated in the first frame, and the positions of the frames."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

from mixit_mss.audio.headers import after_tags

# kbit/s of layer III by the header's four bits: MPEG 1, then MPEG 2 and 2.5
BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
SAMPLE_RATES = (44100, 48000, 32000)  # of MPEG 1; MPEG 2 has half, 2.5 a quarter
# A frame may need bits of earlier ones: at most 511 bytes, which this many of the smallest hold.
PREROLL = 100
DECODER_DELAY = 529
LEAST = 1 << 19  # samples to skip from which searching for the start is worthwhile


class Promise(NamedTuple):
    """The length stated in the first frame.

    Attributes:
        frames: samples per channel, without the encoder's padding at both ends; None if not stated.
        skipped: samples to drop at the beginning.
        first: byte at which the frames with audio begin.
        trusted: whether the stated number of bytes matches the file, up to tags.
    """

    frames: int | None
    skipped: int
    first: int
    trusted: bool


def promise(path: str | Path) -> Promise:
    """Read the Xing, Info or VBRI header of an MP3; ``frames`` is None if there is none."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _promise(data)


def place(path: str | Path, start: int, stop: int | None) -> tuple[int, int] | None:
    """Where to start decoding for the samples from ``start`` to ``stop``.

    Returns:
        The byte to start from, and how many of the samples decoded from there to drop.  None if the
        file should be decoded from the beginning: ``start`` is early, the length is not stated or
        not trusted, ``stop`` is None or beyond it, where padding is dropped, or there are bytes
        other than frames.
    """
    if start < LEAST or stop is None:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        said = _promise(data)
        if said.frames is None or not said.trusted or stop > said.frames:
            return None
        position, kind = said.first, None
        wanted, index, begins = start + said.skipped, 0, []
        while True:
            frame = _frame(data, position)
            if frame is None or frame[1:] != (kind or frame[1:]):
                return None
            size, *kind_of = frame
            kind = tuple(kind_of)
            begins.append(position)
            if (index + 1) * kind[0] > wanted:
                break
            position += size
            index += 1
        first = max(0, index - PREROLL)
        return begins[first], wanted - first * kind[0]


def _promise(data: mmap.mmap) -> Promise:
    start = after_tags(data)
    head = data[start : start + 4096]
    start += max(0, head.find(b"\xff"))
    head = data[start : start + 256].ljust(256, b"\0")
    frame = _frame(data, start)
    samples = frame[1] if frame else 1152
    tag = max(head.find(b"Xing", 0, 64), head.find(b"Info", 0, 64))
    skipped = padded = 0
    if tag >= 0:
        flags, count, stated = struct.unpack(">III", head[tag + 4 : tag + 16])
        if not flags & 1:
            return Promise(None, 0, start, False)
        stated = stated if flags & 2 else 0
        lame = tag + 8 + 4 * (flags & 1) + 2 * (flags & 2) + 25 * (flags & 4) + (flags & 8) // 2
        if head[lame : lame + 4] in (b"LAME", b"Lavf", b"Lavc"):
            delays = int.from_bytes(head[lame + 21 : lame + 24], "big")
            skipped, padded = (delays >> 12) + DECODER_DELAY, delays & 0xFFF
    elif head[36:40] == b"VBRI":
        stated, count = struct.unpack(">II", head[46:54])
    else:
        return Promise(None, 0, start, False)
    trusted = abs(len(data) - start - stated) <= max(1 << 13, stated // 100)
    added = skipped - DECODER_DELAY + padded if skipped else 0
    first = start + (frame[0] if frame else 0)
    return Promise(max(0, count * samples - added), skipped, first, trusted)


def _frame(data: mmap.mmap, position: int) -> tuple[int, int, int, bool] | None:
    """Bytes and samples of the frame at ``position``, its rate (Hz), and whether it is mono."""
    head = data[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version = head[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate == 3 or not 0 < bits < 15:
        return None
    is_low = version != 3
    hertz = SAMPLE_RATES[rate] >> (0 if not is_low else 1 if version == 2 else 2)
    size = (72 if is_low else 144) * 1000 * BIT_RATES[is_low][bits] // hertz + (head[2] >> 1 & 1)
    return size, 576 if is_low else 1152, hertz, head[3] >> 6 == 3
