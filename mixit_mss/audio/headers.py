"""Inspect the headers of a sound file before decoding: format, joined parts, stated length.

A file may be several files joined (``cat a.ogg b.ogg``, a radio recording), and its header may
state more or fewer samples than there are: a recorder that crashed leaves a length of 0.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

from mixit_mss.audio.containers import PCM_MAGIC, Piece, chunked_files
from mixit_mss.errors import UserError

# No real device goes beyond these rates (Hz); a header that does is damaged.
RATES = (1000, 768_000)
MAX_CHANNELS = 64
OGG_PAGE = struct.Struct("<4sBBqIIIB")
BEGINS, ENDS = 2, 4  # flags of an Ogg page
FLAC_BEGIN = b"fLaC\0\0\0\x22"  # the marker, and the header of the first block
# Offset and magic bytes of a format, and how many first bytes joined files of it have in common.
JOINED_BY_MAGIC = (
    (4, b"ftyp", 12),  # MP4, M4A
    (0, b"TTA1", 8),
    (0, b"FLV\1", 9),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 16),  # WMA
    (0, b"MAC ", 6),  # Monkey's Audio
)
STRETCH = 1 << 20  # bytes to search at a time
NO_SOUND = {
    b"\xff\xd8\xff": "a picture",
    b"\x89PNG\r\n": "a picture",
    b"GIF8": "a picture",
    b"II*\0": "a picture",
    b"MM\0*": "a picture",
    b"%PDF": "a document",
    b"PK\x03\x04": "an archive",
    b"\x1f\x8b": "an archive",
    b"Rar!": "an archive",
    b"7z\xbc\xaf": "an archive",
    b"MThd": "notes of MIDI, no sound",
    b"#EXTM3U": "a playlist",
}


class AudioError(UserError):
    """Raised for a file that cannot be read as audio, or not completely."""


def check_file(path: str | Path) -> int:
    """Size in bytes of a regular file; anything else is refused, since a pipe may never end.

    Raises:
        AudioError: the file does not exist, is empty, or is not a regular file.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise AudioError(f"'{path}' does not exist or is not a file") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"'{path}' cannot be opened ({_words(error)})") from error
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"'{path}' is not a file, but a folder, a pipe or a device")
    if status.st_size == 0:
        raise AudioError(f"'{path}' is empty")
    return status.st_size


def check_shape(path: str | Path, sample_rate: int, channels: int) -> None:
    """Refuse implausible headers before memory of that size is allocated.

    Raises:
        AudioError: the sample rate or the number of channels is beyond all real recordings.
    """
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise AudioError(
            f"'{path}' states a sample rate of {sample_rate} Hz, not between {RATES[0]} and "
            f"{RATES[1]} Hz; its header is damaged, or it is no audio"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(
            f"'{path}' states {channels} channels, not between 1 and {MAX_CHANNELS}; its header is "
            "damaged, or it is no audio"
        )


def what_else(path: str | Path) -> str:
    """What a non-audio file is, such as ``a picture``; empty if the file may be audio."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a picture"
    for magic, words in NO_SOUND.items():
        if head.startswith(magic):
            return words
    return "text" if _is_text(head) else ""


def pieces(path: str | Path, only_first: bool = False) -> list[Piece]:
    """The files that were joined into this one, in order, with what their headers state.

    With ``only_first`` only the first, as if it went on to the end, since finding the others in Ogg
    and FLAC means searching the whole file.

    Raises:
        AudioError: the file cannot be opened.
    """
    size = check_file(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = after_tags(data)
            magic = data[start : start + 4]
            if magic == b"OggS":
                return _ogg_links(data, start, only_first)
            if magic == b"fLaC":
                return (
                    [Piece("flac", start, size)]
                    if only_first
                    else _split(data, start, FLAC_BEGIN, "flac")
                )
            found = chunked_files(data, start) if magic in PCM_MAGIC else []
            return found or _others(data, start, only_first)
    except (OSError, ValueError) as error:
        raise AudioError(f"'{path}' cannot be opened ({_words(error)})") from error


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _is_text(head: bytes) -> bool:
    if any(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a truncated character
    return True


def after_tags(data: mmap.mmap) -> int:
    """Start of the file after ID3v2 tags, which may precede any format."""
    start = 0
    while data[start : start + 3] == b"ID3" and start + 10 <= len(data):
        a, b, c, d = (byte & 127 for byte in data[start + 6 : start + 10])
        start += 10 + (a << 21 | b << 14 | c << 7 | d)
    return start


def _ogg_links(data: mmap.mmap, start: int, only_first: bool) -> list[Piece]:
    """The links of an Ogg chain: each begins with one first page (a page flag) per stream."""
    starts, streams = [start], [0]
    position, in_head, ended = start, False, False
    while (position := data.find(b"OggS", position)) >= 0:
        if position + OGG_PAGE.size > len(data):
            ended = False
            break
        *_, flags, _, _, _, _, segments = OGG_PAGE.unpack_from(data, position)
        begins = bool(flags & BEGINS)
        if only_first and in_head and not begins:
            return [Piece("ogg" if streams[0] == 1 else "", start, len(data))]
        if begins and not in_head and streams[-1]:
            starts.append(position)
            streams.append(0)
        streams[-1] += begins
        table = position + OGG_PAGE.size
        end = table + segments + sum(data[table : table + segments])
        in_head, ended = begins, bool(flags & ENDS) and end <= len(data)
        # after a damaged page, search for the next one
        position = end if data[end : end + 4] == b"OggS" else position + 4
    stops = [*starts[1:], len(data)]
    kinds = ["ogg" if count == 1 else "" for count in streams]
    links = [Piece(*link) for link in zip(kinds, starts, stops, strict=True)]
    links[-1].unfinished = not ended
    return links


def _split(data: mmap.mmap, start: int, begin: bytes, kind: str) -> list[Piece]:
    """Split joined files that all begin with the same bytes."""
    starts = [start]
    for first in range(start + 4, len(data), STRETCH):
        stretch = data[first : first + STRETCH + len(begin) - 1]
        place = stretch.find(begin)
        while place >= 0:
            starts.append(first + place)
            place = stretch.find(begin, place + 1)
    stops = [*starts[1:], len(data)]
    return [Piece(kind, first, stop) for first, stop in zip(starts, stops, strict=True)]


def _others(data: mmap.mmap, start: int, only_first: bool) -> list[Piece]:
    """Pieces for ffmpeg; of some formats it would read only the first of several joined files."""
    head = data[start : start + 12]
    for offset, magic, length in JOINED_BY_MAGIC:
        if head[offset : offset + len(magic)] == magic and not only_first:
            found = _split(data, start, data[start : start + length], "")
            if len(found) > 1:
                return found
    whole = Piece("", 0, len(data))
    if head[:4] == b"RIFF" and len(head) == 12:  # AVI
        whole.unfinished = len(data) < start + 8 + struct.unpack("<I", head[4:8])[0] < 1 << 31
    return [whole]


class Window:
    """File object that presents a piece of a file to libsndfile as a whole file."""

    def __init__(self, path: str | Path, piece: Piece):
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._piece, self._place = piece, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte; returns the new position."""
        size = self._piece.stop - self._piece.start
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """The current position in bytes."""
        return self._place

    def read(self, count: int = -1) -> bytes:
        """The next ``count`` bytes; fewer only at the end."""
        at = self._piece.start + self._place
        left = max(0, self._piece.stop - at)
        self._file.seek(at)
        content = self._file.read(left if count < 0 else min(count, left))
        self._place += len(content)
        for place, new in self._piece.patch.items():
            if at - len(new) < place < at + len(content):
                changed = bytearray(content)
                for index, byte in enumerate(new, place - at):
                    if 0 <= index < len(changed):
                        changed[index] = byte
                content = bytes(changed)
        return content

    def close(self) -> None:
        """Close the underlying file."""
        self._file.close()
