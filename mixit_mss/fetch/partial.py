"""A file that arrives in pieces, in any order; a killed download resumes from it.

``NAME.partial`` has its full length from the start, with holes where nothing has come yet.
``NAME.partial.json`` says how much of every piece has come.  The bytes are on the disk before the
state claims them, so it is true after a kill or a power cut, and at worst a second or so behind.
"""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

from mixit_mss.disk import disk_errors
from mixit_mss.files import write_json


class PartialFile:
    """The bytes of ``path`` that have come so far.

    Attributes:
        size: bytes of the whole file.
        received: bytes that have come of each piece, counted from the piece's start.  A piece is
            written by one thread at a time.
    """

    def __init__(self, path: Path, size: int, piece_bytes: int, received: list[int]) -> None:
        self.path, self.size, self.piece_bytes, self.received = path, size, piece_bytes, received
        self.data, self.state = partial_paths(path)
        self._file = open(self.data, "r+b", buffering=0)  # noqa: SIM115 - closed by close()

    @classmethod
    def create(cls, path: Path, size: int, piece_bytes: int) -> PartialFile:
        """An empty one, in place of whatever was there."""
        data, state = partial_paths(path)
        state.unlink(missing_ok=True)
        with disk_errors(data), open(data, "wb") as file:
            file.truncate(size)
        partial = cls(path, size, piece_bytes, [0] * -(-size // piece_bytes))
        partial.save()
        return partial

    @classmethod
    def resume(cls, path: Path) -> PartialFile | None:
        """The one that a former process left, if its state makes sense."""
        state = _read_state(path)
        if state is None:
            return None
        return cls(path, state["size"], state["piece_bytes"], state["received"])

    def span(self, piece: int) -> tuple[int, int]:
        """First byte of a piece that has not come yet, and the piece's end."""
        start = piece * self.piece_bytes
        return start + self.received[piece], min(start + self.piece_bytes, self.size)

    def unfinished(self) -> list[int]:
        """Pieces of which something is still to come."""
        spans = map(self.span, range(len(self.received)))
        return [piece for piece, (position, end) in enumerate(spans) if position < end]

    def write(self, piece: int, block: bytes) -> None:
        """Put the next bytes of a piece in their place.

        Raises:
            UserError: the disk is full, or cannot be written.
        """
        position, _ = self.span(piece)
        with disk_errors(self.data):
            view = memoryview(block)
            while view:
                count = os.pwrite(self._file.fileno(), view, position)
                view, position = view[count:], position + count
        self.received[piece] += len(block)

    def restart(self) -> None:
        """Count nothing as received."""
        self.received = [0] * len(self.received)

    def save(self) -> None:
        """Make the state say what has come; the bytes first."""
        received = list(self.received)
        with disk_errors(self.data):
            os.fsync(self._file.fileno())
            state = {"size": self.size, "piece_bytes": self.piece_bytes, "received": received}
            write_json(self.state, state)

    def close(self) -> None:
        """Let go of the file; what has come stays."""
        self._file.close()

    def finish(self) -> None:
        """Give the complete file its name."""
        self.close()
        os.replace(self.data, self.path)
        self._remove_state()

    def delete(self) -> None:
        """Throw away what has come."""
        self.close()
        self._remove_state()
        self.data.unlink(missing_ok=True)

    def _remove_state(self) -> None:
        """The state, and what processes that were killed while they wrote it have left."""
        unwritten = f".{glob.escape(self.state.stem)}.*.partial{self.state.suffix}"
        for path in (self.state, *self.state.parent.glob(unwritten)):
            path.unlink(missing_ok=True)


def partial_paths(path: Path) -> tuple[Path, Path]:
    """Where the bytes of an unfinished ``path`` are, and its state."""
    return path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.partial.json")


def received_bytes(path: Path) -> int:
    """How much of ``path`` has come so far; 0 where nothing is known."""
    state = _read_state(path)
    return sum(state["received"]) if state else 0


def _read_state(path: Path) -> dict | None:
    """State of an unfinished file, or None where it is missing or does not fit the bytes."""
    data, state_path = partial_paths(path)
    try:
        state = json.loads(state_path.read_text(encoding="utf-8"))
        size, piece_bytes, received = (state[k] for k in ("size", "piece_bytes", "received"))
        if not all(type(number) is int for number in (size, piece_bytes, *received)):
            return None
        if size < 0 or piece_bytes < 1 or len(received) != -(-size // piece_bytes):
            return None
        sizes = [min(piece_bytes, size - start) for start in range(0, size, piece_bytes)]
        fits = len(sizes) == len(received) and data.stat().st_size == size
        sound = all(0 <= have <= whole for have, whole in zip(received, sizes, strict=False))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return state if fits and sound else None
