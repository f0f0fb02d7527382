"""Separation as it emerges: outputs against true stems, which training never sees."""

from __future__ import annotations

import numpy as np
import torch
from pytorch_lightning.callbacks import Callback

from mixit_mss.data.datasets import FiniteDataset
from mixit_mss.evaluation.channel_votes import best_assignment, snr_matrix

CHUNKS = 16


class StemMonitor(Callback):
    """Logs ``stem_snr`` and ``stem_snr_gain`` (dB) at every validation.

    In each of some evenly spaced chunks of labelled songs the outputs are assigned to the stems so
    that the total SNR is highest; the gain is over the mixture as every stem's estimate.  Nothing
    is chosen by it.  Chunks with outputs that are NaN or infinite are left out.

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
                continue  # validation says how often that is so
            scores = snr_matrix(estimates, references.to(module.device))
            before = snr_matrix(mixture, references.to(module.device))[0]
            outputs, stems = best_assignment(scores)
            snr += list(scores[outputs, stems])
            gain += list(scores[outputs, stems] - before[stems])
        if snr:
            module.log("stem_snr", float(np.mean(snr)))
            module.log("stem_snr_gain", float(np.mean(gain)))
