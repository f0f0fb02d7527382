"""What every network refuses, in the same words: stems, mixtures and choices of outputs that cannot be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_stems(stems: Sequence[str] | None, num_sources: int) -> tuple[str, ...] | None:
    """The names of the outputs.

    Raises:
        ValueError: there are more or fewer names than outputs.
    """
    if stems is not None and len(stems) != num_sources:
        raise ValueError(f"{len(stems)} stems are named, but num_sources is {num_sources}")
    return None if stems is None else tuple(stems)


def check_mixture(mixture: Tensor, num_channels: int, *, finite: bool) -> None:
    """See that a mixture is (batch, channel, sample).

    Args:
        mixture: what the network was given.
        num_channels: that it has.
        finite: whether to look at the samples, for which a device has to be waited for.

    Raises:
        ValueError: for other axes, an empty or integer tensor, or samples that are NaN or infinite.
    """
    if mixture.ndim != 3 or mixture.shape[1] != num_channels:
        raise ValueError(
            f"expected a mixture (batch, {num_channels} channels, sample), got shape "
            f"{tuple(mixture.shape)}"
        )
    if mixture.numel() == 0:
        raise ValueError(f"the mixture is empty: its shape is {tuple(mixture.shape)}")
    if not mixture.is_floating_point():
        raise ValueError(f"expected floating-point samples, got {mixture.dtype}")
    if finite and not torch.isfinite(mixture).all():
        raise ValueError("the mixture holds NaN or infinite samples: repair or skip it")


def check_outputs(sources: Sequence[int], num_sources: int) -> list[int]:
    """The chosen outputs.

    Raises:
        ValueError: if an index is out of range, or no output is chosen.
    """
    sources = list(sources)
    if not sources or not all(0 <= source < num_sources for source in sources):
        raise ValueError(f"choose outputs between 0 and {num_sources - 1}, got {sources}")
    return sources
