"""Read small text and JSON files from outside safely: regular files only, up to a size limit."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

from mixit_mss.errors import UserError
from mixit_mss.limits import shown


def read_text(path: str | Path, most: int) -> str:
    """The text of a regular file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        UserError: it cannot be read, is a folder, a pipe or a device, is larger, or is not UTF-8.
    """
    content = _read(path, most)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: is UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line} is not UTF-8 text; save it as UTF-8") from error


def _read(path: str | Path, most: int) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{path}: is no file that could be read, but a folder, pipe or device")
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # a ValueError where the path holds NUL
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason})") from error
    if len(content) > most:
        raise UserError(f"{path}: is larger than {most // 1024} KiB, which such a file never is")
    return content


def read_json(path: str | Path, most: int) -> Any:
    """What a regular file of JSON holds; numbers are finite.

    Raises:
        UserError: as :func:`read_text`, or it is not JSON.
    """
    text = read_text(path, most)
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error})") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(shown(text))
