"""A corpus that is listed in a CSV table, wherever its files are."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from mixit_mss.data.corpora import Record
from mixit_mss.data.manifest import SPLITS
from mixit_mss.errors import UserError

NEEDED = ("path", "song")


def listed_songs(table: str | Path) -> list[Record]:
    """Songs of a table with columns path and song, and as wanted stem, split and license.

    A path is relative to the table's folder.  ``stem`` is "mixture" where it is empty or there is
    no such column; ``split`` is train, valid, test or empty.  Files are not looked up.

    Raises:
        UserError: names the table and its line or column.
    """
    folder = os.path.dirname(os.path.abspath(table))
    records = []
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            for name in NEEDED:
                if name not in (reader.fieldnames or ()):
                    raise UserError(f"'{table}' has no column '{name}'; it needs path and song")
            for row in reader:
                records.append(_record(row, folder, f"'{table}', line {reader.line_num}"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{table}' cannot be read as a CSV table ({error})") from error
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
