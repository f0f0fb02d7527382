"""Signal-level losses: the signal-to-noise ratio, clamped from above, with rules for silence.

Both are *losses*: the negative ratio in decibels, so less is better.  Every logarithm is taken of
an energy plus ``ENERGY_FLOOR``, so that values and gradients stay finite on silence.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Squared full scale, summed over samples: less than a single quantisation step of 16 bits, so it
# matters only if a signal is digitally silent.
ENERGY_FLOOR = 1e-10

# Long signals are squared and summed in blocks: faster, smaller and less rounded than with a second
# copy of the signal.
BLOCK_SAMPLES = 16384


class Inactive(NamedTuple):
    """The rule for a stem that is silent or nearly silent.

    Attributes:
        below: dB relative to the mixture; a stem with less energy is inactive, and digital silence
            always is.
        threshold: energy relative to the mixture's, below which less leakage gains nothing.
        weight: factor of an inactive stem's term.
    """

    below: float
    threshold: float
    weight: float


INACTIVE = {
    # the recipe that the authors released
    "release": Inactive(below=-60.0, threshold=1e-3, weight=0.1),
    # arXiv 2011.00803, which the paper cites: silence only, at full weight
    "fuss": Inactive(below=-math.inf, threshold=1e-2, weight=1.0),
}


def thresholded_snr(
    estimate: Tensor, reference: Tensor, *, threshold: float = 1e-3, joint_channels: bool = True
) -> Tensor:
    """Negative thresholded SNR in dB (paper, Eq. 4).

    ``10 log10((|y - s|^2 + threshold |y|^2) / |y|^2)`` for estimate s and reference y.

    Args:
        estimate: (..., channel, sample).
        reference: the same shape.
        threshold: tau of Eq. 4; 1e-3 limits the SNR to 30 dB.
        joint_channels: one norm over channels and samples (the paper's norms are over the whole
            signal); False averages the channels' own ratios in dB.

    Returns:
        The loss, in dB, over the leading axes; at least float32.

    Raises:
        ValueError: the shapes differ or have fewer than two axes.
    """
    check_same_shape(estimate, reference)
    estimate, reference = at_least_float32(estimate), at_least_float32(reference)
    signal = energy(reference, joint_channels)
    noise = noise_energy(estimate, reference, joint_channels)
    return decibels(clamped_ratio(noise, signal, threshold)).mean(-1)


def zero_reference_snr(
    estimate: Tensor,
    reference: Tensor,
    mixture: Tensor,
    *,
    threshold: float = 1e-3,
    inactive: str = "release",
    joint_channels: bool = False,
) -> Tensor:
    """Negative thresholded SNR that also accepts silent references (paper, Section 4.3).

    An active stem gets Eq. 4.  An inactive one has no SNR; its estimate s is pushed towards silence
    by ``weight * 10 log10(|s|^2 + threshold |x|^2)``, x the mixture (arXiv 2011.00803).  `INACTIVE`
    defines when a stem is inactive, and the threshold and weight.

    Args:
        estimate: (..., channel, sample).
        reference: the same shape.
        mixture: the separated mixture; the same number of axes, and broadcast where its size is 1:
            (batch, 1, channel, sample) for references of (batch, stem, channel, sample).
        threshold: tau of Eq. 4, for active stems.
        inactive: ``"release"`` or ``"fuss"``.
        joint_channels: False, as in the release, decides and measures channel by channel and takes
            the mean; True takes the norms over the whole signal.

    Returns:
        The loss, in dB, over the leading axes; at least float32.

    Raises:
        ValueError: the shapes do not fit, or `inactive` is neither.
    """
    check_same_shape(estimate, reference)
    _check_mixture(mixture, reference)
    if inactive not in INACTIVE:
        raise ValueError(f"inactive must be one of {', '.join(INACTIVE)}, got {inactive!r}")
    rule = INACTIVE[inactive]
    estimate, reference = at_least_float32(estimate), at_least_float32(reference)
    signal = energy(reference, joint_channels)
    noise = noise_energy(estimate, reference, joint_channels)
    whole = energy(at_least_float32(mixture), joint_channels)

    active = (signal > 0) & (signal >= 10 ** (rule.below / 10) * whole)
    active_loss = decibels(clamped_ratio(noise, signal, threshold))
    leakage = energy(estimate, joint_channels) + rule.threshold * whole
    inactive_loss = rule.weight * decibels(leakage + ENERGY_FLOOR)
    return torch.where(active, active_loss, inactive_loss).mean(-1)


def energy(signal: Tensor, joint_channels: bool) -> Tensor:
    """Sum of squares of a (..., channel, sample) signal: (..., channel), or (..., 1) if joint."""
    total = sum(block.square().sum(-1) for block in signal.split(BLOCK_SAMPLES, dim=-1))
    return total.sum(-1, keepdim=True) if joint_channels else total


def noise_energy(estimate: Tensor, reference: Tensor, joint_channels: bool) -> Tensor:
    """`energy` of the difference, which is squared one block at a time."""
    pairs = (signal.split(BLOCK_SAMPLES, dim=-1) for signal in (estimate, reference))
    total = sum((y - s).square().sum(-1) for s, y in zip(*pairs, strict=True))
    return total.sum(-1, keepdim=True) if joint_channels else total


def clamped_ratio(noise: Tensor, signal: Tensor, threshold: float) -> Tensor:
    """The argument of Eq. 4's logarithm: noise energy to signal energy, at least `threshold`.

    Both energies have a floor, so the ratio is 1 (0 dB) if both are silent.
    """
    return (noise + threshold * signal + ENERGY_FLOOR) / (signal + ENERGY_FLOOR)


def decibels(ratio: Tensor) -> Tensor:
    """``10 log10(ratio)``."""
    return 10 * torch.log10(ratio)


def at_least_float32(signal: Tensor) -> Tensor:
    """Half-precision signals as float32; the others as they are."""
    return signal.float() if signal.dtype in (torch.float16, torch.bfloat16) else signal


def check_same_shape(estimate: Tensor, reference: Tensor) -> None:
    """Raise ValueError unless both are (..., channel, sample) of one shape."""
    if estimate.shape != reference.shape or estimate.ndim < 2:
        raise ValueError(
            "estimate and reference must both be (..., channel, sample) of one shape, got "
            f"{tuple(estimate.shape)} and {tuple(reference.shape)}"
        )


def _check_mixture(mixture: Tensor, reference: Tensor) -> None:
    pairs = zip(mixture.shape, reference.shape, strict=False)
    fits = mixture.ndim == reference.ndim and all(m in (1, r) for m, r in pairs)
    if not fits or mixture.shape[-2:] != reference.shape[-2:]:
        raise ValueError(
            "mixture must have the reference's axes, of its size or (leading axes only) of size "
            f"1, got {tuple(mixture.shape)} for {tuple(reference.shape)}"
        )
