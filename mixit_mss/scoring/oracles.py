"""Two reference points for a table of scores: the mixture itself and the ideal ratio mask.

The mixture as the estimate of every stem is the baseline that separation has to improve on.  The
ideal ratio mask knows the stems, and is about the best that a mask with values between 0 and 1 can
do.
"""

from __future__ import annotations

import numpy as np

FRAME_SAMPLES = 2048  # SiSEC 2018: Hann window, half overlap, at any sample rate


def mixture_as_estimate(mixture: np.ndarray, num_stems: int) -> np.ndarray:
    """The mixture as the estimate of every stem.

    Args:
        mixture: (channel, sample).
        num_stems: number of stems.

    Returns:
        (stem, channel, sample), a read-only view of the mixture.
    """
    return np.broadcast_to(mixture, (num_stems, *mixture.shape))


def ideal_ratio_mask(mixture: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Oracle IRM1 of SiSEC 2018: the mixture, masked by the stems' shares of the magnitude.

    In each channel, stem j's mask is ``|Y_j| / sum_k |Y_k|`` (the "1" is the exponent of the
    magnitudes), and 0 where all stems are silent.

    Args:
        mixture: (channel, sample).
        references: the stems, (stem, channel, sample).

    Returns:
        Estimates (stem, channel, sample) in the mixture's floating-point type.

    Raises:
        ValueError: the shapes do not match.
    """
    if references.ndim != 3 or references.shape[1:] != mixture.shape:
        raise ValueError(
            "mixture must be (channel, sample) and references (stem, channel, sample), got "
            f"{mixture.shape} and {references.shape}"
        )
    from scipy.signal import istft  # takes a second to import, and only this oracle needs it

    estimates = np.empty(references.shape, dtype=np.result_type(mixture, np.float32))
    for channel, signal in enumerate(mixture):
        spectrum = _stft(signal)
        magnitudes = [np.abs(_stft(stem[channel])) for stem in references]
        total = np.sum(magnitudes, axis=0)
        per_magnitude = np.divide(spectrum, total, out=np.zeros_like(spectrum), where=total > 0)
        for stem, magnitude in enumerate(magnitudes):
            masked = istft(per_magnitude * magnitude, nperseg=FRAME_SAMPLES)[1]
            estimates[stem, channel] = masked[: signal.shape[-1]]
    return estimates


def _stft(signal: np.ndarray) -> np.ndarray:
    """Spectrum (bin, frame), padded at both ends so that `istft` restores the signal."""
    from scipy.signal import stft

    missing = max(0, FRAME_SAMPLES - signal.shape[-1])
    return stft(np.pad(signal, (0, missing)), nperseg=FRAME_SAMPLES)[-1]
