"""Any rate to any other, whole and block by block."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from mixit_mss.audio import resampling
from mixit_mss.audio.resampling import can_resample, resample, resample_blocks

# 44101 and 44056 Hz (a slowed-down video) have no small ratio to 44100
RATES = [(48000, 44100), (44100, 8000), (8000, 44100), (22050, 44100), (96000, 44100)]
ODD_RATES = [(44101, 44100), (44056, 44100), (44100, 44056), (11131, 22050)]


def noise(samples, channels=2):
    return np.random.default_rng(0).standard_normal((channels, samples)).astype(np.float32)


@pytest.mark.parametrize("rates", RATES + ODD_RATES)
@pytest.mark.parametrize("block", [1000, 4097, 50_000])
def test_blocks_give_the_same_samples_as_the_whole(rates, block):
    waveform = noise(100_003)
    whole = resample(waveform, *rates)
    assert whole.shape[-1] == -(-waveform.shape[-1] * rates[1] // rates[0])
    pieces = (waveform[:, i : i + block] for i in range(0, waveform.shape[-1], block))
    streamed = np.concatenate(list(resample_blocks(pieces, *rates)), axis=-1)
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=2e-6)


@pytest.mark.parametrize("rates", ODD_RATES)
def test_tones_survive_odd_ratios(rates):
    assert not can_resample(*rates)
    frequencies = np.array([[100.0], [3000.0]])
    before, after = (np.arange(rate // 2) / rate for rate in rates)
    resampled = resample(np.sin(2 * np.pi * frequencies * before), *rates)
    wanted = np.sin(2 * np.pi * frequencies * after)
    middle = slice(rates[1] // 8, rates[1] * 3 // 8)
    error = resampled[:, middle] - wanted[:, middle]
    assert 20 * np.log10(np.abs(error).max()) < -140


def test_what_the_lower_rate_cannot_hold_is_gone():
    time = np.arange(20_001) / 20_001
    resampled = resample(np.sin(2 * np.pi * 7000 * time)[None], 20_001, 10_000)
    assert np.abs(resampled[:, 1000:-1000]).max() < 1e-6


@pytest.mark.parametrize("rates", [(48000, 44100), (44100, 48000), (8000, 44100)])
def test_both_ways_to_compute_agree(rates):
    waveform = torch.from_numpy(noise(5000)).double()
    length = -(-5000 * rates[1] // rates[0])
    grouped = resampling._in_groups(waveform, *rates, length)
    phased = resampling._by_phase(waveform, *rates, length)
    torch.testing.assert_close(phased, grouped, rtol=0, atol=2e-7)


def test_a_rate_must_be_positive():
    assert not can_resample(0, 44100)
    with pytest.raises(ValueError, match="0 Hz"):
        resample(noise(10), 0, 44100)


MEMORY = """
import resource, sys
import numpy as np
from mixit_mss.audio.resampling import resample_blocks
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
list(resample_blocks([np.zeros((2, 1000), np.float32)], 44101, 44100))
before = peak()
for rates in ((767_999, 1009), (767_999, 44_100), (1009, 767_999), (568_388, 44_100)):
    blocks = [np.ones((2, rates[0] // 100), np.float32)] * 3
    resampled = np.concatenate(list(resample_blocks(blocks, *rates)), axis=1)
    print(abs(resampled[:, resampled.shape[1] // 2] - 1).max())
print(peak() - before)
"""


def test_no_pair_of_rates_builds_gigantic_filters():
    """All weights of the worst pair would take 800 MB, and the sums of one stretch gigabytes."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True
    )
    *errors, grown = map(float, done.stdout.split())
    assert max(errors) < 0.03  # the middle of 30 ms of a constant
    assert grown < 200
