"""Power over time and frequency, at the resolution of a figure."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import stft

WIDTH, HEIGHT, LOWEST_HZ = 480, 96, 40.0
RANGE_DB = 80.0  # below the mixture's loudest bin everything is black


def power_image(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Compute the power, summed over channels, in frames of about 46 ms.

    Args:
        waveform: (channel, sample), full scale 1.
        sample_rate: Hz.

    Returns:
        (row, frame): at most 480 frames, and 96 rows evenly spaced on a logarithmic scale from half
        the sample rate (first) down to 40 Hz.
    """
    window = 2 ** round(math.log2(0.046 * sample_rate))
    hop = max(waveform.shape[-1] // WIDTH, 1)
    window = max(window, hop)
    _, _, spectrum = stft(waveform, sample_rate, nperseg=window, noverlap=window - hop)
    power = (np.abs(spectrum) ** 2).sum(axis=0)[:, :WIDTH]
    # each row takes the loudest bin between its edges, or the nearest bin if there is none
    edges = np.geomspace(LOWEST_HZ, sample_rate / 2, HEIGHT + 1) / sample_rate * window
    first = np.floor(edges[:-1]).astype(int)
    last = np.maximum(np.ceil(edges[1:]).astype(int), first + 1)
    rows = [power[a:b].max(axis=0) for a, b in zip(first, last, strict=True)]
    return np.stack(rows[::-1])
