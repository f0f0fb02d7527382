"""``run.json``: what exactly was run, where, and each time that it was taken up again."""

from __future__ import annotations

import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch

from mixit_mss.evaluation.experiments import current_commit
from mixit_mss.files import write_json
from mixit_mss.training.hardware import is_first_process

FILE = "run.json"
PACKAGES = ("mixit_mss", "torchaudio", "pytorch-lightning", "asteroid", "numpy")


def write_run(folder: Path, command: str, network: dict, config: dict) -> None:
    """Add a start to ``folder/run.json``, with the config and the network as they are now."""
    if not is_first_process():
        return
    path = folder / FILE
    try:
        starts = list(json.loads(path.read_text(encoding="utf-8"))["starts"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        starts = []
    start = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "commit": current_commit(),
        **machine(),
    }
    write_json(path, {"config": config, "network": network, "starts": [*starts, start]})


def machine() -> dict:
    """Versions, processor and GPUs."""
    return {
        "python": platform.python_version(),
        "packages": {"torch": torch.__version__, **{name: version(name) for name in PACKAGES}},
        "system": platform.platform(),
        "host": platform.node(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
