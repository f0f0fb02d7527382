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
    """Read the text of a regular file.

    Args:
        path: the file.
        most: largest size allowed, in bytes.

    Raises:
        UserError: the file cannot be read, is a folder, a pipe or a device, is larger than
            ``most``, or is not UTF-8.
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
    except (OSError, ValueError) as error:  # ValueError: the path holds NUL
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason})") from error
    if len(content) > most:
        raise UserError(f"{path}: is larger than {most // 1024} KiB, which such a file never is")
    return content


def read_json(path: str | Path, most: int) -> Any:
    """Read a regular file of JSON, in which all numbers must be finite.

    Raises:
        UserError: as in :func:`read_text`, or the file is not valid JSON.
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
