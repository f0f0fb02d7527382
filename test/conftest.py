"""What every test may use: golden numbers, and the slow references in test/reference."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


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
