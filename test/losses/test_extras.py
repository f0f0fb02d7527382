"""Mixture consistency and the sparsity penalty: what defines them."""

import pytest
import torch

from mixit_mss.losses.extras import mixture_consistency, source_sparsity


def test_consistent_outputs_add_up_and_moved_as_little_as_possible():
    estimates = torch.randn(3, 5, 2, 40, dtype=torch.float64)
    mixture = torch.randn(3, 2, 40, dtype=torch.float64)
    projected = mixture_consistency(estimates, mixture)
    torch.testing.assert_close(projected.sum(1), mixture)
    # the closest point of a subspace: the way there is orthogonal to every direction within it
    direction = torch.randn_like(estimates)
    direction -= direction.mean(1, keepdim=True)
    assert ((projected - estimates) * direction).sum().abs() < 1e-9
    torch.testing.assert_close(mixture_consistency(projected, mixture), projected)


def test_consistency_rejects_other_axes():
    with pytest.raises(ValueError, match=r"\(3, 5, 2, 40\) and \(3, 1, 2, 40\)"):
        mixture_consistency(torch.zeros(3, 5, 2, 40), torch.zeros(3, 1, 2, 40))


@pytest.mark.parametrize("active", [1, 2, 4, 8])
def test_sparsity_counts_equally_loud_outputs(active):
    estimates = torch.zeros(1, 8, 2, 500)
    estimates[:, :active] = torch.randn(2, 500).sign()
    assert source_sparsity(estimates).item() == pytest.approx(active**0.5 / 8, rel=1e-3)


def test_sparsity_ignores_level_and_is_finite_on_silence():
    estimates = torch.randn(2, 6, 2, 100, dtype=torch.float64)
    torch.testing.assert_close(
        source_sparsity(estimates), source_sparsity(3 * estimates), rtol=1e-6, atol=0
    )
    silence = torch.zeros(1, 6, 2, 100, requires_grad=True)
    source_sparsity(silence).sum().backward()
    assert torch.isfinite(silence.grad).all()
