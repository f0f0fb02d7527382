"""Planted likenesses: independent, equal, disjoint, alike in rhythm only."""

import numpy as np
import pytest
import torch

from mixit_mss.diagnosis.correlation import (
    MEASURES,
    mean_over_pairs,
    power_spectrograms,
    spectral_overlap,
    stem_correlations,
    waveform_correlation,
)

RATE = 8000
TIME = torch.arange(4 * RATE) / RATE


def tone(hertz):
    return torch.sin(2 * torch.pi * hertz * TIME)


def plucks(period, offset=0.0):
    """An envelope that jumps to 1 every ``period`` seconds and decays."""
    return torch.exp(-12 * ((TIME - offset) % period))


def measured(*stems):
    stereo = torch.stack([torch.stack([stem, 0.5 * stem]) for stem in stems])
    return {name: matrix[0, 1] for name, matrix in stem_correlations(stereo, RATE).items()}


def test_independent_noise():
    """Waveforms and onsets have nothing in common; half of a white spectrum does (E min / E)."""
    found = measured(torch.randn(4 * RATE), torch.randn(4 * RATE))
    assert found["waveform_correlation"] < 0.03
    assert found["spectral_overlap"] == pytest.approx(0.5, abs=0.02)
    assert abs(found["onset_correlation"]) < 0.25


def test_one_stem_twice_at_other_level_and_sign():
    noise = torch.randn(4 * RATE) * plucks(0.5)
    for name, value in measured(noise, -0.01 * noise).items():
        assert value == pytest.approx(1, abs=1e-5), name


def test_together_but_of_other_timbre():
    """What the paper says of music: shared rhythm, distinct timbre."""
    found = measured(plucks(0.5) * tone(300), plucks(0.5) * tone(2500))
    assert found["waveform_correlation"] < 0.01
    assert found["spectral_overlap"] < 0.01
    assert found["onset_correlation"] > 0.95


def test_same_timbre_by_turns():
    """A quarter of a second apart: at once in a bin no more than the tails of the plucks are."""
    found = measured(plucks(0.5) * tone(300), plucks(0.5, 0.25) * tone(300))
    assert found["spectral_overlap"] < 0.2
    assert found["onset_correlation"] < 0
    apart = torch.where(TIME < 2, 1.0, 0.0) * tone(300), torch.where(TIME < 2, 0.0, 1.0) * tone(300)
    assert measured(*apart)["spectral_overlap"] < 0.01


def test_overlap_is_what_a_binary_mask_cannot_part():
    """Preserved signal and interference ratios, written out for a mask, as in the source."""
    stems = torch.randn(2, 1, RATE, dtype=torch.float64) * plucks(0.3)[:RATE]
    stems[1] += 0.5 * stems[0]
    first, second = (power / power.sum() for power in power_spectrograms(stems, RATE).numpy())
    mask = first > second
    preserved = first[mask].sum() / first.sum()
    to_interference = first[mask].sum() / second[mask].sum()
    orthogonality = preserved - preserved / to_interference
    overlap = spectral_overlap(power_spectrograms(100 * stems, RATE))
    assert overlap[0, 1] == pytest.approx(1 - orthogonality)
    assert overlap[1, 0] == overlap[0, 1] and overlap[0, 0] == pytest.approx(1)


def test_waveforms_need_not_be_alike_to_count():
    """cos 60 degrees by construction, over channels and samples jointly."""
    first, second = torch.randn(2, 1000, dtype=torch.float64)
    second -= first * (first @ second) / (first @ first)
    mixed = 0.5 * first / first.norm() + 0.75**0.5 * second / second.norm()
    stems = torch.stack([first, mixed]).unflatten(1, (2, 500))
    assert waveform_correlation(stems)[0, 1] == pytest.approx(0.5)


def test_silence_and_what_never_begins():
    stems = torch.stack([tone(300), torch.zeros_like(TIME), tone(900)])[:, None]
    for name in MEASURES:
        matrix = stem_correlations(stems, RATE)[name]
        assert matrix.shape == (3, 3)
        assert np.isnan(matrix[1]).all() and np.isnan(matrix[:, 1]).all(), name


def test_mean_over_pairs_that_sound():
    matrix = np.array([[1, 0.2, 0.6], [0.2, 1, np.nan], [0.6, np.nan, 1]])
    assert mean_over_pairs(matrix, np.array([True, True, True])) == pytest.approx(0.4)
    assert mean_over_pairs(matrix, np.array([True, True, False])) == pytest.approx(0.2)
    assert np.isnan(mean_over_pairs(matrix, np.array([True, False, False])))


@pytest.mark.parametrize("stems", [torch.zeros(2, 100), torch.full((2, 1, 100), torch.nan)])
def test_bad_input(stems):
    with pytest.raises(ValueError, match=r"stems must be \(stem, channel, sample\)"):
        stem_correlations(stems, RATE)
