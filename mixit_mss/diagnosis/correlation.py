"""Measure how correlated the stems are, the usual objection to mixture-invariant training of music.

Correlated sources are the reason given for expecting little of MixIT on music (paper, section 3.2).
The paper argues that they "may share rhythm or tonality" but differ in timbre, and does not measure
it.  There is one measure for each of the three words, of a pair of stems in a chunk:

- `waveform_correlation`: do the samples agree?  Only this enters a least-squares mixing matrix.
- `spectral_overlap`: do they sound in the same bins at the same time?  Where they do not, a mask
  can separate them.  Chords raise it, different timbres lower it.
- `onset_correlation`: do they begin together?  This is rhythm, regardless of timbre.

None depends on the stems' levels.  A set of songs is characterised by the mean over the pairs of
stems that both sound in a chunk (`mean_over_pairs`), and then over chunks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mixit_mss.losses.gram import gram_matrix

WINDOW_SECONDS = 0.046  # 2048 samples at 44.1 kHz; the next power of two at other rates
# Of magnitudes relative to the loudest bin: the compression is logarithmic down to 40 dB below it.
COMPRESSION = 100.0

MEASURES = ("waveform_correlation", "spectral_overlap", "onset_correlation")
"""Keys of :func:`stem_correlations`."""


def stem_correlations(stems: Tensor, sample_rate: int) -> dict[str, np.ndarray]:
    """All measures of a chunk.

    Args:
        stems: (stem, channel, sample).
        sample_rate: Hz.

    Returns:
        For each of :data:`MEASURES` a symmetric matrix (stem, stem) in float64; NaN in the rows and
        columns of silent stems.

    Raises:
        ValueError: other axes, or NaN or infinite samples.
    """
    if stems.ndim != 3 or stems.shape[-1] == 0 or not torch.isfinite(stems).all():
        raise ValueError(
            f"stems must be (stem, channel, sample) and finite, got shape {tuple(stems.shape)}"
        )
    power = power_spectrograms(stems, sample_rate)
    return {
        "waveform_correlation": waveform_correlation(stems),
        "spectral_overlap": spectral_overlap(power),
        "onset_correlation": onset_correlation(power),
    }


def waveform_correlation(stems: Tensor) -> np.ndarray:
    """``|<s_i, s_j>| / (|s_i| |s_j|)``, sums over channels and samples: the cosine, without sign.

    Args:
        stems: (stem, channel, sample).

    Returns:
        float64 (stem, stem) from 0 (orthogonal, as independent sources are in the limit) to 1 (a
        scaled copy); NaN for silent stems.
    """
    gram = gram_matrix([stems.flatten(1)]).cpu().numpy()
    norm = np.sqrt(np.diag(gram))
    norm = np.where(norm > 0, norm, np.nan)
    return np.minimum(np.abs(gram) / np.outer(norm, norm), 1.0)


def power_spectrograms(stems: Tensor, sample_rate: int) -> Tensor:
    """Squared STFT magnitudes, summed over channels: Hann window of 46 ms, hop a quarter of it.

    Args:
        stems: (stem, channel, sample).
        sample_rate: Hz.

    Returns:
        (stem, frame, bin).
    """
    window = 2 ** round(np.log2(WINDOW_SECONDS * sample_rate))
    spectrum = torch.stft(
        stems.flatten(0, 1),
        window,
        window // 4,
        window=torch.hann_window(window, dtype=stems.dtype, device=stems.device),
        pad_mode="constant",
        return_complex=True,
    )
    power = torch.view_as_real(spectrum).square().sum(-1)
    return power.unflatten(0, stems.shape[:2]).sum(1).mT


def spectral_overlap(power: Tensor) -> np.ndarray:
    """One minus the approximate W-disjoint orthogonality of two sources of equal energy.

    Yilmaz and Rickard (IEEE Trans. Signal Processing 52(7), 2004) measure by
    ``WDO = (|M S_i|^2 - |M S_j|^2) / |S_i|^2`` how well a mask M on the spectra S separates source
    i from source j; the best binary mask takes the bins where ``|S_i| > |S_j|``.  With both powers
    p scaled to the sum 1 this is ``sum max(p_i - p_j, 0) = 1 - sum min(p_i, p_j)``, which is
    symmetric in i and j.

    Args:
        power: spectrograms (stem, frame, bin).

    Returns:
        float64 (stem, stem) from 0 (never in the same bin at once) to 1 (equal spectrograms); NaN
        for silent stems.  Phases are ignored: independent mono noises of one colour have 0.5.
    """
    shares = power.double().flatten(1)
    total = shares.sum(1, keepdim=True)
    shares = shares / torch.where(total > 0, total, torch.nan)
    rows = [torch.minimum(shares, row).sum(1) for row in shares]
    return torch.stack(rows).cpu().numpy()


def onset_correlation(power: Tensor) -> np.ndarray:
    """Pearson correlation, over frames, of the stems' onset strengths.

    Onset strength is spectral flux: the rise of the log-compressed magnitude from frame to frame,
    summed over the bins in which it rises (Bello et al., "A tutorial on onset detection in music
    signals", IEEE Trans. Speech and Audio Processing 13(5), 2005).

    Args:
        power: spectrograms (stem, frame, bin).

    Returns:
        float64 (stem, stem) from -1 through 0 (unrelated) to 1 (all onsets together, in the same
        proportions); NaN for stems that are silent, or have no onset at all.
    """
    magnitude = power.double().sqrt()
    peak = magnitude.amax((1, 2), keepdim=True)
    loudness = torch.log1p(COMPRESSION * magnitude / torch.where(peak > 0, peak, torch.nan))
    flux = loudness.diff(dim=1).clamp(min=0).sum(-1).cpu().numpy()
    flux = flux - flux.mean(1, keepdims=True)
    norm = np.sqrt((flux**2).sum(1))
    norm = np.where(norm > 0, norm, np.nan)
    return np.clip(flux @ flux.T / np.outer(norm, norm), -1.0, 1.0)


def mean_over_pairs(matrix: np.ndarray, sounding: np.ndarray) -> float:
    """Mean over the pairs of different stems that both sound; NaN if there is no such pair.

    Args:
        matrix: (stem, stem), symmetric; pairs that are NaN are left out.
        sounding: (stem,), which stems to count.
    """
    pairs = np.triu(np.outer(sounding, sounding), k=1) & ~np.isnan(matrix)
    return float(matrix[pairs].mean()) if pairs.any() else float("nan")
