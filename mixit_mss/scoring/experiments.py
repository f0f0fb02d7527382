"""``experiment.json``: metadata of a row of the results table."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mixit_mss.errors import UserError
from mixit_mss.files import write_json
from mixit_mss.limits import shown
from mixit_mss.names import printable
from mixit_mss.reading import read_json

FILE = "experiment.json"
MOST_BYTES = 4 * 2**20


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**18


LONGEST_TEXT = 100_000  # characters: a command line can be long
TEXT, COUNT = (_is_text, "text"), (_is_count, "a count")
KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "label": (lambda value: _is_text(value) and bool(value), "some text"),
    "order": (_is_number, "a number"),
    "parameters": COUNT,
    "steps": COUNT,
    "seed": (_is_number, "a number"),
    "commit": TEXT,
    "command": TEXT,
    "config": TEXT,
}
"""For each key of the file, a check of its value and its description; any value may be null."""
KEYS = tuple(KINDS)


def write_experiment(folder: str | Path, **known: object) -> None:
    """Write or update ``folder/experiment.json``.

    Args:
        folder: the experiment's folder.
        known: any of ``label`` (row title), ``order`` (place in the table), ``parameters`` and
            ``steps`` (counts; None for an oracle), ``seed``, ``commit``, ``command`` and ``config``
            (path).  Values from earlier stages stay unless they are given here.
    """
    unknown = set(known) - set(KEYS)
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; an experiment has {', '.join(KEYS)}")
    path = Path(folder) / FILE
    before = _read(path) if path.exists() else dict.fromkeys(KEYS)
    write_json(path, {**before, **known})


def read_experiment(folder: str | Path) -> dict:
    """Read ``folder/experiment.json``; the result has every key, and a label and an order."""
    path = Path(folder) / FILE
    if not path.exists():
        raise UserError(
            f"{path} is missing; score this experiment with --label, or leave it out of the report"
        )
    experiment = _read(path)
    if experiment.get("label") is None or experiment.get("order") is None:
        raise UserError(
            f"{path} has no label or order; score the experiment with --label and --order"
        )
    experiment["label"] = printable(experiment["label"])
    return {**dict.fromkeys(KEYS), **experiment}


def has_row(folder: str | Path, label: str, order: int) -> bool:
    """Whether ``folder/experiment.json`` has this label and order."""
    try:
        known = _read(Path(folder) / FILE)
    except (UserError, OSError):
        return False
    return (known.get("label"), known.get("order")) == (label, order)


def command_line(command: str, argv: list[str] | None) -> str:
    """The shell command line of ``command`` with the arguments that its ``main`` was given."""
    return shlex.join(["mixit-mss", command, *(sys.argv[1:] if argv is None else argv)])


def current_commit() -> str:
    """Short hash of the checked-out commit, with ``+`` if the code has uncommitted changes.

    Only changes in the package count, since a report in the checkout is a change too.  ``unknown``
    outside a git checkout.
    """
    package = Path(__file__).resolve().parents[1]
    try:
        commit = _git(package, "rev-parse", "--short=10", "HEAD")
        changes = _git(package, "status", "--porcelain", "--", str(package))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changes else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _read(path: Path) -> dict:
    try:
        content = read_json(path, MOST_BYTES)
    except UserError as error:
        raise UserError(f"{error}; remove it and run its stage again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a table of keys; remove it and run its stage again")
    for name, (known, what) in KINDS.items():
        value = content.get(name)
        if value is not None and not known(value):
            raise UserError(
                f"{path}: {name} is {shown(value)} and must be {what}; remove the file and run its "
                "stage again"
            )
    return content
