"""``-``: read a song from standard input, write one stem to standard output.

Both pass through a temporary file: many formats cannot be decoded without seeking, and what was
written to a pipe cannot be changed.  So standard output gets a complete stem with a correct header,
or nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mixit_mss.errors import UserError
from mixit_mss.separation.request import Options

STANDARD = "-"


@contextlib.contextmanager
def stored_input(songs: list[str]) -> Iterator[list[str]]:
    """``songs``, with ``-`` replaced by a file called ``stdin`` that holds all of standard input.

    Raises:
        UserError: standard input is a terminal, or ``-`` is given twice.
    """
    if STANDARD not in songs:
        yield songs
        return
    if songs.count(STANDARD) > 1 or sys.stdin.isatty():
        raise UserError("- stands for one song on standard input; send one into it with < or |")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, 1 << 20)
        yield [str(path) if song == STANDARD else song for song in songs]


def check_output(options: Options, songs: list) -> None:
    """Raise UserError unless exactly one file goes to standard output, which is not a terminal."""
    if len(songs) != 1 or options.stems is None or len(options.stems) != 1:
        raise UserError(
            "--out - writes one stem of one song to standard output; choose it with --stems, as in "
            "--stems vocals"
        )
    if sys.stdout.isatty():
        raise UserError("--out - would write audio to the terminal; redirect it with > or |")


def put_out(folder: Path) -> None:
    """Write the one stem below ``folder`` to standard output, until the reader closes the pipe."""
    (stem,) = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    try:
        with stem.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python flushes once more at exit, which must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
