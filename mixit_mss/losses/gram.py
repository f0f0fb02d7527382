"""Inner products of long signals, in blocks: the little that solvers and votes need to know.

Every question "which outputs add up to that mixture?" or "which output is like that stem?" is
answered by inner products alone, a matrix of a few kilobytes where the signals have megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# A block of all rows stays in a processor's cache, where converting it costs next to nothing.
BLOCK_SAMPLES = 16384


@torch.no_grad()
def gram_matrix(signals: Sequence[Tensor]) -> Tensor:
    """All inner products between the rows of several groups of signals, in float64.

    Plain float32 products of two 6-s signals are wrong by some 1e-6 of their energies, enough to
    blur a residual 30 dB down and to make dependent outputs look independent.  No gradient flows
    through.

    Args:
        signals: tensors (..., row, sample) that differ in the number of rows only.

    Returns:
        (..., row, row), the rows in the order of `signals`.
    """
    rows = [group.shape[-2] for group in signals]
    *leading, _, samples = signals[0].shape
    options = {"dtype": torch.float64, "device": signals[0].device}
    total = torch.zeros(*leading, sum(rows), sum(rows), **options)
    buffer = torch.empty(*leading, sum(rows), min(BLOCK_SAMPLES, samples), **options)
    for start in range(0, samples, BLOCK_SAMPLES):
        block = buffer[..., : min(BLOCK_SAMPLES, samples - start)]
        for group, place in zip(signals, block.split(rows, dim=-2), strict=True):
            place.copy_(group[..., start : start + BLOCK_SAMPLES])
        total += block @ block.mT
    return total
