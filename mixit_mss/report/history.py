"""Read ``history.csv``, the table of a training run with one row per epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mixit_mss.errors import UserError
from mixit_mss.tables import Kind, columns_of, read_table

HISTORY = "history.csv"  # written by the trainer; repeated here to avoid importing torch
NEEDED = ("step", "train_loss")
LOSSES = ("train_loss", "val_loss", "val_usdr", "lr")


def find_history(folder: str | Path) -> Path | None:
    """The table of an experiment, or of the pre-training it took outputs from; None if absent."""
    folder = Path(folder)
    places = [folder]
    if not (folder / "history.csv").exists() and (folder / "votes.csv").exists():
        places.append(folder.absolute().parent)
    return next((place / HISTORY for place in places if (place / HISTORY).is_file()), None)


def read_history(path: str | Path) -> pd.DataFrame:
    """Read ``history.csv``.

    Returns:
        One row per epoch: ``step``, ``train_loss``, ``val_loss``, ``val_usdr`` (dB), ``lr``, and
        any other columns that the trainer wrote.  An epoch without validation has nan; a column
        that the trainer did not write is all nan.

    Raises:
        UserError: the file is not a training history.
    """
    try:
        known = columns_of(path)
        losses = [name for name in LOSSES if name in known or name in NEEDED]
        table = read_table(path, {"step": Kind.GAPPED, **dict.fromkeys(losses, Kind.RATIO)})
        if not len(table):
            raise UserError(f"'{path}' holds no epoch")
        if not table["step"].ge(0).all():
            raise UserError(f"'{path}', column 'step': a step is negative or missing")
    except UserError as error:
        raise UserError(
            f"{path} is no history of a training ({error}); run the training again"
        ) from error
    for name in LOSSES:
        if name not in table:
            table[name] = float("nan")
    return table.replace([np.inf, -np.inf], np.nan)  # from diverged training
