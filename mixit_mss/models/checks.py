"""Checks shared by all networks: sizes, stems, mixtures and choices of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mixit_mss import limits

MAX_OVERLAP = 64
"""Largest number of STFT frames that overlap."""

MAX_FEATURES = 10_000_000
"""Most numbers per layer and second of audio: ten times those of the paper's largest network."""

MAX_BANDS = 2048


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the sizes of a network before anything is built.

    Raises:
        ValueError: a size is out of range; names the first one and its range.
    """
    for name, limit in limits.NETWORK.items():
        if name in arguments:
            try:
                limit.check(arguments[name])
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None


def check_load(sample_rate: int, n_fft: int, hop: int, num_bands: int, dim: int) -> None:
    """Check that a second of audio does not become more numbers than a machine can hold.

    Raises:
        ValueError: it does, or too many frames overlap.
    """
    if hop * MAX_OVERLAP < n_fft:
        raise ValueError(f"hop {hop} must be at least 1/{MAX_OVERLAP} of n_fft {n_fft}")
    features = sample_rate * num_bands * dim // hop
    if features > MAX_FEATURES:
        raise ValueError(
            f"{sample_rate} Hz, hop {hop}, {num_bands} bands and dim {dim} make {features:,} numbers "
            f"of every second, more than {MAX_FEATURES:,}: take a longer hop, or fewer bands"
        )


def check_stems(stems: Sequence[str] | None, num_sources: int) -> tuple[str, ...] | None:
    """Check the names of the outputs, and return them.

    Raises:
        ValueError: the names do not match the number of outputs, or files cannot have them.
    """
    if stems is not None and not isinstance(stems, (list, tuple)):
        raise ValueError(f"stems must be a list of names, got {limits.shown(stems)}")
    if stems is not None and len(stems) != num_sources:
        raise ValueError(f"{len(stems)} stems are named, but num_sources is {num_sources}")
    return None if stems is None else tuple(limits.check_name(stem) for stem in stems)


def check_mixture(mixture: Tensor, num_channels: int, *, finite: bool) -> None:
    """Check that a mixture is (batch, channel, sample).

    Args:
        mixture: the network's input.
        num_channels: audio channels of the network.
        finite: whether to check for NaN and infinity, which waits for the device.

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
    """Check the indices of the chosen outputs, and return them.

    Raises:
        ValueError: if an index is out of range, or no output is chosen.
    """
    sources = list(sources)
    if not sources or not all(0 <= source < num_sources for source in sources):
        raise ValueError(f"choose outputs between 0 and {num_sources - 1}, got {sources}")
    return sources
