"""``experiment.json``: what a row of the results table needs to know besides its scores."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from mixit_mss.errors import UserError
from mixit_mss.files import write_json

FILE = "experiment.json"
KEYS = ("label", "order", "parameters", "steps", "seed", "commit", "command", "config")


def write_experiment(folder: str | Path, **known: object) -> None:
    """Write or complete ``folder/experiment.json``.

    Args:
        folder: the experiment's folder.
        known: any of ``label`` (row title), ``order`` (place in the table), ``parameters`` and
            ``steps`` (counts; None for an oracle), ``seed``, ``commit``, ``command`` and ``config``
            (path).  What an earlier stage wrote stays unless it is given here.
    """
    unknown = set(known) - set(KEYS)
    if unknown:
        raise ValueError(f"unknown keys {sorted(unknown)}; an experiment has {', '.join(KEYS)}")
    path = Path(folder) / FILE
    before = _read(path) if path.exists() else dict.fromkeys(KEYS)
    write_json(path, {**before, **known})


def read_experiment(folder: str | Path) -> dict:
    """Read ``folder/experiment.json``; every key is there, and label and order are set."""
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
    return {**dict.fromkeys(KEYS), **experiment}


def has_row(folder: str | Path, label: str, order: int) -> bool:
    """Whether ``folder/experiment.json`` tells of this title and place in the table."""
    try:
        known = _read(Path(folder) / FILE)
    except (UserError, OSError):
        return False
    return (known.get("label"), known.get("order")) == (label, order)


def command_line(command: str, argv: list[str] | None) -> str:
    """What one types for ``command`` with the arguments that its ``main`` was given."""
    return shlex.join(["mixit-mss", command, *(sys.argv[1:] if argv is None else argv)])


def current_commit() -> str:
    """Short name of the checked-out commit, with ``+`` if the code differs from it.

    Only the package counts, since a report that lies in the checkout changes the checkout.
    ``unknown`` outside a git checkout.
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
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} is not JSON ({error}); remove it and run its stage again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a table of keys; remove it and run its stage again")
    return content
