"""uSDR and the streaming song scores: planted values, loops, silence, blocks, memory."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from mixit_mss.scoring.metrics import SongScores, csdr, framewise_sdr, usdr, usdr_per_channel

RATE = 1000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def song(rng, stems=3, samples=4 * RATE + 321):
    references = rng.standard_normal((stems, 2, samples))
    return references + 0.1 * rng.standard_normal(references.shape), references


class TestUsdr:
    def test_known_ratios(self, rng):
        reference = rng.standard_normal((4, 2, 5000))
        levels = np.array([-10.0, 0.0, 10.0, 40.0])
        estimate = reference * (1 + 10 ** (-levels / 20))[:, None, None]
        np.testing.assert_allclose(usdr(estimate, reference), levels, atol=1e-6)
        np.testing.assert_allclose(usdr_per_channel(estimate, reference), levels, atol=1e-6)

    def test_equals_a_loop_over_samples_and_blocks(self, rng):
        reference = rng.standard_normal((2, 150_001))  # more than two blocks
        estimate = reference + rng.standard_normal(reference.shape) * [[0.1], [0.5]]
        signal = [math.fsum(x**2 for x in channel) for channel in reference]
        noise = [math.fsum(x**2 for x in channel) for channel in reference - estimate]
        whole = 10 * math.log10((sum(signal) + 1e-7) / (sum(noise) + 1e-7))
        sides = [
            10 * math.log10((s + 1e-7) / (n + 1e-7)) for s, n in zip(signal, noise, strict=True)
        ]
        assert usdr(estimate, reference) == pytest.approx(whole, abs=1e-10)
        assert usdr_per_channel(estimate, reference) == pytest.approx(np.mean(sides), abs=1e-10)

    def test_the_two_definitions_differ_where_channels_do(self):
        reference = np.ones((2, 100)) * [[1.0], [0.1]]
        estimate = reference + 0.1
        assert usdr(estimate, reference) == pytest.approx(10 * math.log10(101 / 2), abs=1e-5)
        assert usdr_per_channel(estimate, reference) == pytest.approx(10.0, abs=1e-4)

    def test_perfect_and_silent_estimates(self, rng):
        reference = rng.standard_normal((2, 1000))
        energy = np.sum(reference**2)
        assert usdr(reference, reference) == pytest.approx(10 * math.log10(energy / 1e-7), abs=1e-6)
        assert usdr(0 * reference, reference) == pytest.approx(0.0, abs=1e-9)

    def test_silent_reference_is_nan_and_alone(self, rng):
        estimate, reference = song(rng)
        reference[1] = 0
        reference[2, 0] = 0
        for metric in (usdr, usdr_per_channel):
            scores = metric(estimate, reference)
            assert np.isnan(scores).tolist() == [False, True, False]
        alone = usdr(estimate[2, 1:], reference[2, 1:])
        assert usdr_per_channel(estimate, reference)[2] == pytest.approx(alone)

    def test_float32_torch_and_integers(self, rng):
        estimate, reference = (x.astype(np.float32) for x in song(rng))
        expected = usdr(estimate.astype(np.float64), reference.astype(np.float64))
        assert expected.dtype == np.float64
        np.testing.assert_array_equal(usdr(estimate, reference), expected)
        tensors = (torch.from_numpy(x).requires_grad_() for x in (estimate, reference))
        np.testing.assert_array_equal(usdr(*tensors), expected)
        loud = np.array([[30000, -30000]], dtype=np.int16)
        assert usdr(-loud, loud) == pytest.approx(-20 * math.log10(2), abs=1e-9)


class TestFramewise:
    def test_known_ratio_in_every_window(self, rng):
        _, references = song(rng)
        levels = np.array([3.0, 12.0, -5.0, 20.0])
        estimates = references.copy()
        for window, level in enumerate(levels):
            part = np.s_[..., window * RATE : (window + 1) * RATE]
            estimates[part] *= 1 + 10 ** (-level / 20)
        estimates[..., 4 * RATE :] *= 100  # the partial tail is not scored
        sdr = framewise_sdr(estimates, references, RATE)
        np.testing.assert_allclose(sdr, np.tile(levels, (3, 1)), atol=1e-10)
        np.testing.assert_allclose(csdr(estimates, references, RATE), 7.5, atol=1e-10)

    def test_a_perfect_window_is_infinite(self, rng):
        _, references = song(rng)
        assert (framewise_sdr(references, references, RATE) == np.inf).all()
        assert (csdr(references, references, RATE) == np.inf).all()

    def test_single_stem(self, rng):
        estimates, references = song(rng, stems=1)
        for metric in (framewise_sdr, csdr):
            alone = metric(estimates[0], references[0], RATE)
            np.testing.assert_array_equal(alone, metric(estimates, references, RATE)[0])
        assert csdr(estimates[0], references[0], RATE).shape == ()

    @pytest.mark.parametrize("which", ["estimate", "reference"])
    def test_a_stem_that_is_silent_throughout_voids_only_itself(self, rng, which):
        estimates, references = song(rng)
        (estimates if which == "estimate" else references)[1] = 0
        scores = framewise_sdr(estimates, references, RATE)
        others = framewise_sdr(estimates[[0, 2]], references[[0, 2]], RATE)
        assert np.isnan(scores[1]).all()
        np.testing.assert_array_equal(scores[[0, 2]], others)
        assert np.isnan(csdr(estimates, references, RATE)).tolist() == [False, True, False]

    def test_median_leaves_silent_windows_out(self, rng):
        estimates, references = song(rng)
        references[0, :, RATE : 2 * RATE] = 0
        sdr = framewise_sdr(estimates, references, RATE)
        assert np.isnan(sdr).sum(axis=1).tolist() == [1, 1, 1]
        expected = np.median(np.delete(sdr, 1, axis=1), axis=1)
        np.testing.assert_array_equal(csdr(estimates, references, RATE), expected)

    def test_a_song_without_any_sound(self):
        silence = np.zeros((2, 2, 3 * RATE))
        assert np.isnan(csdr(silence, silence, RATE)).all()
        assert np.isnan(usdr(silence, silence)).all()


class TestSongScores:
    @pytest.mark.parametrize("block", [1, 13, 17, RATE, 2 * RATE + 1, 10**6])
    def test_blocks_do_not_matter(self, rng, block):
        samples = 2 * RATE + 35 if block == 1 else 4 * RATE + 321
        estimates, references = song(rng, samples=samples)
        references[1, :, RATE : 2 * RATE] = 0
        references[2, 1, RATE + 40 :] = -references[2, 0, RATE + 40 :]
        scores = SongScores(RATE)
        for start in range(0, samples, block):
            part = np.s_[..., start : start + block]
            scores.add(estimates[part], references[part])
        whole = framewise_sdr(estimates, references, RATE)
        np.testing.assert_allclose(scores.framewise_sdr(), whole, atol=1e-10)
        np.testing.assert_allclose(scores.csdr(), csdr(estimates, references, RATE), atol=1e-10)
        np.testing.assert_allclose(scores.usdr(), usdr(estimates, references), atol=1e-10)
        np.testing.assert_allclose(
            scores.usdr_per_channel(), usdr_per_channel(estimates, references), atol=1e-10
        )

    def test_memory_does_not_grow_with_the_song(self):
        references = np.ones((4, 2, 2_000_000), dtype=np.float32)
        estimates = references + np.float32(0.5)
        tracemalloc.start()
        try:
            csdr(estimates, references, 44100)
            csdr(estimates[..., :10], references, 44100)
            usdr(estimates, references)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 7 * 4 * 2 * 44100 * 8  # seven seconds of all stems in float64; a song has 45


class TestBadInput:
    def test_axes(self, rng):
        estimates, references = song(rng)
        with pytest.raises(ValueError, match=r"\(3, 2, 4320\) and \(3, 2, 4321\)"):
            usdr(estimates[..., 1:], references)
        with pytest.raises(ValueError, match=r"\(5,\) and \(5,\)"):
            usdr(np.zeros(5), np.zeros(5))
        with pytest.raises(ValueError, match=r"\(2, 2, 4321\) and \(3, 2, 4321\)"):
            csdr(estimates[:2], references, RATE)
        with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\)"):
            csdr(np.zeros((1, 2, 3, 4)), np.zeros((1, 2, 3, 4)), RATE)

    def test_no_samples(self):
        for metric in (usdr, lambda *pair: csdr(*pair, RATE)):
            with pytest.raises(ValueError):
                metric(np.zeros((1, 2, 0)), np.zeros((1, 2, 0)))
        with pytest.raises(ValueError, match="no samples"):
            SongScores(RATE).usdr()

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("which", [0, 1])
    def test_not_finite(self, rng, bad, which):
        pair = song(rng)
        pair[which][1, 0, -1] = bad
        for metric in (usdr, usdr_per_channel, lambda *pair: csdr(*pair, RATE)):
            with pytest.raises(ValueError, match="NaN or infinity"):
                metric(*pair)

    def test_a_block_with_other_stems(self, rng):
        estimates, references = song(rng)
        scores = SongScores(RATE)
        scores.add(estimates, references)
        with pytest.raises(
            ValueError, match=r"\(2, 2\) stems and channels after blocks of \(3, 2\)"
        ):
            scores.add(estimates[:2], references[:2])
