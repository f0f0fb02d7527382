"""Read CSV tables from outside safely.

An invalid table raises a one-sentence error that names the file and, where it applies, the column
and line.  Invalid are: a path that is not a regular file, or not UTF-8 text; a header that lacks a
column or has one twice; a row longer or shorter than the header; text where a number belongs; and
numbers that are too large or not finite.
"""

from __future__ import annotations

import codecs
import csv
import enum
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mixit_mss.errors import UserError
from mixit_mss.limits import shown

MOST_BYTES = 64 * 2**20
"""Size limit of tables that people read: scores, votes, histories."""
LONGEST_LINE = 2**20
LARGEST = 1e30
"""None of our numbers is larger; larger ones break figures."""


class Kind(enum.Enum):
    """What the cells of a column hold.

    ``GAPPED`` cells are numbers, or empty (nan); ``RATIO`` cells are the same in dB, and may be
    infinite.
    """

    TEXT = "str"
    WHOLE = "int64"
    NUMBER = "float64"
    GAPPED = "float64 or nothing"
    RATIO = "float64, infinite or nothing"


class _Shape(NamedTuple):
    lines: int
    commas: int
    quotes: bool


def read_table(
    path: str | Path, columns: Mapping[str, Kind], most: int = MOST_BYTES
) -> pd.DataFrame:
    """Read the given columns of a table, in that order.

    Args:
        path: CSV, UTF-8, with a header.
        columns: name and kind of each; others are ignored.
        most: largest file size allowed, in bytes.

    Raises:
        UserError: the table is invalid, as described in the module.
    """
    values: dict[str, list] = {name: [] for name in columns}
    for line, row in rows(path, columns, most):
        for name, kind in columns.items():
            values[name].append(value_of(row[name], kind, path, name, line))
    types = {name: kind.value.split(",")[0].split()[0] for name, kind in columns.items()}
    return pd.DataFrame(
        {name: pd.Series(values[name], dtype=object if types[name] == "str" else types[name])
         for name in columns}
    )  # fmt: skip


def read_large_table(path: str | Path, columns: Mapping[str, Kind], most: int) -> pd.DataFrame:
    """Like :func:`read_table`, 100 times as fast, for large tables of text and integers."""
    header, shape = _header(path, most)
    _check_header(path, header, columns)
    if shape.quotes or shape.commas != shape.lines * (len(header) - 1):  # uneven rows?
        for _ in rows(path, columns, most):
            pass
    types = {name: kind.value for name, kind in columns.items()}
    options = {"keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        with np.errstate(invalid="ignore"):  # from values that are not integers
            table = pd.read_csv(path, usecols=list(columns), dtype=types, **options)
    except (ValueError, OverflowError) as error:
        # find the fault with the slow reader
        read_table(path, columns, most)
        raise UserError(f"'{path}' is not a CSV table ({str(error).strip()})") from error
    return table[list(columns)]


def check_text(path: str | Path, most: int) -> None:
    """Check that a file is UTF-8 text of at most ``most`` bytes, before something else reads it.

    Raises:
        UserError: it is not.
    """
    _looked_through(path, most)


def columns_of(path: str | Path, most: int = MOST_BYTES) -> list[str]:
    """Read the header of a table."""
    return _header(path, most)[0]


def rows(
    path: str | Path, needed: Iterable[str], most: int = MOST_BYTES, short: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield every row of a table with its line number; empty lines are skipped.

    Args:
        path: CSV, UTF-8, with a header.
        needed: columns that the table must have.
        most: largest file size allowed, in bytes.
        short: allow rows shorter than the header; missing cells are empty.

    Raises:
        UserError: the table is invalid, as described in the module.
    """
    header, _ = _header(path, most)
    _check_header(path, header, needed)
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        records = _records(reader, path)
        next(records)
        for cells in records:
            if not cells:
                continue
            if len(cells) > len(header):
                raise UserError(
                    f"'{path}', line {reader.line_num}: it has {len(cells)} cells, and the header "
                    f"{len(header)}"
                )
            missing = header[len(cells) :]
            if missing and not short:
                raise _fault(path, missing[0], reader.line_num, "it is missing")
            yield reader.line_num, dict(zip(header, [*cells, *("" for _ in missing)], strict=True))


def value_of(text: str, kind: Kind, path: str | Path, column: str, line: int) -> str | float:
    """Parse a cell as its kind.

    Raises:
        UserError: the cell is not of this kind.
    """
    if kind is Kind.TEXT:
        return text
    if kind is Kind.WHOLE:
        if not re.fullmatch("-?[0-9]{1,18}", text):
            raise _fault(path, column, line, f"{shown(text)} is no whole number")
        return int(text)
    if kind in (Kind.GAPPED, Kind.RATIO) and text.strip().lower() in ("", "nan"):
        return math.nan
    if kind is Kind.RATIO and text in ("inf", "-inf"):
        return float(text)
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        raise _fault(path, column, line, f"{shown(text)} is no number, or none that can be")
    return number


def _fault(path: str | Path, column: str, line: int, what: str) -> UserError:
    return UserError(f"'{path}', column {shown(column)}, line {line}: {what}")


def _records(reader, path: str | Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"'{path}', line {reader.line_num} is not CSV ({error})") from error


def _header(path: str | Path, most: int) -> tuple[list[str], _Shape]:
    shape = _looked_through(path, most)
    with open(path, newline="", encoding="utf-8-sig") as file:
        header = next(_records(csv.reader(file, strict=True), path), [])
    return header, shape


def _check_header(path: str | Path, header: list[str], needed: Iterable[str]) -> None:
    needed = list(needed)
    if not header:
        raise UserError(f"'{path}' is empty; it needs the columns {', '.join(needed)}")
    for name in needed:
        if name not in header:
            raise UserError(f"'{path}' has no column '{name}'; it needs {', '.join(needed)}")
    twice = [name for name in header if header.count(name) > 1] if len(header) < 10_000 else header
    if twice:
        raise UserError(f"'{path}' has the column {shown(twice[0])} twice, or far too many")


def _looked_through(path: str | Path, most: int) -> _Shape:
    """Check that a file is UTF-8 text of at most ``most`` bytes; count its lines and commas."""
    lines = commas = size = 0
    last, quotes = b"", False
    decoder = codecs.getincrementaldecoder("utf-8")()
    for block in _blocks(path):
        if not size and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UserError(f"'{path}' cannot be read: it is UTF-16 text; save it as UTF-8")
        size += len(block)
        if size > most:
            raise UserError(f"'{path}' has more than {most // 2**20} MiB, which no such table has")
        _check_block(path, block, decoder, lines)
        lines += block.count(b"\n")
        commas += block.count(b",")
        quotes, last = quotes or b'"' in block, block
    _check_block(path, b"", decoder, lines, final=True)
    return _Shape(lines + (not last.endswith(b"\n")), commas, quotes)


def _check_block(
    path: str | Path, block: bytes, decoder: codecs.IncrementalDecoder, lines: int, final=False
) -> None:
    if (place := block.find(b"\0")) >= 0:
        line = lines + block.count(b"\n", 0, place) + 1
        raise UserError(
            f"'{path}' cannot be read: line {line} holds NUL characters, so it is no text"
        )
    if len(block) == LONGEST_LINE and b"\n" not in block and b"\r" not in block:
        raise UserError(
            f"'{path}' cannot be read: line {lines + 1} is longer than {LONGEST_LINE // 2**10} KiB"
        )
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError as error:
        line = lines + error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"'{path}' cannot be read: line {line} is not UTF-8 text; save it as UTF-8"
        ) from error


def _blocks(path: str | Path) -> Iterator[bytes]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"'{path}' cannot be read: it is a folder, a pipe or a device")
        with open(path, "rb") as file:
            read: Callable[[], bytes] = lambda: file.read(LONGEST_LINE)  # noqa: E731
            yield from iter(read, b"")
    except (OSError, ValueError) as error:  # ValueError: the path holds NUL
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"'{path}' cannot be read ({reason})") from error
