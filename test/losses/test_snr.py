"""The SNR losses against planted ratios, loops, and silence."""

import math

import numpy as np
import pytest
import torch
from reference import snr_loops

from mixit_mss.losses import thresholded_snr, zero_reference_snr

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4}  # dB


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def stereo(generator, *leading, samples=400, dtype=torch.float64):
    return torch.randn(*leading, 2, samples, generator=generator, dtype=dtype)


def orthogonal_noise(reference, snr_db):
    """Noise at a known SNR: the reference with every second sample's sign turned, scaled."""
    return reference * 10 ** (-snr_db / 20)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.5, 25.0])
def test_known_snr(generator, dtype, snr_db):
    reference = stereo(generator, 3, dtype=dtype)
    estimate = reference + orthogonal_noise(reference, snr_db)
    loss = thresholded_snr(estimate, reference, threshold=0.0)
    assert loss.dtype == dtype and loss.shape == (3,)
    torch.testing.assert_close(loss, torch.full_like(loss, -snr_db), atol=TOLERANCE[dtype], rtol=0)


def test_threshold_clamps_at_thirty_decibels(generator):
    reference = stereo(generator)
    assert thresholded_snr(reference, reference).item() == pytest.approx(-30, abs=1e-8)
    at_thirty = thresholded_snr(reference + orthogonal_noise(reference, 30.0), reference)
    assert at_thirty.item() == pytest.approx(-30 + 10 * math.log10(2), abs=1e-8)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("joint_channels", [True, False])
def test_equals_loops(generator, dtype, joint_channels):
    reference, estimate = stereo(generator, 2, 3, dtype=dtype), stereo(generator, 2, 3, dtype=dtype)
    reference[..., 1, :] *= 0.05
    loss = thresholded_snr(estimate, reference, threshold=1e-2, joint_channels=joint_channels)
    loop = snr_loops.thresholded_snr if joint_channels else snr_loops.per_channel
    for batch in range(2):
        for stem in range(3):
            expected = loop(estimate[batch, stem], reference[batch, stem], 1e-2)
            assert loss[batch, stem].item() == pytest.approx(expected, abs=TOLERANCE[dtype])


def test_joint_and_per_channel_differ(generator):
    reference = stereo(generator)
    estimate = reference.clone()
    estimate[1] = 0
    assert thresholded_snr(estimate, reference, joint_channels=False).item() == pytest.approx(
        (-30 + 10 * math.log10(1.001)) / 2, abs=1e-9
    )
    joint = thresholded_snr(estimate, reference).item()
    assert joint == pytest.approx(-3.0, abs=0.5)


def test_gradient_is_that_of_the_formula(generator):
    reference = stereo(generator)
    estimate = stereo(generator).requires_grad_()
    thresholded_snr(estimate, reference).backward()
    error = (estimate - reference).detach()
    denominator = error.square().sum() + 1e-3 * reference.square().sum()
    expected = 20 / math.log(10) * error / denominator
    torch.testing.assert_close(estimate.grad, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("joint_channels", [True, False])
@pytest.mark.parametrize("silent", ["reference", "estimate", "both"])
def test_gradients_are_finite_on_silence(generator, silent, joint_channels):
    reference = stereo(generator, 2, dtype=torch.float32)
    estimate = stereo(generator, 2, dtype=torch.float32)
    if silent != "estimate":
        reference.zero_()
    if silent != "reference":
        estimate.zero_()
    mixture = torch.zeros_like(reference)
    estimate.requires_grad_()
    for loss in (
        thresholded_snr(estimate, reference, joint_channels=joint_channels),
        zero_reference_snr(estimate, reference, mixture, joint_channels=joint_channels),
    ):
        (gradient,) = torch.autograd.grad(loss.sum(), estimate)
        assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()
        if silent == "both":
            assert not gradient.any()


def test_half_precision_is_summed_in_float32(generator):
    reference = 30 * stereo(generator, samples=20000, dtype=torch.float32)  # energy beyond float16
    estimate = reference + orthogonal_noise(reference, 12.0)
    loss = thresholded_snr(estimate.half(), reference.half(), threshold=0.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(-12, abs=0.01)


class TestZeroReference:
    """Stems of one example: active, 50 dB and 70 dB below the mixture, silent."""

    levels = (1.0, 10 ** (-50 / 20), 10 ** (-70 / 20), 0.0)

    @pytest.fixture
    def signals(self, generator):
        mixture = stereo(generator, 1)
        references = torch.cat([level * mixture for level in self.levels])
        estimates = references + 0.01 * stereo(generator, 4)
        return estimates, references, mixture

    @pytest.mark.parametrize(
        ("inactive", "row"), [("release", (-60, 1e-3, 0.1)), ("fuss", (-math.inf, 1e-2, 1.0))]
    )
    def test_equals_loops(self, signals, inactive, row):
        estimates, references, mixture = signals
        loss = zero_reference_snr(
            estimates, references, mixture, inactive=inactive, joint_channels=True
        )
        for stem in range(4):
            expected = snr_loops.zero_reference_snr(
                estimates[stem], references[stem], mixture[0], 1e-3, *row
            )
            assert loss[stem].item() == pytest.approx(expected, abs=1e-5)

    def test_default_is_the_release_per_channel(self, signals):
        estimates, references, mixture = signals
        references[3, 0] = mixture[0, 0]  # a stem of which only the left channel sounds
        loss = zero_reference_snr(estimates, references, mixture)[3].item()
        sides = [
            snr_loops.zero_reference_snr(
                estimates[3, [c]], references[3, [c]], mixture[0, [c]], 1e-3, -60, 1e-3, 0.1
            )
            for c in range(2)
        ]
        assert loss == pytest.approx(np.mean(sides), abs=1e-6)

    def test_active_stems_get_equation_four(self, signals):
        estimates, references, mixture = signals
        for joint in (True, False):
            loss = zero_reference_snr(estimates, references, mixture, joint_channels=joint)
            plain = thresholded_snr(estimates, references, joint_channels=joint)
            torch.testing.assert_close(loss[:2], plain[:2])

    def test_less_leakage_is_better_down_to_the_threshold(self, generator):
        mixture = stereo(generator)
        silence = torch.zeros_like(mixture)
        losses = [
            zero_reference_snr(mixture * 10 ** (-db / 20), silence, mixture, inactive="fuss").item()
            for db in (0, 10, 20, 60, 80)
        ]
        assert losses == sorted(losses, reverse=True)
        assert losses[-2] - losses[-1] < 0.01


def test_axes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(2, 10\) and \(2, 11\)"):
        thresholded_snr(torch.zeros(2, 10), torch.zeros(2, 11))
    with pytest.raises(ValueError, match=r"\(10,\)"):
        thresholded_snr(torch.zeros(10), torch.zeros(10))
    stems = torch.zeros(3, 3, 2, 10)
    with pytest.raises(ValueError, match=r"\(3, 2, 10\) for \(3, 3, 2, 10\)"):
        zero_reference_snr(stems, stems, torch.zeros(3, 2, 10))
    with pytest.raises(ValueError, match="release, fuss"):
        zero_reference_snr(stems, stems, stems, inactive="no")
