"""What describes a run lies with it, in ``runs/KEY`` of the experiment.

The experiment's own folder shows the files of the run that was at work, or asked for, last: so they
describe its model also after a run with other settings was begun and given up.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mixit_mss.files import sweep, write_text

RUN, HISTORY, BAD_BATCHES = "run.json", "history.csv", "bad_batches.csv"
SHOWN = (RUN, HISTORY, BAD_BATCHES)
TENSORBOARD = "tensorboard"
KEY_DIGITS = 12


class Records:
    """The files that describe one run.

    Args:
        experiment: its folder.
        key: of the run: see :attr:`mixit_mss.stamps.Fingerprint.digest`.

    Attributes:
        folder: of this run alone.
    """

    def __init__(self, experiment: str | Path, key: str) -> None:
        self.experiment = Path(experiment)
        self.folder = self.experiment / "runs" / key[:KEY_DIGITS]

    def read(self, name: str) -> str | None:
        """A file of this run; None where it has none."""
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file of this run, and show it."""
        write_text(self.folder / name, text)
        write_text(self.experiment / name, text)

    def show(self) -> None:
        """Let the experiment's folder show this run, if anything is known of it."""
        if not self.folder.is_dir():
            return
        for name in SHOWN:
            text, shown = self.read(name), self.experiment / name
            if text is None:
                shown.unlink(missing_ok=True)
            elif not shown.is_file() or shown.read_bytes() != text.encode():
                write_text(shown, text)

    def begin(self) -> None:
        """Make the folder, clear away what killed processes left, and show this run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.experiment, self.folder):
            sweep(folder)
        self.show()

    def forget_others(self) -> None:
        """Remove what runs with other settings have left: their model is gone."""
        for other in self.folder.parent.iterdir():
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
