import numpy as np
import pytest

from mixit_mss.data import mixing


def noise(*shape, level=0.1, seed=0):
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def decibels(ratio):
    return 10 * np.log10(ratio)


def mean_square(waveform):
    return float(np.mean(np.square(waveform, dtype=np.float64)))


def test_power_is_the_mean_square():
    assert mixing.power(np.full((2, 50), 0.5, np.float32)) == pytest.approx(0.25)
    assert mixing.power(noise(2, 1000)[:, ::2]) == pytest.approx(
        mean_square(noise(2, 1000)[:, ::2])
    )


def test_balanced_mixtures_have_uniform_power_ratios():
    mixtures = np.stack([noise(2, 400, level=0.3), noise(2, 400, level=0.01, seed=1)])
    before = mixtures.copy()
    ratios = []
    for seed in range(2000):
        scaled = mixing.balance_mixtures(mixtures, np.random.default_rng(seed), gain_db=5)
        assert np.array_equal(scaled[1], mixtures[1])
        ratios.append(decibels(mean_square(scaled[0]) / mean_square(scaled[1])))
    assert np.array_equal(mixtures, before)
    assert -5 <= min(ratios) < -4.9
    assert 4.9 < max(ratios) <= 5.001
    assert np.mean(ratios) == pytest.approx(0, abs=0.25)  # four standard errors
    assert np.std(ratios) == pytest.approx(10 / np.sqrt(12), rel=0.05)
    assert scaled.dtype == np.float32


def test_silent_mixtures_keep_their_level():
    mixtures = np.stack([noise(2, 100), np.zeros((2, 100), np.float32)])
    assert np.array_equal(mixing.balance_mixtures(mixtures, np.random.default_rng(0)), mixtures)
    swapped = mixtures[::-1]
    assert np.array_equal(mixing.balance_mixtures(swapped, np.random.default_rng(0)), swapped)


def test_crops_reach_both_ends():
    generator = np.random.default_rng(0)
    starts = {mixing.random_start(10, 4, generator) for _ in range(200)}
    assert starts == set(range(7))
    assert mixing.random_start(10, 10, generator) == 0


@pytest.mark.parametrize("level", ["rms", "mean_absolute"])
def test_normalised_level(level):
    stem = noise(2, 5000, level=0.003)
    scaled = mixing.normalise(stem, level)
    measured = np.sqrt(mean_square(scaled)) if level == "rms" else np.abs(scaled).mean()
    assert measured == pytest.approx(mixing.NORMAL_LEVEL, rel=1e-4)
    assert np.allclose(scaled / stem, (scaled / stem)[0, 0], rtol=1e-4)


def test_silence_is_not_amplified():
    hiss = noise(2, 100, level=1e-4)
    assert np.array_equal(mixing.normalise(hiss), hiss)


def test_dynamic_mixing_gains_and_drops():
    stems = np.stack([noise(2, 200, level=level, seed=9) for level in (0.5, 0.1, 0.02, 0.004)])
    gains, drops = [], 0
    for seed in range(3000):
        references = mixing.dynamic_mixing(stems, np.random.default_rng(seed))
        powers = [mean_square(reference) for reference in references]
        drops += sum(power == 0 for power in powers)
        gains += [decibels(power / mixing.NORMAL_LEVEL**2) for power in powers if power > 0]
    assert references.shape == stems.shape
    assert references.dtype == np.float32
    assert drops / (4 * 3000) == pytest.approx(0.05, abs=0.008)  # four standard errors
    assert -10.001 <= min(gains) < -9.95
    assert 9.95 < max(gains) <= 10.001
    assert np.mean(gains) == pytest.approx(0, abs=0.25)
    assert np.std(gains) == pytest.approx(20 / np.sqrt(12), rel=0.03)


def test_one_stem_always_stays():
    stems = np.stack([noise(1, 50, seed=seed) for seed in range(3)])
    stems[1] = 0  # a silent one does not count
    for seed in range(300):
        references = mixing.dynamic_mixing(stems, np.random.default_rng(seed), drop=0.9)
        assert any(mean_square(reference) > 0 for reference in references[[0, 2]])
    silent = np.zeros_like(stems)
    assert not mixing.dynamic_mixing(silent, np.random.default_rng(0), drop=0.9).any()


def test_nothing_can_always_be_dropped():
    with pytest.raises(ValueError, match="drop"):
        mixing.dynamic_mixing(noise(2, 1, 10), np.random.default_rng(0), drop=1.0)
