"""Data loaders: each device's share of the examples, resumed at the next one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from mixit_mss.data.datasets import EpochSampler, FiniteDataset
from mixit_mss.errors import UserError
from mixit_mss.machine import processes
from mixit_mss.training.config import Run
from mixit_mss.training.preemption import leave_to_parent
from mixit_mss.training.validation import Placed


class Datasets(NamedTuple):
    """Training and validation set; the latter may know the song of each of its chunks."""

    train: Dataset
    valid: FiniteDataset


class Loaders:
    """The loaders of each device.

    Args:
        datasets: to load from.
        run: batch size, steps and workers.
        at_once: examples per forward pass on a device.
        world_size: devices.
        done: optimiser steps of this run so far.
    """

    def __init__(self, datasets: Datasets, run: Run, at_once: int, world_size: int, done: int):
        self.datasets, self.run, self.at_once = datasets, run, at_once
        self.epoch, steps = divmod(done, run.steps_per_epoch)
        self.position = steps * run.batch_size
        self.workers = processes(run.num_workers, "run.num_workers")
        if len(datasets.valid) < world_size:
            raise UserError(
                f"{len(datasets.valid)} validation chunks are too few for {world_size} devices; "
                "take fewer devices, or set run.validation_chunks higher"
            )

    def train(self, rank: int, world_size: int) -> DataLoader:
        """Loads every ``world_size``-th training example, starting at ``rank``."""
        length = self.run.steps_per_epoch * self.run.batch_size
        sampler = EpochSampler(length, self.position, rank, world_size, self.epoch)
        return self._loader(self.datasets.train, sampler, self.workers)

    def valid(self, rank: int, world_size: int) -> DataLoader:
        """The same for the validation set, with the index of each example."""
        dataset = Placed(self.datasets.valid)
        places = range(rank, len(dataset), world_size)
        return self._loader(dataset, places, min(self.workers, 4))

    def _loader(self, dataset: Dataset, sampler, workers: int) -> DataLoader:
        return DataLoader(
            dataset,
            self.at_once,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=leave_to_parent,
            pin_memory=torch.cuda.is_available(),
        )
