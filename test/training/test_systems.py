"""The shortcut through the masks against the loss of the estimates themselves."""

import pytest
import torch

from mixit_mss.losses import mixit_loss
from mixit_mss.models import BSLocoformer
from mixit_mss.training.systems import mixit_loss_by_masks

SIZE = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2, "kernel_size": 2}
STFT = {"sample_rate": 8000, "n_fft": 128, "hop": 32, "bands": 8}


@pytest.mark.parametrize("solver", ["exact", "least_squares"])
@pytest.mark.parametrize("joint_channels", [True, False])
def test_summed_masks_give_the_loss_and_gradients_of_summed_estimates(solver, joint_channels):
    torch.manual_seed(0)
    model = BSLocoformer(5, **SIZE, **STFT).double()
    mixtures = torch.randn(3, 2, 2, 1000, dtype=torch.float64)
    options = {"solver": solver, "threshold": 1e-3, "joint_channels": joint_channels}
    parameters = list(model.parameters())

    expected, assignment = mixit_loss(model(mixtures.sum(1)), mixtures, **options)
    gradients = torch.autograd.grad(expected.mean(), parameters)
    loss = mixit_loss_by_masks(model, mixtures, **options)

    assert 0 < assignment.mean() < 1  # both mixtures own outputs
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(torch.autograd.grad(loss.mean(), parameters), gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
