"""Argument types of all commands; each states its range, and errors are one sentence.

A type is a function from the argument's text to its value.  Types check the text, and whether a
path is a file or a folder; they open no file and import nothing large.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
from collections.abc import Callable, Sequence
from typing import Any, NoReturn
from urllib.parse import urlsplit

from mixit_mss import limits
from mixit_mss.errors import UsageError

MAX_PATH, MAX_PART, MAX_TEXT = 4096, 255, 1000
DEVICES = "auto, cpu, cuda, cuda:1, mps"


class Help(argparse.RawDescriptionHelpFormatter):
    """Help that keeps the line breaks of long descriptions and shows informative defaults."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, [], argparse.SUPPRESS) or "(default" in (
            action.help or ""
        ):
            return action.help
        return f"{action.help} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """A command-line parser with ``--debug`` and one-sentence errors.

    :func:`mixit_mss.bin.main.run` removes ``--debug`` before it parses the command line.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.add_argument(
            "--debug",
            action=_Heard,
            nargs=0,
            default=argparse.SUPPRESS,
            help="show where in the code an error comes from",
        )

    def error(self, message: str) -> NoReturn:
        """Raise a :class:`~mixit_mss.errors.UsageError`."""
        message = re.sub(r"^argument (\S+): ", r"\1 ", " ".join(message.split()))
        message = re.sub(r"invalid choice: (.*) \(choose from (.*)\)$", _choose, message)
        if len(message) > 600:
            message = f"{message[:400]} ... {message[-150:]}"
        raise UsageError(f"{message} (`{self.prog} --help` explains)")


class _Heard(argparse.Action):
    """Accept an option without storing it."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        pass


def ranged(limit: limits.Whole | limits.Number) -> Callable[[str], Any]:
    """Return a type for numbers within a limit."""

    def parse(word: str) -> int | float:
        try:
            return limit.parse(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def whole(lowest: int, highest: int, what: str = "", why: str = "") -> Callable[[str], int]:
    """Return a type for integers from ``lowest`` to ``highest``."""
    return ranged(limits.Whole(lowest, highest, what, why))


def number(lowest: float, highest: float, what: str = "", **open_ends: bool):
    """Return a type for finite numbers in a range; ``above=True`` excludes ``lowest``."""
    return ranged(limits.Number(lowest, highest, what, **open_ends))


def text(word: str) -> str:
    """Any text of limited length without NUL."""
    if "\0" in word or len(word) > MAX_TEXT:
        raise _wrong(word, f"must be a text of at most {MAX_TEXT} letters, without NUL")
    return word


def filled(word: str) -> str:
    """A :func:`text` that is not empty."""
    if not word.strip():
        raise _wrong(word, "is empty")
    return text(word)


def device(word: str) -> str:
    """A torch device; whether it exists is checked later."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", word):
        raise _wrong(word, f"must be one of {DEVICES}")
    return word


def shard(word: str) -> str:
    """A share such as ``3/8``, the third of eight."""
    from mixit_mss.errors import UserError
    from mixit_mss.parallel import parse_shard

    try:
        parse_shard(word)
    except UserError:
        raise _wrong(word, "must be written as 3/8, for the third of eight shares") from None
    return word


def stems(word: str) -> str:
    """Different names, separated by commas."""
    names = [name.strip() for name in word.split(",")]
    try:
        limits.check_names(names)
    except ValueError as error:
        raise _wrong(word, f"must be different names, separated by commas: {error}") from None
    return word


def stem(word: str) -> str:
    """One name."""
    try:
        limits.check_names([word])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return word


def url(word: str) -> str:
    """An ``http`` or ``https`` address."""
    if not word.isascii() or not word.isprintable() or " " in word or len(word) > 2000:
        raise _wrong(word, "must be an address in plain letters")
    try:
        parts = urlsplit(word)
        valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise _wrong(word, f"is no address ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise _wrong(word, "must begin with http:// or https://")
    if not valid or not parts.hostname:
        raise _wrong(word, "names no server")
    return word


def song(word: str) -> str:
    """A file, folder or pattern; its songs are checked one by one later."""
    if not word or "\0" in word:
        raise _wrong(word, "names no song")
    return word


def any_path(word: str) -> str:
    """A valid path, or a prefix of several, such as manifests/labelled."""
    _mode(word)
    return word


def input_path(word: str) -> str:
    """A file or a folder; whether it exists is checked when it is read."""
    mode = _mode(word)
    if mode is not None and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _wrong(word, f"is {_kind(mode)}, neither a file nor a folder")
    return word


def input_file(word: str) -> str:
    """A regular file."""
    return _a(word, stat.S_ISREG, "a file is needed")


def input_folder(word: str) -> str:
    """A folder."""
    return _a(word, stat.S_ISDIR, "a folder is needed")


def existing_folder(word: str) -> str:
    """An :func:`input_folder`, or an empty text."""
    return word and input_folder(word)


def output_file(word: str) -> str:
    """A writable file path: not a folder or a device, and inside a folder."""
    _a(word, stat.S_ISREG, "a file is to be written")
    if word.endswith(("/", os.sep)):
        raise _wrong(word, "ends like a folder, but a file is to be written")
    _check_parents(word)
    return word


def output_folder(word: str) -> str:
    """A writable folder path: it may exist or not, but must not be a file."""
    _a(word, stat.S_ISDIR, "a folder is to be written")
    _check_parents(word)
    return word


def output_folder_or_pipe(word: str) -> str:
    """An :func:`output_folder`, or ``-`` for standard output."""
    return word if word == "-" else output_folder(word)


def model(word: str) -> str:
    """A model folder, ``hf:USER/NAME`` or ``official:NAME``."""
    if word.startswith("hf:"):
        if not re.fullmatch(r"hf:[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}", word):
            raise _wrong(word, "must be written as hf:USER/NAME")
        return word
    if word.startswith("official:"):
        any_path(word.removeprefix("official:"))
        return word
    return input_folder(word)


def _mode(word: str) -> int | None:
    """The mode of what is at a path; None if nothing is."""
    if not word:
        raise _wrong(word, "names nothing: a path is needed")
    if "\0" in word:
        raise _wrong(word, "cannot be a path: it holds NUL")
    raw = os.fsencode(word)
    if len(raw) >= MAX_PATH or any(len(part) > MAX_PART for part in raw.split(b"/")):
        raise _wrong(word, "is too long for a path")
    try:
        return os.stat(word).st_mode
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise _wrong(word, "lies in a file, where a folder is needed") from None
    except OSError as error:
        raise _wrong(word, f"cannot be reached ({error.strerror})") from None


def _a(word: str, is_wanted: Callable[[int], bool], needed: str) -> str:
    mode = _mode(word)
    if mode is not None and not is_wanted(mode):
        raise _wrong(word, f"is {_kind(mode)}, but {needed}")
    return word


def _check_parents(word: str) -> None:
    """Check that the nearest existing parent of a path is a folder, and writable if needed."""
    parent = os.path.dirname(os.path.abspath(word))
    while not os.path.lexists(parent) and os.path.dirname(parent) != parent:
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        raise _wrong(word, f"cannot be written: '{parent}' is no folder")
    # an existing output may need no writing
    if not os.path.lexists(word) and not os.access(parent, os.W_OK | os.X_OK):
        raise _wrong(word, f"cannot be written: nothing can be made in '{parent}'")


def _kind(mode: int) -> str:
    for is_one, name in (
        (stat.S_ISREG, "a file"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if is_one(mode):
            return name
    return "a device"


def _wrong(word: str, problem: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{limits.told(word)} {problem}")


def _choose(match: re.Match[str]) -> str:
    value: Sequence[str] = match[1]
    short = value if len(value) <= 60 else f"{value[:40]}..."
    return f"{short} is unknown; choose one of {match[2]}"
