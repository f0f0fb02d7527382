"""Which output channels of a pre-trained network to keep: a vote over chunks (paper, Section 4.3).

In every chunk the channels are assigned to the stems with the highest total SNR.  Each stem then
gets the channel that was assigned to it most often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mixit_mss.losses.gram import cross_products

# Relative to the stem: limits the SNR to 100 dB, so that an exact estimate has a finite score.
NOISE_FLOOR = 1e-10


@dataclass(frozen=True)
class Choice:
    """The selected channels, and the conflicts that were resolved.

    Attributes:
        channels: for each stem the channel to keep; all different.
        favourites: for each stem the channel with the most votes; two stems may share one.
        unvoted: stems that were silent in every chunk, so that no vote supports their channel.
    """

    channels: tuple[int, ...]
    favourites: tuple[int, ...]
    unvoted: tuple[int, ...]

    @property
    def contested(self) -> dict[int, tuple[int, ...]]:
        """Channels that are the favourite of several stems, each with these stems."""
        stems = [stem for stem in range(len(self.favourites)) if stem not in self.unvoted]
        claims = {
            channel: tuple(stem for stem in stems if self.favourites[stem] == channel)
            for channel in sorted({self.favourites[stem] for stem in stems})
        }
        return {channel: claimants for channel, claimants in claims.items() if len(claimants) > 1}


def snr_matrix(estimates: Tensor, references: Tensor) -> np.ndarray:
    """SNR in dB of every estimate against every stem, from inner products.

    By ``|y - s|^2 = |y|^2 - 2 <y, s> + |s|^2``, summed over channels and samples, the signals are
    read only once, and only the small result leaves a GPU.

    Args:
        estimates: the network's outputs for a chunk, (..., source, channel, sample).
        references: the stems, (..., stem, channel, sample), with the same other axes.

    Returns:
        float64 (..., source, stem); NaN in the column of a digitally silent stem.

    Raises:
        ValueError: axes that do not fit, NaN or infinite samples.
    """
    _check_signals(estimates, references)
    sums = cross_products(estimates.flatten(-2), references.flatten(-2))
    cross, estimate, stem = (total.cpu().numpy() for total in sums)
    if not all(np.isfinite(total).all() for total in (cross, estimate, stem)):
        raise ValueError(
            f"NaN or infinity in estimates {tuple(estimates.shape)} or references "
            f"{tuple(references.shape)}"
        )
    estimate, stem = estimate[..., :, None], stem[..., None, :]
    noise = estimate - 2 * cross + stem
    stem = np.where(stem > 0, stem, np.nan)
    return -10 * np.log10(np.maximum(noise / stem, NOISE_FLOOR))


def best_assignment(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The assignment of channels to stems with the highest total score.

    Args:
        scores: (source, stem); the columns of stems to leave out are NaN.

    Returns:
        Sources and the stems that they are assigned to, two integer arrays of one length.

    Raises:
        ValueError: not a matrix, infinite entries, or a column that is partly NaN.
    """
    scores = np.asarray(scores)
    missing = np.isnan(scores)
    if scores.ndim != 2 or np.isinf(scores).any() or (missing.any(0) != missing.all(0)).any():
        raise ValueError(
            "scores must be (source, stem), finite but for whole columns of NaN, got shape "
            f"{scores.shape}"
        )
    stems = np.flatnonzero(~missing.all(axis=0))
    sources, columns = linear_sum_assignment(scores[:, stems], maximize=True)
    return sources, stems[columns]


def count_votes(chunks: Iterable[Any]) -> np.ndarray:
    """How often each channel is assigned to each stem, over chunks.

    Args:
        chunks: for each chunk a matrix of scores (source, stem), or the pair of estimates
            (source, channel, sample) and references (stem, channel, sample).  May be an iterator;
            chunks are processed one at a time.

    Returns:
        int64 (source, stem).  A stem that is silent in a chunk gets no vote from it.

    Raises:
        ValueError: no chunks, or chunks with different numbers of sources or stems.
    """
    votes: np.ndarray | None = None
    for chunk in chunks:
        scores = snr_matrix(*chunk) if isinstance(chunk, tuple) else np.asarray(chunk)
        if votes is None:
            votes = np.zeros(scores.shape, dtype=np.int64)
        if votes.shape != scores.shape:
            raise ValueError(f"a chunk of shape {scores.shape} after chunks of {votes.shape}")
        votes[best_assignment(scores)] += 1
    if votes is None:
        raise ValueError("no chunks to count the votes of")
    return votes


def choose_channels(votes: np.ndarray) -> Choice:
    """For each stem the channel with the most votes, and no channel twice.

    If several stems favour one channel, which the paper does not discuss, the assignment with the
    most votes overall decides for all stems, and ``Choice.contested`` reports it.  Of channels with
    equal votes the first is the favourite.

    Args:
        votes: (source, stem), from `count_votes`.

    Returns:
        A `Choice`.

    Raises:
        ValueError: not a matrix, or fewer sources than stems.
    """
    votes = np.asarray(votes)
    if votes.ndim != 2 or votes.shape[0] < votes.shape[1]:
        raise ValueError(
            f"votes must be (source, stem) with a source for every stem, got shape {votes.shape}"
        )
    favourites = tuple(votes.argmax(axis=0).tolist())
    channels = favourites
    if len(set(favourites)) < len(favourites):
        sources, stems = linear_sum_assignment(votes, maximize=True)
        channels = tuple(sources[np.argsort(stems)].tolist())
    unvoted = tuple(np.flatnonzero(votes.sum(axis=0) == 0).tolist())
    return Choice(channels, favourites, unvoted)


def _check_signals(estimates: Tensor, references: Tensor) -> None:
    def others(signal: Tensor) -> torch.Size:
        return signal.shape[:-3] + signal.shape[-2:]

    if min(estimates.ndim, references.ndim) < 3 or others(estimates) != others(references):
        raise ValueError(
            "estimates must be (..., source, channel, sample) and references (..., stem, channel, "
            f"sample), got {tuple(estimates.shape)} and {tuple(references.shape)}"
        )
