"""Chunked formats (WAV, AIFF, CAF, W64, AU): where the samples are, and how many the header states.

All but AU consist of chunks with a name and a size, one of which holds the samples.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field

# Sizes that programs write to a pipe if they do not know the size: 2 or 4 GB or just below, or more
# than any disk holds.
UNKNOWN_SIZES = (
    *(range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 1 << 32)),
    range(1 << 60, 1 << 64),
)
TAGS = (b"TAG", b"ID3", b"APE", b"LYR")  # that some programs append to a file


@dataclass
class Piece:
    """One of the files that were joined into one; usually the only one.

    Attributes:
        kind: ``ogg``, ``flac`` or ``pcm`` (WAV, AIFF and similar) for libsndfile; empty for ffmpeg.
        start: first byte.
        stop: byte after the last.
        patch: replacement bytes by position, which complete an unfinished header.
        promised: bytes of samples that a ``pcm`` header states; None if it does not.
        present: bytes of samples in the file.
        behind: bytes after the stated samples that are not a chunk.
        unfinished: whether a required end marker is missing.
    """

    kind: str
    start: int
    stop: int
    patch: dict[int, bytes] = field(default_factory=dict)
    promised: int | None = None
    present: int = 0
    behind: int = 0
    unfinished: bool = False


@dataclass(frozen=True)
class _Layout:
    """Chunk layout of a format."""

    first: int  # byte of the first chunk
    head: str  # struct format of a chunk's name and size
    sound: bytes = b"data"
    padded: int = 2
    own: int = 0  # bytes of a chunk's head that its size includes
    lead: int = 0  # bytes between the sound chunk's head and the samples
    forms: tuple[bytes, ...] = ()


_LAYOUTS = {
    b"RIFF": _Layout(12, "<4sI", forms=(b"WAVE",)),
    b"RIFX": _Layout(12, ">4sI", forms=(b"WAVE",)),
    b"RF64": _Layout(12, "<4sI", forms=(b"WAVE",)),
    b"BW64": _Layout(12, "<4sI", forms=(b"WAVE",)),
    b"FORM": _Layout(12, ">4sI", b"SSND", lead=8, forms=(b"AIFF", b"AIFC")),
    b"caff": _Layout(8, ">4sq", padded=1, lead=4),
    b"riff": _Layout(40, "<16sq", padded=8, own=24),
}
PCM_MAGIC = {*_LAYOUTS, b".snd"}


def chunked_files(data: mmap.mmap, start: int) -> list[Piece]:
    """The file at ``start`` and joined files after it; empty if the first holds no samples."""
    found: list[Piece] = []
    while data[start : start + 4] in PCM_MAGIC:
        piece = _au(data, start) if data[start : start + 4] == b".snd" else _chunked(data, start)
        if piece is None:
            break
        found.append(piece)
        start = piece.stop
    if found:
        found[-1].stop = len(data)
    return found


def _au(data: mmap.mmap, start: int) -> Piece:
    offset, size = struct.unpack(">II", data[start + 4 : start + 12].ljust(8, b"\0"))
    present = max(0, len(data) - start - offset)
    if size and not _is_unknown(size, present):
        end = start + offset + size
        if data[end : end + 4] == b".snd":
            return Piece("pcm", start, end, {}, size, size)
        behind = max(0, len(data) - end - 8)  # some pad it
        return Piece("pcm", start, len(data), {}, size, min(size, present), behind)
    patch = {start + 8: struct.pack(">I", min(present, 0xFFFFFFFE))}
    return Piece("pcm", start, len(data), patch, size and None, present)


def _chunked(data: mmap.mmap, start: int) -> Piece | None:
    """Parse one chunked file; None if it holds no samples.

    A sound chunk of size 0 was not finished, unless the file ends where its header says: the
    samples are what follows.
    """
    magic = data[start : start + 4]
    layout = _LAYOUTS[magic]
    if layout.forms and data[start + 8 : start + 12] not in layout.forms:
        return None
    head = struct.Struct(layout.head)
    position, long_size = start + layout.first, -1
    while position + head.size <= len(data):
        name, size = head.unpack_from(data, position)
        body, size = position + head.size, size - layout.own
        if name.startswith(layout.sound):
            break
        if name == b"ds64":
            long_size = body + 8
        if size < 0:
            return None
        position = body + size + -size % layout.padded
    else:
        return None
    if long_size >= 0 and size == 0xFFFFFFFF:
        (size,) = struct.unpack("<q", data[long_size : long_size + 8].ljust(8, b"\0"))
    first = body + layout.lead
    present = len(data) - first
    unknown = size < 0 or _is_unknown(size, present)
    empty = size <= layout.lead and not _ends_where_it_says(data, start, layout)
    if (unknown or empty) and present > 0:
        patch = _patch(data, start, body, long_size, layout)
        return Piece("pcm", start, len(data), patch, None if unknown else 0, present)
    promised = max(0, size - layout.lead)
    end = _after_chunks(data, body + size + -size % layout.padded, head, layout)
    if data[end : end + 4] == magic and promised <= present:
        return Piece("pcm", start, end, {}, promised, promised)
    rest = b"" if end >= len(data) else data[end : end + 4096]
    behind = len(data) - end if rest.strip(b"\0") and rest[:3] not in TAGS else 0
    patch = {}
    if layout.head[-1] == "q" and promised > present:  # libsndfile refuses a CAF that was cut
        patch = _patch(data, start, body, long_size, layout)
    return Piece("pcm", start, len(data), patch, promised, min(promised, present), behind)


def _ends_where_it_says(data: mmap.mmap, start: int, layout: _Layout) -> bool:
    """Whether the file is as long as its header states, up to a byte of padding."""
    if layout.first != 12 or data[start + 2 : start + 4] == b"64":
        return False
    (size,) = struct.unpack(layout.head[0] + "I", data[start + 4 : start + 8])
    return not _is_unknown(size, len(data)) and len(data) - start <= size + 9


def _patch(
    data: mmap.mmap, start: int, body: int, long_size: int, layout: _Layout
) -> dict[int, bytes]:
    """Header bytes that set the size of the sound chunk, and of the file, to all that is there."""
    rest = len(data) - body
    order = layout.head[0]
    if layout.head[-1] == "q":
        return {body - 8: struct.pack(order + "q", rest + layout.own)}
    patch = {body - 4: struct.pack(order + "I", min(rest, 0xFFFFFFFE))}
    if long_size >= 0:
        patch[long_size] = struct.pack("<q", rest)
    else:
        whole = min(len(data) - start - 8, 0xFFFFFFFE)
        patch[start + 4] = struct.pack(order + "I", whole)
    return patch


def _after_chunks(data: mmap.mmap, position: int, head: struct.Struct, layout: _Layout) -> int:
    """End of the complete chunks that follow ``position``."""
    while position + head.size <= len(data):
        name, size = head.unpack_from(data, position)
        end = position + head.size + size - layout.own
        printable = all(32 <= byte < 127 for byte in name[:4])
        if name[:4] in PCM_MAGIC or not printable or not position < end <= len(data):
            break
        position = end + -(size - layout.own) % layout.padded
    return position


def _is_unknown(size: int, present: int) -> bool:
    return size > present and any(size in sizes for sizes in UNKNOWN_SIZES)
