"""Gains and sums of training examples, as pure functions that take a random generator."""

from __future__ import annotations

import numpy as np

# -60 dB of full scale: a crop below it counts as silent and is neither normalised nor amplified.
SILENT_POWER = 1e-6
# Level of a normalised stem.  Any constant works, since the network normalises its input; this one
# (-20 dB) keeps sums near full scale.
NORMAL_LEVEL = 0.1


def power(waveform: np.ndarray) -> float:
    """Mean square over channels and samples; full scale is 1."""
    flat = waveform.reshape(-1)
    return float(np.dot(flat, flat)) / max(1, flat.size)


def is_silent(waveform: np.ndarray) -> bool:
    """Whether the power is below -60 dB of full scale."""
    return power(waveform) < SILENT_POWER


def random_start(num_frames: int, crop_frames: int, generator: np.random.Generator) -> int:
    """A uniform start in samples, such that the crop lies within ``num_frames`` samples."""
    return int(generator.integers(num_frames - crop_frames + 1))


def balance_mixtures(
    mixtures: np.ndarray, generator: np.random.Generator, gain_db: float = 5.0
) -> np.ndarray:
    """Scale every mixture but the last to a random power relative to the last one's.

    The paper does not give the levels of the two mixtures of a MoM; the authors' code scales the
    first so that its power is U(-5, 5) dB above the second's.

    Args:
        mixtures: (mixture, channel, sample).
        generator: source of the gains.
        gain_db: the gains are U(-gain_db, gain_db) dB.

    Returns:
        The scaled mixtures.  Silent mixtures keep their level, and so do all if the last is silent.
    """
    scaled = mixtures.copy()
    target = power(mixtures[-1])
    for mixture in scaled[:-1]:
        gain = 10 ** (generator.uniform(-gain_db, gain_db) / 10)
        if min(target, power(mixture)) >= SILENT_POWER:
            mixture *= np.sqrt(gain * target / power(mixture))
    return scaled


def normalise(stem: np.ndarray, level: str = "rms") -> np.ndarray:
    """Scale (channel, sample) to a fixed level; a silent stem keeps its level.

    Args:
        stem: the waveform.
        level: "rms" (paper, section 4.3) or "mean_absolute", the mean absolute value (the authors'
            code).
    """
    if is_silent(stem):
        return stem
    measured = np.sqrt(power(stem)) if level == "rms" else np.abs(stem).mean()
    return stem * np.float32(NORMAL_LEVEL / measured)


def dynamic_mixing(
    stems: np.ndarray,
    generator: np.random.Generator,
    level: str = "rms",
    gain_db: float = 10.0,
    drop: float = 0.05,
) -> np.ndarray:
    """References of a training mixture from one segment of each stem; their sum is the mixture.

    Each stem is normalised, scaled by a uniform gain in dB, and dropped (set to zero) with
    probability ``drop`` (paper, section 4.3).  As in the authors' code, the drops are redrawn until
    at least one stem that is not silent remains.

    Args:
        stems: (source, channel, sample), from any songs.
        generator: source of gains and drops.
        level: see :func:`normalise`.
        gain_db: the gains are U(-gain_db, gain_db) dB.
        drop: probability; below 1, or no stem would ever remain.

    Returns:
        (source, channel, sample) float32.

    Raises:
        ValueError: ``drop`` is out of range.
    """
    if not 0 <= drop < 1:
        raise ValueError(f"the probability to drop a stem must be from 0 to below 1, got {drop}")
    gains = 10 ** (generator.uniform(-gain_db, gain_db, size=len(stems)) / 20)
    audible = np.array([not is_silent(stem) for stem in stems])
    kept = generator.random(len(stems)) >= drop
    while audible.any() and not (kept & audible).any():
        kept = generator.random(len(stems)) >= drop
    references = [
        normalise(stem, level) * np.float32(gain * keep)
        for stem, gain, keep in zip(stems, gains, kept, strict=True)
    ]
    return np.stack(references)
