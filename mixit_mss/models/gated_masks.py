"""The decoder's last layer, from hidden features to complex masks, with a memory-saving gradient.

With N outputs this layer makes 4 N numbers per channel, frame and bin, more than any other layer.
So it saves only its input for the gradient and recomputes the rest, and every group of bands writes
its masks directly into the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class BandGroup(NamedTuple):
    """A run of neighbouring bands of equal width."""

    bands: slice
    bins: slice
    num_bands: int
    width: int


class MaskLayout(NamedTuple):
    """The sizes behind the flat rows and columns of the last layer."""

    groups: Sequence[BandGroup]
    batch: int
    frames: int
    sources: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the masks: (batch, source, channel, frame, bin, real/imaginary)."""
        bins = self.groups[-1].bins.stop
        return (self.batch, self.sources, self.channels, self.frames, bins, 2)

    def columns(self, masks: Tensor, group: BandGroup) -> Tensor:
        """A view of a group's part of the masks, in the order of the layer's outputs.

        (band, batch, frame, real/imaginary, source, channel, bin).
        """
        part = masks[..., group.bins, :].unflatten(4, (group.num_bands, group.width))
        return part.permute(4, 0, 3, 6, 1, 2, 5)


def gated_masks(hidden: Tensor, layout: MaskLayout, weights: Sequence[Tensor]) -> Tensor:
    """A linear layer per band, then a GLU: the first half times the sigmoid of the second.

    Args:
        hidden: (batch, frame, band, feature), best as a view of (band, batch, frame, feature).
        layout: the groups of bands, and the sizes of batch, frame, source and channel.
        weights: for each group its weight (band, feature, output) and bias (band, 1, output);
            outputs in the published order (GLU half, real/imaginary, source, channel, bin).

    Returns:
        Masks of ``layout.shape``; float32 even if autocast makes the products half precision.
    """
    rows = hidden.permute(2, 0, 1, 3).flatten(1, 2)
    device = rows.device.type
    if torch.is_autocast_enabled(device):
        half = torch.get_autocast_dtype(device)
        weights = [weight.to(half) for weight in weights]
        with torch.autocast(device, enabled=False):
            return _GatedMasks.apply(rows.to(half), layout, *weights)
    return _GatedMasks.apply(rows, layout, *weights)


class _GatedMasks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, layout, *weights):
        ctx.layout = layout
        ctx.save_for_backward(rows, *weights)
        masks = rows.new_empty(layout.shape, dtype=torch.promote_types(rows.dtype, torch.float32))
        for group, weight, bias in _per_group(layout, weights):
            value, gate = _halves(rows[group.bands], weight, bias)
            columns = layout.columns(masks, group)
            columns.copy_(value.mul_(gate.sigmoid_()).view(columns.shape))
        return masks

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rows, *weights = ctx.saved_tensors
        layout = ctx.layout
        grad_rows = torch.empty_like(rows)
        grad_weights = []
        for group, weight, bias in _per_group(layout, weights):
            inputs = rows[group.bands]
            value, gate = _halves(inputs, weight, bias)
            gate.sigmoid_()
            size = gate.shape[-1]
            outer = layout.columns(grad, group).reshape(gate.shape).to(gate.dtype)
            inner = gate.new_empty(*gate.shape[:-1], 2 * size)
            gated = torch.mul(outer, gate, out=inner[..., :size])
            # d sigmoid = sigmoid (1 - sigmoid)
            torch.mul(value.mul_(gated), gate.neg_().add_(1), out=inner[..., size:])
            torch.bmm(inner, weight.mT, out=grad_rows[group.bands])
            grad_weights += [torch.bmm(inputs.mT, inner), inner.sum(1, keepdim=True)]
        return grad_rows, None, *grad_weights


def _per_group(layout, weights):
    return zip(layout.groups, weights[::2], weights[1::2], strict=True)


def _halves(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's two halves, (band, row, output / 2) each."""
    size = weight.shape[-1] // 2
    (weight1, weight2), (bias1, bias2) = weight.split(size, dim=-1), bias.split(size, dim=-1)
    return torch.baddbmm(bias1, rows, weight1), torch.baddbmm(bias2, rows, weight2)
