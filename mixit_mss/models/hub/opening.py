"""Open a network by any of its names, on a chosen device."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from mixit_mss.errors import UserError
from mixit_mss.models.hub import load_model
from mixit_mss.models.network import Network

OFFICIAL = "official:"


def open_model(name: str | Path) -> Network:
    """Open a model folder, ``hf:user/name``, or ``official:NAME`` (or a file of such weights)."""
    name = str(name)
    if not name.startswith(OFFICIAL):
        return load_model(name)
    from mixit_mss.models.hub.published import NOTICE, import_official

    model = import_official(name.removeprefix(OFFICIAL))
    print(NOTICE, file=sys.stderr)
    return model


def pick_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the first available of CUDA, Apple's MPS and the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise RuntimeError("it computes nothing")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        raise UserError(f"--device {name} cannot be used here: {error}".split("\n")[0]) from error
    return device
