"""Records of a run (config, history, bad batches), kept in ``runs/KEY`` of the experiment.

The experiment's folder has copies of the files of the run that was last active or requested.  So
they describe its model even after a run with other settings was started and abandoned.
"""

from __future__ import annotations

import json
import platform
import shutil
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from mixit_mss.files import sweep, write_text
from mixit_mss.scoring.experiments import current_commit
from mixit_mss.training.hardware import is_first_process

RUN, HISTORY, BAD_BATCHES = "run.json", "history.csv", "bad_batches.csv"
SHOWN = (RUN, HISTORY, BAD_BATCHES)
TENSORBOARD = "tensorboard"
KEY_DIGITS = 12
PACKAGES = ("mixit_mss", "torchaudio", "pytorch-lightning", "asteroid", "numpy")


class Records:
    """The files that describe one run.

    Args:
        experiment: the experiment's folder.
        key: of the run; see :attr:`mixit_mss.stamps.Fingerprint.digest`.

    Attributes:
        folder: the run's own folder.
    """

    def __init__(self, experiment: str | Path, key: str) -> None:
        self.experiment = Path(experiment)
        self.folder = self.experiment / "runs" / key[:KEY_DIGITS]

    def read(self, name: str) -> str | None:
        """The content of a file of this run; None if there is no such file."""
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file of this run, and copy it to the experiment's folder."""
        write_text(self.folder / name, text)
        write_text(self.experiment / name, text)

    def show(self) -> None:
        """Copy the files of this run to the experiment's folder, if there are any."""
        if not self.folder.is_dir():
            return
        for name in SHOWN:
            text, shown = self.read(name), self.experiment / name
            if text is None:
                shown.unlink(missing_ok=True)
            elif not shown.is_file() or shown.read_bytes() != text.encode():
                write_text(shown, text)

    def begin(self) -> None:
        """Create the folder, remove leftovers of killed processes, and show this run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.experiment, self.folder):
            sweep(folder)
        self.show()

    def forget_others(self) -> None:
        """Remove the records of runs with other settings, whose models are gone."""
        for other in self.folder.parent.iterdir():
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)


def write_run(records: Records, command: str, network: dict, config: dict) -> None:
    """Add this start to ``run.json``, with the present config and network."""
    if not is_first_process():
        return
    records.begin()
    try:
        starts = list(json.loads(records.read(RUN) or "")["starts"])
    except (ValueError, LookupError, TypeError, RecursionError):
        starts = []
    start = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "commit": current_commit(),
        **machine(),
    }
    content = {"config": config, "network": network, "starts": [*starts, start]}
    records.write(RUN, json.dumps(content, indent=2) + "\n")


def machine() -> dict:
    """Versions, processor and GPUs."""
    import torch

    return {
        "python": platform.python_version(),
        "packages": {"torch": torch.__version__, **{name: version(name) for name in PACKAGES}},
        "system": platform.platform(),
        "host": platform.node(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
