"""The table that a training run keeps of itself, ``history.csv``: one row per epoch."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mixit_mss.errors import UserError

HISTORY = (
    "history.csv"  # the trainer writes it; naming it here spares the report from loading torch
)
NEEDED = ("step", "train_loss")


def find_history(folder: str | Path) -> Path | None:
    """The table of an experiment, or of the pre-training whose outputs it selected; None without."""
    folder = Path(folder)
    places = [folder]
    if not (folder / "history.csv").exists() and (folder / "votes.csv").exists():
        places.append(folder.absolute().parent)
    return next((place / HISTORY for place in places if (place / HISTORY).is_file()), None)


def read_history(path: str | Path) -> pd.DataFrame:
    """Read ``history.csv``.

    Returns:
        One row per epoch: ``step``, ``train_loss``, ``val_loss``, ``val_usdr`` (dB) and ``lr``, and
        whatever else the trainer wrote.  An epoch without validation has nan; a column that the
        trainer does not write is nan throughout.

    Raises:
        UserError: the file is no such table.
    """
    try:
        table = pd.read_csv(path)
        missing = [name for name in NEEDED if name not in table]
        if missing:
            raise ValueError(f"no column '{missing[0]}'")
        for name in ("val_loss", "val_usdr", "lr"):
            if name not in table:
                table[name] = float("nan")
        numbers = ["step", "train_loss", "val_loss", "val_usdr", "lr"]
        table[numbers] = table[numbers].astype(float)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is no history of a training ({error}); run the training again"
        ) from error
    return table
