"""Optional terms beside the MixIT loss; none is used by default."""

from __future__ import annotations

from torch import Tensor

from mixit_mss.losses.snr import ENERGY_FLOOR, at_least_float32


def mixture_consistency(estimates: Tensor, mixture: Tensor) -> Tensor:
    """Change the outputs as little as possible so that they add up to the mixture.

    This is the orthogonal projection of arXiv 1811.08521 with equal weights: the outputs equally
    share what their sum lacks.

    Args:
        estimates: (..., source, channel, sample).
        mixture: (..., channel, sample).

    Returns:
        The projected outputs, in the shape of `estimates`.

    Raises:
        ValueError: the shapes do not fit.
    """
    if estimates.ndim < 3 or estimates.shape[:-3] + estimates.shape[-2:] != mixture.shape:
        raise ValueError(
            "estimates must be (..., source, channel, sample) and mixture (..., channel, sample), "
            f"got {tuple(estimates.shape)} and {tuple(mixture.shape)}"
        )
    missing = mixture - estimates.sum(-3)
    return estimates + (missing / estimates.shape[-3]).unsqueeze(-3)


def source_sparsity(estimates: Tensor) -> Tensor:
    """Over-separation penalty: L1 to L2 norm of the outputs' RMS levels, per source.

    ``mean_n r_n / sqrt(sum_n r_n^2)``: 1/N when one of N outputs carries everything and
    1/sqrt(N), the largest, when all are equally loud (arXiv 2106.00847, Section 2.3, in the form
    of its public reimplementation in github.com/kohei0209/self-remixing).

    Args:
        estimates: (..., source, channel, sample).

    Returns:
        (...,), without unit.
    """
    power = at_least_float32(estimates).square().mean((-2, -1))
    rms = (power + ENERGY_FLOOR).sqrt()
    return rms.mean(-1) / rms.square().sum(-1).sqrt()
