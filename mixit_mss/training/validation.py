"""Validation sums over examples, songs and devices, and the monitor of true stems."""

from __future__ import annotations

import numpy as np
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import Dataset

from mixit_mss.data.datasets import FiniteDataset
from mixit_mss.scoring.metrics import MDX_EPSILON
from mixit_mss.selection.channel_votes import best_assignment, snr_matrix

CHUNKS = 16  # per monitor


class Placed(Dataset):
    """A dataset that returns examples with their index, so that sums can be kept per song."""

    def __init__(self, dataset: FiniteDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.dataset[index], index


class Sums:
    """Sums of named quantities over examples, and their means over all devices."""

    def __init__(self, device: torch.device):
        self._device = device
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add one value per example, (batch,); NaN and infinite values are left out."""
        values = values.detach().to(self._device, torch.float64)
        finite = values[values.isfinite()]
        counts = torch.tensor([len(finite), len(values)]).to(finite)
        new = torch.stack([finite.sum(), *counts])
        self._sums[name] = self._sums[name] + new if name in self._sums else new

    def means(self, strategy) -> dict[str, Tensor]:
        """The means, the same on every device."""
        means = {}
        for name, sums in self._sums.items():
            total, count, _ = strategy.reduce(sums, reduce_op="sum")
            means[name] = (total / count).float()
        return means

    def left_out(self, name: str, strategy) -> tuple[int, int]:
        """Number of values that were not finite, and of all values, over all devices."""
        _, count, added = strategy.reduce(self._sums[name].clone(), reduce_op="sum").tolist()
        return int(added - count), int(added)


class SongScores:
    """uSDR (dB) of whole songs from the energies of their chunks.

    Args:
        songs: number of songs.
        stems: number of stems.
        device: to keep the sums on.
    """

    def __init__(self, songs: int, stems: int, device: torch.device):
        self._energies = torch.zeros(2, songs, stems, dtype=torch.float64, device=device)

    def add(self, songs: Tensor, estimates: Tensor, references: Tensor) -> None:
        """Add chunks: song (batch,), estimates and references (batch, stem, channel, sample).

        Chunks with NaN or infinite estimates are left out.
        """
        estimates, references = estimates.detach().float(), references.float()
        energy = torch.stack(
            [signal.square().sum((-2, -1)) for signal in (references, references - estimates)]
        ).to(self._energies)
        fine = energy.isfinite().all(-1).all(0)
        self._energies.index_add_(1, songs.to(fine.device)[fine], energy[:, fine])

    def usdr(self, strategy) -> Tensor:
        """Mean over songs and stems, silent ones left out; the same on every device."""
        reference, error = strategy.reduce(self._energies, reduce_op="sum")
        usdr = 10 * torch.log10((reference + MDX_EPSILON) / (error + MDX_EPSILON))
        return usdr[reference > 0].mean().float()


class StemMonitor(Callback):
    """Scores outputs against true stems at every validation: ``stem_snr``, ``stem_snr_gain`` (dB).

    Training never sees these stems, and nothing is selected by these scores.  In evenly spaced
    chunks of labelled songs, the outputs are assigned to the stems with the highest total SNR.  The
    gain is relative to the mixture as every stem's estimate.  Chunks with NaN or infinite outputs
    are left out.

    Args:
        chunks: references (stem, channel, sample).
    """

    def __init__(self, chunks: FiniteDataset):
        places = np.linspace(0, len(chunks) - 1, min(CHUNKS, len(chunks))).astype(int)
        self.chunks = [chunks[int(place)] for place in dict.fromkeys(places.tolist())]

    def on_validation_epoch_end(self, trainer, module) -> None:
        """Measure and log."""
        snr, gain = [], []
        for references in self.chunks:
            mixture = references.sum(0, keepdim=True).to(module.device)
            with torch.no_grad():
                estimates = module(mixture)[0].float()
            if not estimates.isfinite().all():
                continue  # validation reports how often this happens
            scores = snr_matrix(estimates, references.to(module.device))
            before = snr_matrix(mixture, references.to(module.device))[0]
            outputs, stems = best_assignment(scores)
            snr += list(scores[outputs, stems])
            gain += list(scores[outputs, stems] - before[stems])
        if snr:
            module.log("stem_snr", float(np.mean(snr)))
            module.log("stem_snr_gain", float(np.mean(gain)))
