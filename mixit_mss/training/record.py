"""``run.json``: what exactly was run, where, and each time that it was taken up again."""

from __future__ import annotations

import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version

import torch

from mixit_mss.evaluation.experiments import current_commit
from mixit_mss.training.hardware import is_first_process
from mixit_mss.training.records import RUN, Records

PACKAGES = ("mixit_mss", "torchaudio", "pytorch-lightning", "asteroid", "numpy")


def write_run(records: Records, command: str, network: dict, config: dict) -> None:
    """Add a start to ``run.json``, with the config and the network as they are now."""
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
    return {
        "python": platform.python_version(),
        "packages": {"torch": torch.__version__, **{name: version(name) for name in PACKAGES}},
        "system": platform.platform(),
        "host": platform.node(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
