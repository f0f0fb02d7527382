"""The oracle mask against its definition in a loop, and what it must achieve."""

import numpy as np
import pytest
from reference import irm_loops

from mixit_mss.scoring.metrics import usdr
from mixit_mss.scoring.oracles import ideal_ratio_mask, mixture_as_estimate


@pytest.fixture
def stems():
    """Two tones and noise, each louder on one side."""
    time = np.arange(9_777) / 44100
    tones = [np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 3000 * time)]
    noise = 0.2 * np.random.default_rng(0).standard_normal(time.size)
    return np.stack([np.stack([signal, 0.4 * signal]) for signal in (*tones, noise)])


@pytest.mark.parametrize("samples", [9_777, 8192, 1500])
def test_equals_loop(stems, samples):
    stems = stems[..., :samples]
    mixture = stems.sum(0)
    estimates = ideal_ratio_mask(mixture, stems)
    for channel in range(2):
        expected = irm_loops.ideal_ratio_mask(mixture[channel], stems[:, channel])
        np.testing.assert_allclose(estimates[:, channel], expected, atol=1e-9)


def test_estimates_add_up_to_the_mixture(stems):
    mixture = stems.sum(0)
    estimates = ideal_ratio_mask(mixture, stems)
    np.testing.assert_allclose(estimates.sum(0), mixture, atol=1e-9)


def test_ceiling_is_above_the_floor(stems):
    mixture = stems.sum(0)
    floor = usdr(mixture_as_estimate(mixture, 3), stems)
    ceiling = usdr(ideal_ratio_mask(mixture, stems), stems)
    assert (ceiling[:2] > floor[:2] + 15).all() and (ceiling > floor).all()


def test_silence(stems):
    stems[1] = 0
    stems[:, :, :5000] = 0
    estimates = ideal_ratio_mask(stems.sum(0), stems)
    assert np.isfinite(estimates).all() and not estimates[1].any()


def test_types_and_axes(stems):
    single = stems.astype(np.float32)
    assert ideal_ratio_mask(single.sum(0), single).dtype == np.float32
    floor = mixture_as_estimate(single.sum(0), 3)
    assert floor.shape == single.shape and (floor == single.sum(0)).all()
    with pytest.raises(ValueError, match=r"\(2, 9777\) and \(3, 2, 100\)"):
        ideal_ratio_mask(single.sum(0), single[..., :100])
