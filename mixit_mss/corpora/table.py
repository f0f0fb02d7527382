"""A corpus that is listed in a CSV table, wherever its files are."""

from __future__ import annotations

import os
from pathlib import Path

from mixit_mss.corpora import Record
from mixit_mss.data.manifest import MOST_BYTES, SPLITS
from mixit_mss.errors import UserError
from mixit_mss.tables import rows

NEEDED = ("path", "song")


def listed_songs(table: str | Path) -> list[Record]:
    """Songs of a table with columns path and song, and optionally stem, split and license.

    A path is relative to the table's folder.  An empty or missing ``stem`` means "mixture";
    ``split`` is train, valid, test or empty.  Whether the files exist is not checked.

    Raises:
        UserError: names the table and the line or column of the error.
    """
    folder = os.path.dirname(os.path.abspath(table))
    records = [
        _record(row, folder, f"'{table}', line {line}")
        for line, row in rows(table, NEEDED, MOST_BYTES, short=True)
    ]
    if not records:
        raise UserError(f"'{table}' lists no song")
    return records


def _record(row: dict[str, str], folder: str, place: str) -> Record:
    for name in NEEDED:
        if not row[name]:
            raise UserError(f"{place}: column '{name}' is empty")
    split = row.get("split", "")
    if split not in ("", *SPLITS):
        raise UserError(f"{place}: split '{split}' is not {', '.join(SPLITS)} or empty")
    path = os.path.normpath(os.path.join(folder, row["path"]))
    stem = row.get("stem") or "mixture"
    return Record(path, row["song"], stem, split, row.get("license", ""))
