"""What every test may use: golden numbers, and the slow references in test/reference."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
SLOW = ("egs", "slurm", "tools", "training", "robustness")
sys.path.insert(0, str(HERE))
# a suite that a shell starts in the background inherits that Ctrl-C is ignored, and so do the programs
# that are interrupted here
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Whole recipes and trainings come first, so that quick files fill up the end."""
    items.sort(key=lambda item: item.path.relative_to(HERE).parts[0] not in SLOW)


@pytest.fixture(scope="session")
def golden():
    """Load one of the golden files: arrays by name."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(HERE / "golden" / name) as arrays:
            return dict(arrays)

    return load


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
