"""The decoder's last layer against one written output by output."""

import torch
from torch.nn.functional import glu

from mixit_mss.models.bands import band_groups
from mixit_mss.models.gated_masks import MaskLayout, gated_masks

WIDTHS = (1, 1, 3, 2, 2)
BATCH, FRAMES, SOURCES, CHANNELS, HIDDEN = 2, 3, 3, 2, 4


def inputs(dtype=torch.float64):
    torch.manual_seed(0)
    hidden = torch.randn(BATCH, FRAMES, len(WIDTHS), HIDDEN, dtype=dtype, requires_grad=True)
    layout = MaskLayout(band_groups(WIDTHS), BATCH, FRAMES, SOURCES, CHANNELS)
    weights = []
    for group in layout.groups:
        outputs = 4 * SOURCES * CHANNELS * group.width
        for shape in ((group.num_bands, HIDDEN, outputs), (group.num_bands, 1, outputs)):
            weights.append(torch.randn(shape, dtype=dtype, requires_grad=True))
    return hidden, layout, weights


def band_by_band(hidden, layout, weights):
    """One band, frame and batch item at a time."""
    masks = []
    for group, weight, bias in zip(layout.groups, weights[::2], weights[1::2], strict=True):
        for band in range(group.num_bands):
            features = hidden[:, :, group.bands.start + band]
            outputs = glu(features @ weight[band] + bias[band])
            shape = (BATCH, FRAMES, 2, SOURCES, CHANNELS, group.width)
            masks.append(torch.einsum("btpnmw->bnmtwp", outputs.reshape(shape)))
    return torch.cat(masks, dim=4)


def test_masks_and_gradients_equal_those_of_a_loop():
    hidden, layout, weights = inputs()
    ours, plain = gated_masks(hidden, layout, weights), band_by_band(hidden, layout, weights)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    outer = torch.randn_like(ours)
    for mine, expected in zip(
        torch.autograd.grad(ours, [hidden, *weights], outer),
        torch.autograd.grad(plain, [hidden, *weights], outer),
        strict=True,
    ):
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)


def test_half_precision_makes_float32_masks_and_gradients():
    hidden, layout, weights = inputs(torch.float32)
    exact = gated_masks(hidden, layout, weights)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gated_masks(hidden, layout, weights)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.02
    gradients = torch.autograd.grad(rounded.sum(), [hidden, *weights])
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
