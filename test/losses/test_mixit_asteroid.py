"""The exact solver against asteroid's enumeration over waveforms, with the same inner loss."""

import pytest
import torch
from asteroid.losses import MixITLossWrapper

from mixit_mss.losses import mixit_loss, thresholded_snr


def inner_loss(estimate, reference):
    """(batch, mixture, channel, sample) -> (batch,): Eq. 4, summed over mixtures."""
    return thresholded_snr(estimate, reference).sum(-1)


def signals(num_sources, samples, dtype, batch=3):
    """Outputs that lean towards one of two mixtures each, none of them clearly."""
    generator = torch.Generator().manual_seed(num_sources)
    mixtures = torch.randn(batch, 2, 2, samples, generator=generator, dtype=dtype)
    shares = torch.rand(batch, num_sources, 2, generator=generator, dtype=dtype)
    estimates = torch.einsum("bnm,bmcs->bncs", shares, mixtures) * 2 / num_sources
    noise = torch.randn(estimates.shape, generator=generator, dtype=dtype)
    return estimates + 0.3 * noise, mixtures


@pytest.mark.parametrize(
    ("dtype", "loss_tolerance", "gradient_tolerance"),
    [(torch.float64, 1e-10, 1e-10), (torch.float32, 1e-5, 1e-4)],
)
@pytest.mark.parametrize("num_sources", [2, 3, 4, 5, 6, 7, 8, 12])
def test_loss_and_gradient(num_sources, dtype, loss_tolerance, gradient_tolerance):
    samples = 32 if num_sources == 12 else 200
    estimates, mixtures = signals(num_sources, samples, dtype)
    estimates.requires_grad_()
    loss, assignment = mixit_loss(estimates, mixtures, "exact")
    (gradient,) = torch.autograd.grad(loss.sum(), estimates)

    wrapper = MixITLossWrapper(inner_loss, generalized=True, reduction="none")
    expected, remixed = wrapper(estimates, mixtures, return_est=True)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), estimates)
    assert (loss - expected[:, 0]).abs().max() < loss_tolerance
    error = (gradient - expected_gradient).norm() / expected_gradient.norm()
    assert error < gradient_tolerance
    ours = torch.einsum("bmn,bncs->bmcs", assignment, estimates)
    torch.testing.assert_close(ours, remixed)
