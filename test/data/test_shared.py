"""What a data-loading worker costs in memory."""

import pickle
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mixit_mss.data.shared import SharedArrays

MIB = 64
ROLLUP = "/proc/self/smaps_rollup"


def private_mib():
    with open(ROLLUP) as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) / 1024


class Numbers(SharedArrays):
    def __init__(self, values):
        self.values, self.name, self.empty = values, "numbers", np.zeros((0, 2), np.float32)


class Bare:
    def __init__(self, values):
        self.values, self.name = values, "numbers"


class UseAll(Dataset):
    """MiB that the worker alone has, after it read every number; and their sum."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __len__(self):
        return 1

    def __getitem__(self, index):
        total = int(self.numbers.values.sum())
        return torch.tensor([private_mib(), total], dtype=torch.float64)


def test_pickling_keeps_everything():
    numbers = Numbers(np.frombuffer(b"abc", np.uint8))  # read-only
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(numbers))))
        assert copy.values.tolist() == list(b"abc")
        assert copy.values.dtype == np.uint8
        assert copy.name == "numbers"
        assert copy.empty.shape == (0, 2)
    assert numbers.values.tolist() == list(b"abc")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_workers_have_no_copy():
    values = np.arange(MIB << 17)
    sizes = {}
    for how, numbers in (
        ("fork", Numbers(values)),
        ("spawn", Numbers(values)),
        ("spawn, plain", Bare(values)),
    ):
        loader = DataLoader(
            UseAll(numbers),
            batch_size=None,
            num_workers=1,
            multiprocessing_context=how.split(",")[0],
        )
        ((size, total),) = (item.tolist() for item in loader)
        assert total == values.sum()
        sizes[how] = size
    assert sizes["fork"] < MIB / 2
    # a spawned worker has its own copy of the libraries, and without sharing of the numbers
    assert sizes["spawn, plain"] - sizes["spawn"] > MIB / 2
