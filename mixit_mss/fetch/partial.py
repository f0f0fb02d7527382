"""A partly downloaded file, whose pieces arrive in any order, and from which a download resumes.

``NAME.partial`` has its full length from the start, with holes where nothing has arrived yet.
``NAME.partial.json`` records how much of every piece has arrived.  Bytes are flushed to the disk
before the state records them, so the state is correct after a kill or a power cut, and at worst
about a second old.
"""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

from mixit_mss.disk import disk_errors
from mixit_mss.files import write_json


class PartialFile:
    """The bytes of ``path`` that have arrived so far.

    Attributes:
        size: bytes of the whole file.
        received: bytes of each piece that have arrived, counted from the piece's start.  A piece is
            written by one thread at a time.
    """

    def __init__(self, path: Path, size: int, piece_bytes: int, received: list[int]) -> None:
        self.path, self.size, self.piece_bytes, self.received = path, size, piece_bytes, received
        self.data, self.state = partial_paths(path)
        self._file = open(self.data, "r+b", buffering=0)  # noqa: SIM115 - closed by close()

    @classmethod
    def create(cls, path: Path, size: int, piece_bytes: int) -> PartialFile:
        """Create an empty partial file, replacing an existing one."""
        data, state = partial_paths(path)
        state.unlink(missing_ok=True)
        with disk_errors(data), open(data, "wb") as file:
            file.truncate(size)
        partial = cls(path, size, piece_bytes, [0] * -(-size // piece_bytes))
        partial.save()
        return partial

    @classmethod
    def resume(cls, path: Path) -> PartialFile | None:
        """Open the partial file that an earlier process left; None if its state is invalid."""
        state = _read_state(path)
        if state is None:
            return None
        return cls(path, state["size"], state["piece_bytes"], state["received"])

    def span(self, piece: int) -> tuple[int, int]:
        """First missing byte of a piece, and the piece's end."""
        start = piece * self.piece_bytes
        return start + self.received[piece], min(start + self.piece_bytes, self.size)

    def unfinished(self) -> list[int]:
        """Pieces that are not complete."""
        spans = map(self.span, range(len(self.received)))
        return [piece for piece, (position, end) in enumerate(spans) if position < end]

    def write(self, piece: int, block: bytes) -> None:
        """Write the next bytes of a piece.

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
        """Mark all pieces as not received."""
        self.received = [0] * len(self.received)

    def save(self) -> None:
        """Flush the bytes to disk, then write the state."""
        received = list(self.received)
        with disk_errors(self.data):
            os.fsync(self._file.fileno())
            state = {"size": self.size, "piece_bytes": self.piece_bytes, "received": received}
            write_json(self.state, state)

    def close(self) -> None:
        """Close the file; the received bytes stay."""
        self._file.close()

    def finish(self) -> None:
        """Rename the complete file to its final name."""
        self.close()
        os.replace(self.data, self.path)
        self._remove_state()

    def delete(self) -> None:
        """Delete the received bytes and the state."""
        self.close()
        self._remove_state()
        self.data.unlink(missing_ok=True)

    def _remove_state(self) -> None:
        """Remove the state, and temporary files of processes that were killed while writing it."""
        unwritten = f".{glob.escape(self.state.stem)}.*.partial{self.state.suffix}"
        for path in (self.state, *self.state.parent.glob(unwritten)):
            path.unlink(missing_ok=True)


def partial_paths(path: Path) -> tuple[Path, Path]:
    """Paths of the bytes and of the state of an unfinished ``path``."""
    return path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.partial.json")


def received_bytes(path: Path) -> int:
    """Bytes of ``path`` received so far; 0 if unknown."""
    state = _read_state(path)
    return sum(state["received"]) if state else 0


def _read_state(path: Path) -> dict | None:
    """State of an unfinished file; None if it is missing, invalid or does not match the bytes."""
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
