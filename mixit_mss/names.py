"""Turn names from outside into paths; no other module does this.

The names of songs, stems, labels, splits, tracks and archive members come from files, tables and
published models.  They become paths by these rules:

    Slashes separate folders.  Each part stays as it is, with two exceptions.  Characters that no
    file name may hold, or that would lead elsewhere, become a percent sign and two hexadecimal
    digits, as in a URL: a leading dot is ``%2E``, a line feed ``%0A``, the byte E9 of a name that
    is not UTF-8 ``%E9``.  A part longer than 196 bytes is cut and ends in ``~`` and eight digits of
    its checksum.

In tables and messages a name is :func:`printable` text.  Names that print differently never share a
path, and no name leads out of the requested folder.  Paths in tables must be readable again:
:func:`path_text` writes them and :func:`path_of` reads them, whatever bytes they hold.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path, PurePosixPath

from mixit_mss.errors import UserError

MAX_PART_BYTES = 200
"""Leaves room, within the 255 bytes of most file systems, for suffixes and temporary names."""
UNCUT_BYTES = MAX_PART_BYTES - 4  # cut names are longer than this, so they never equal an uncut one

# control characters, line separators, and bytes that are not UTF-8
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# unprintable characters, and percent signs that would be read as escapes
_IN_TABLE = re.compile(_UNPRINTABLE.pattern + "|%(?=[0-9A-Fa-f]{2})")
_ESCAPES = re.compile("(?:%[0-9A-Fa-f]{2})+")
_ESCAPED = re.compile(r"[\\/]|^\.|%(?=5C|2F|2E|25)", re.IGNORECASE)


def file_name(name: str) -> str:
    """Turn a name into one part of a path; slashes become ``%2F``.

    >>> file_name("AC/DC"), file_name(".."), file_name("100% live")
    ('AC%2FDC', '%2E.', '100% live')

    Raises:
        UserError: the name is empty.
    """
    if not name:
        raise UserError("an empty name was given where a song or a stem needs one")
    name = printable(name)
    text = _ESCAPED.sub(_percent, name)
    encoded = text.encode()
    if len(encoded) > UNCUT_BYTES:
        mark = "~" + hashlib.sha256(name.encode()).hexdigest()[:8]
        text = encoded[: MAX_PART_BYTES - len(mark)].decode("utf-8", "ignore") + mark
    return text


def relative_path(name: str) -> PurePosixPath:
    """Turn a name with folders, such as ``album/song``, into a relative path.

    >>> relative_path("../../precious").as_posix()
    '%2E./%2E./precious'
    >>> relative_path("/etc//passwd").as_posix()
    'etc/passwd'

    Raises:
        UserError: the name is empty or holds only slashes.
    """
    return PurePosixPath(*map(file_name, [part for part in name.split("/") if part] or [""]))


def place(folder: str | Path, name: str, suffix: str = "") -> Path:
    """The path below ``folder`` for a name.

    Args:
        folder: the requested folder.
        name: a name from outside; slashes separate folders.
        suffix: our suffix, such as ``.wav``.

    Raises:
        UserError: the name is empty.
    """
    relative = relative_path(name)
    return inside(folder, Path(folder) / relative.with_name(relative.name + suffix))


def inside(folder: str | Path, path: str | Path) -> Path:
    """Return ``path`` after the last check, before it is written, that it lies in ``folder``.

    Links are not followed, because one of our folders may be a link to another disk.

    Raises:
        UserError: it does not.
    """
    top = os.path.join(os.path.abspath(folder), "")
    if not os.path.abspath(path).startswith(top):
        raise UserError(f"'{printable(path)}' does not lie in '{printable(folder)}'; not written")
    return Path(path)


def printable(text: object) -> str:
    """Text for messages and tables: one line of valid UTF-8, with the rest escaped as in a path."""
    return _UNPRINTABLE.sub(_percent, str(text))


def path_text(path: str | Path) -> str:
    """Write a path as one line of UTF-8, from which :func:`path_of` restores exactly that path.

    Control characters, bytes that are not UTF-8, and percent signs before two hexadecimal digits
    become a percent sign and two digits for each byte; the rest stays as it is.

    >>> path_text("100%.wav"), path_text("a%20b"), path_text("caf\\udce9")
    ('100%.wav', 'a%2520b', 'caf%E9')
    """
    return _IN_TABLE.sub(_percent, str(path))


def path_of(text: str) -> str:
    """Read a path that :func:`path_text` wrote."""
    return _ESCAPES.sub(lambda match: os.fsdecode(bytes.fromhex(match[0].replace("%", ""))), text)


def distinct(name: str) -> str:
    """The name; if not in NFC, with a checksum, as some disks would take it for another."""
    if unicodedata.is_normalized("NFC", name):
        return name
    return f"{name}~{hashlib.sha256(printable(name).encode()).hexdigest()[:8]}"


def _percent(match: re.Match[str]) -> str:
    character = match[0]
    try:
        encoded = os.fsencode(character)
    except UnicodeEncodeError:  # half of a surrogate pair, which no file name holds
        encoded = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in encoded)
