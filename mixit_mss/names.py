"""Turn names from outside into paths: the only place where that happens.

Songs, stems, labels, splits, tracks and members of archives are called by others: by whoever named a
file, wrote a table or published a model.  Such a name becomes a path here and nowhere else:

    slashes part folders; every part stays as it is, except that what no file may be called by, or what
    would lead elsewhere, is written as a percent sign and two hexadecimal digits, as in a URL (a leading
    dot is ``%2E``, a line feed ``%0A``, the byte E9 of a name that is not UTF-8 ``%E9``), and that a part
    longer than 196 bytes is cut and ends in ``~`` and eight digits of its checksum.

In tables and messages a name is :func:`printable` text.  Two names that print differently never become
one path, and no name leads out of the folder that was asked for.  A path in a table has to be found
again: :func:`path_text` writes it, :func:`path_of` reads it, whatever bytes it holds.
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
UNCUT_BYTES = MAX_PART_BYTES - 4  # what is cut keeps more, so that it is like no name that was not

# control characters, separators of lines, and what is not UTF-8
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# of printable text, what no part of a path may hold, and percent signs that would be taken for ours
_IN_TABLE = re.compile(_UNPRINTABLE.pattern + "|%(?=[0-9A-Fa-f]{2})")
_ESCAPES = re.compile("(?:%[0-9A-Fa-f]{2})+")
_ESCAPED = re.compile(r"[\\/]|^\.|%(?=5C|2F|2E|25)", re.IGNORECASE)


def file_name(name: str) -> str:
    """A name as one part of a path; slashes in it are written ``%2F``.

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
    """A name with folders in it, such as ``album/song``, as a path below another folder.

    >>> relative_path("../../precious").as_posix()
    '%2E./%2E./precious'
    >>> relative_path("/etc//passwd").as_posix()
    'etc/passwd'

    Raises:
        UserError: the name is empty, or nothing but slashes.
    """
    return PurePosixPath(*map(file_name, [part for part in name.split("/") if part] or [""]))


def place(folder: str | Path, name: str, suffix: str = "") -> Path:
    """Where below ``folder`` something of this name is kept.

    Args:
        folder: what was asked for.
        name: given by others; slashes part folders.
        suffix: ours, such as ``.wav``.

    Raises:
        UserError: the name is empty.
    """
    relative = relative_path(name)
    return inside(folder, Path(folder) / relative.with_name(relative.name + suffix))


def inside(folder: str | Path, path: str | Path) -> Path:
    """``path``, which is about to be made: the last check that it lies in ``folder``.

    Links are not followed: a folder of ours may be a link to another disk.

    Raises:
        UserError: it does not.
    """
    top = os.path.join(os.path.abspath(folder), "")
    if not os.path.abspath(path).startswith(top):
        raise UserError(f"'{printable(path)}' does not lie in '{printable(folder)}'; not written")
    return Path(path)


def printable(text: object) -> str:
    """Text for people and tables: one line of valid UTF-8, with the rest escaped as in a path."""
    return _UNPRINTABLE.sub(_percent, str(text))


def path_text(path: str | Path) -> str:
    """A path as one line of UTF-8, from which :func:`path_of` makes exactly that path.

    As it is, but for control characters, bytes that are not UTF-8, and percent signs before two
    hexadecimal digits: these bytes become a percent sign and two digits.

    >>> path_text("100%.wav"), path_text("a%20b"), path_text("caf\\udce9")
    ('100%.wav', 'a%2520b', 'caf%E9')
    """
    return _IN_TABLE.sub(_percent, str(path))


def path_of(text: str) -> str:
    """The path that :func:`path_text` wrote."""
    return _ESCAPES.sub(lambda match: os.fsdecode(bytes.fromhex(match[0].replace("%", ""))), text)


def distinct(name: str) -> str:
    """The name, marked by its checksum where some disks take it for another: if it is not in NFC."""
    if unicodedata.is_normalized("NFC", name):
        return name
    return f"{name}~{hashlib.sha256(printable(name).encode()).hexdigest()[:8]}"


def _percent(match: re.Match[str]) -> str:
    character = match[0]
    try:
        encoded = os.fsencode(character)
    except UnicodeEncodeError:  # half of a pair, which no file name holds
        encoded = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in encoded)
