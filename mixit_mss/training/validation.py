"""What validation adds up, over examples, songs and devices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mixit_mss.data.datasets import FiniteDataset
from mixit_mss.evaluation.metrics import MDX_EPSILON


class Placed(Dataset):
    """A dataset whose examples come with their index, so that sums can be told apart by song."""

    def __init__(self, dataset: FiniteDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.dataset[index], index


class Sums:
    """Sums of named quantities over examples; their means over all devices at the end."""

    def __init__(self, device: torch.device):
        self._device = device
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add a value (batch,) per example; those that are NaN or infinite are left out."""
        values = values.detach().to(self._device, torch.float64)
        finite = values[values.isfinite()]
        new = torch.stack([finite.sum(), torch.tensor(float(len(finite))).to(finite)])
        self._sums[name] = self._sums[name] + new if name in self._sums else new

    def means(self, strategy) -> dict[str, Tensor]:
        """The means, the same on every device."""
        means = {}
        for name, pair in self._sums.items():
            total, count = strategy.reduce(pair, reduce_op="sum")
            means[name] = (total / count).float()
        return means


class SongScores:
    """uSDR (dB) of whole songs from the energies of their chunks.

    Args:
        songs: their number.
        stems: their number.
        device: to keep the sums on.
    """

    def __init__(self, songs: int, stems: int, device: torch.device):
        self._energies = torch.zeros(2, songs, stems, dtype=torch.float64, device=device)

    def add(self, songs: Tensor, estimates: Tensor, references: Tensor) -> None:
        """Add chunks: song (batch,), estimates and references (batch, stem, channel, sample)."""
        estimates, references = estimates.detach().float(), references.float()
        for energies, signal in zip(
            self._energies, (references, references - estimates), strict=True
        ):
            energy = signal.square().sum((-2, -1)).to(energies)
            energies.index_add_(0, songs.to(energies.device), energy)

    def usdr(self, strategy) -> Tensor:
        """Mean over songs and stems, silent ones left out; the same on every device."""
        reference, error = strategy.reduce(self._energies, reduce_op="sum")
        usdr = 10 * torch.log10((reference + MDX_EPSILON) / (error + MDX_EPSILON))
        return usdr[reference > 0].mean().float()
