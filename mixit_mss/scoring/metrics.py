"""Song-level SNR (uSDR) and chunk-wise SDR (cSDR) from energies that are summed block by block.

cSDR is museval's SDR (BSSEval v4 for images, 1-s windows, 1-s hop).  BSSEval splits an estimate's
error into spatial distortion, interference and artefacts by least-squares filters of 512 taps, but
its SDR adds the three up again: they telescope to estimate minus reference for any filters.  So the
SDR of a window is a ratio of two energies, and no filter has to be computed.

Arguments are numpy arrays or torch tensors; arithmetic and results are numpy float64.  No function
copies more than a block of its arguments.
"""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or torch.Tensor

WINDOW_SECONDS = 1.0  # window and hop of cSDR
MDX_EPSILON = 1e-7  # squared full scale, added to both energies of uSDR
BLOCK_SAMPLES = 1 << 16
MAX_THREADS = min(2, os.cpu_count() or 1)  # each holds about three seconds of all stems


def usdr(estimate: Array, reference: Array) -> np.ndarray:
    """Song-level SNR in dB (MDX'21), from sums over channels and samples.

    ``10 log10((sum y^2 + 1e-7) / (sum (y - s)^2 + 1e-7))`` for estimate s and reference y.

    Args:
        estimate: (..., channel, sample).
        reference: the same shape.

    Returns:
        float64 over the leading axes; NaN where the reference is digitally silent.

    Raises:
        ValueError: the shapes differ, or a sample is NaN or infinite.
    """
    return _usdr(*_energies(estimate, reference))


def usdr_per_channel(estimate: Array, reference: Array) -> np.ndarray:
    """Mean over channels of each channel's song-level SNR in dB (the authors' release).

    Args and Raises as `usdr`.

    Returns:
        float64 over the leading axes.  A silent channel of the reference has no SNR and is excluded
        from the mean; NaN where all channels are silent.
    """
    return _usdr_per_channel(*_energies(estimate, reference))


def csdr(estimates: Array, references: Array, sample_rate: int) -> np.ndarray:
    """Chunk-wise SDR in dB: the median of `framewise_sdr` over the windows that have one.

    Args and Raises as `framewise_sdr`.

    Returns:
        float64 (stem,), or () for one stem; NaN for a stem without any valid window.
    """
    return _median(framewise_sdr(estimates, references, sample_rate))


def framewise_sdr(estimates: Array, references: Array, sample_rate: int) -> np.ndarray:
    """museval's SDR of every 1-s window in dB.

    Pass all stems of a song at once: a window in which any stem is silent, in the reference or in
    the estimate, is NaN for every stem.  Silent means that the sum of the channels is 0 throughout.
    A stem that is silent in the whole song (museval refuses such a song) is NaN and does not affect
    the windows of other stems.  Samples after the last whole window are dropped; a song of at most
    1 s is one window.  An exact estimate scores inf.

    Args:
        estimates: (stem, channel, sample), or (channel, sample) for a single stem; truncated or
            zero-padded to the references' length.
        references: the same axes.
        sample_rate: Hz.

    Returns:
        float64 (stem, window), or (window,).

    Raises:
        ValueError: the axes do not match, there are no samples, or a sample is NaN or infinite.
    """
    estimates, references = _as_numpy(estimates), _as_numpy(references)
    single = references.ndim == 2
    song = SongScores(sample_rate)
    song.add(estimates[None] if single else estimates, references[None] if single else references)
    return song.framewise_sdr()[0] if single else song.framewise_sdr()


class SongScores:
    """The same metrics for one song that arrives in blocks; holds at most one second.

    ``add`` the blocks in order, with any lengths, then read the metrics: ``usdr``,
    ``usdr_per_channel`` and ``csdr`` (stem,), ``framewise_sdr`` (stem, window), all in dB.
    """

    def __init__(self, sample_rate: int) -> None:
        self._window = int(WINDOW_SECONDS * sample_rate)
        self._filled = 0
        self._signal: list[np.ndarray] = []  # per window: energy of the reference, (stem, channel)
        self._noise: list[np.ndarray] = []  # per window: energy of the error, (stem, channel)
        self._heard: list[
            np.ndarray
        ] = []  # per window: estimate, reference is not silent, (2, stem)

    def add(self, estimates: Array, references: Array) -> None:
        """Add the next block, (stem, channel, sample); raises like `framewise_sdr`.

        Estimates are truncated or zero-padded to the length of the references' block.
        """
        estimates, references = _as_numpy(estimates), _as_numpy(references)
        if references.ndim != 3 or estimates.shape[:-1] != references.shape[:-1]:
            raise ValueError(
                "estimates and references must both be (stem, channel, sample), got "
                f"{estimates.shape} and {references.shape}"
            )
        if self._signal and self._signal[0].shape != references.shape[:-1]:
            raise ValueError(
                f"a block of {references.shape[:-1]} stems and channels after blocks of "
                f"{self._signal[0].shape}"
            )
        samples = references.shape[-1]
        borders = [0, *range(self._window - self._filled, samples, self._window), samples]
        pieces = [
            (estimates[..., start:stop], references[..., start:stop])
            for start, stop in pairwise(borders)
            if start < stop
        ]
        # numpy releases the GIL while it computes
        with ThreadPoolExecutor(min(MAX_THREADS, len(pieces) or 1)) as pool:
            for (_, piece), energies in zip(pieces, pool.map(_measure, pieces), strict=True):
                self._keep(energies, piece.shape[-1])

    def usdr(self) -> np.ndarray:
        """Song-level SNR (stem,); see the function of this name."""
        return _usdr(*self._totals())

    def usdr_per_channel(self) -> np.ndarray:
        """Mean of the channels' song-level SNRs (stem,); see the function of this name."""
        return _usdr_per_channel(*self._totals())

    def csdr(self) -> np.ndarray:
        """Median SDR over windows (stem,); see the function of this name."""
        return _median(self.framewise_sdr())

    def framewise_sdr(self) -> np.ndarray:
        """SDR of every window (stem, window); see the function of this name."""
        self._totals()
        estimate, reference = np.stack(self._heard, axis=1)  # (window, stem) each
        heard = estimate & reference
        alive = np.any(self._heard, axis=0).all(axis=0)  # (stem,)
        tail = self._filled > 0 and len(self._signal) > 1
        whole = slice(0, -1 if tail else None)
        signal = np.stack(self._signal)[whole].sum(axis=-1)
        noise = np.stack(self._noise)[whole].sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            sdr = 10 * np.log10(signal / noise)
        sdr[~heard[whole][:, alive].all(axis=1)] = np.nan
        sdr[:, ~alive] = np.nan
        return sdr.T

    def _keep(self, energies: tuple[np.ndarray, ...], samples: int) -> None:
        """Add the result of :func:`_measure` for a piece that lies within one window."""
        for windows, value in zip((self._signal, self._noise, self._heard), energies, strict=True):
            if self._filled == 0:
                windows.append(value)
            else:
                windows[-1] += value  # for booleans, numpy's "or"
        self._filled = (self._filled + samples) % self._window

    def _totals(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._signal:
            raise ValueError("no samples to score")
        return np.sum(self._signal, axis=0), np.sum(self._noise, axis=0)


def _measure(piece: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Energies of reference and error, (stem, channel), and which are not silent, (2, stem).

    The conversion to float64 also makes interleaved channels, as read from files, contiguous.
    """
    estimates, references = _fit(piece[0], piece[1].shape[-1]), piece[1]
    estimates, references = (
        x.astype(np.float64, order="C", copy=False) for x in (estimates, references)
    )
    signal, noise = _energy(references), _energy(estimates - references)
    _check_finite(signal, noise, references.shape)
    return signal, noise, np.stack([_sounds(estimates), _sounds(references)])


def _energies(estimate: Array, reference: Array) -> tuple[np.ndarray, np.ndarray]:
    """Energies of reference and error over the samples: (..., channel) each."""
    estimate, reference = _as_numpy(estimate), _as_numpy(reference)
    if estimate.shape != reference.shape or reference.ndim < 2 or reference.shape[-1] == 0:
        raise ValueError(
            "estimate and reference must both be (..., channel, sample) of one shape, got "
            f"{estimate.shape} and {reference.shape}"
        )
    signal, noise = np.zeros(reference.shape[:-1]), np.zeros(reference.shape[:-1])
    for start in range(0, reference.shape[-1], BLOCK_SAMPLES):
        block = (..., slice(start, start + BLOCK_SAMPLES))
        truth = reference[block].astype(np.float64)
        signal += _energy(truth)
        noise += _energy(estimate[block] - truth)
    _check_finite(signal, noise, reference.shape)
    return signal, noise


def _usdr(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    signal, noise = signal.sum(axis=-1), noise.sum(axis=-1)
    ratio = 10 * np.log10((signal + MDX_EPSILON) / (noise + MDX_EPSILON))
    return np.where(signal > 0, ratio, np.nan)


def _usdr_per_channel(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    channels = _usdr(signal[..., None], noise[..., None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # empty mean: NaN, as documented
        return np.nanmean(channels, axis=-1)


def _median(sdr: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # empty median: NaN, as documented
        return np.nanmedian(sdr, axis=-1)


def _energy(signal: np.ndarray) -> np.ndarray:
    return np.einsum("...t,...t->...", signal, signal)


def _sounds(stems: np.ndarray) -> np.ndarray:
    """Whether the sum of the channels is nonzero anywhere, (stem,); tries a few samples first."""
    at_once = stems[..., :16].sum(axis=-2).any(axis=-1)
    return at_once if at_once.all() else stems.sum(axis=-2).any(axis=-1)


def _check_finite(signal: np.ndarray, noise: np.ndarray, shape: tuple[int, ...]) -> None:
    if not (np.isfinite(signal).all() and np.isfinite(noise).all()):
        raise ValueError(f"NaN or infinity in an estimate or a reference of shape {shape}")


def _fit(estimates: np.ndarray, samples: int) -> np.ndarray:
    """Truncate or zero-pad to a number of samples."""
    missing = samples - estimates.shape[-1]
    if missing > 0:
        return np.pad(estimates, [(0, 0), (0, 0), (0, missing)])
    return estimates[..., :samples]


def _as_numpy(signal: Array) -> np.ndarray:
    """Convert a torch tensor or an array to numpy without importing torch."""
    return signal.detach().cpu().numpy() if hasattr(signal, "detach") else np.asarray(signal)
