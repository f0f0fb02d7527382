"""Norm and convolutional SwiGLU of TF-Locoformer as two valid convolutions and one gradient.

The published network computes it as a padded ``Conv1d`` and a cropped ``ConvTranspose1d`` on
transposed copies of its features.  With taps K, the crop takes away just what the transposed
convolution adds, so it is a valid convolution with reversed taps.  Both run here as channels-last
two-dimensional convolutions with K taps along one axis and one along the other, straight on the
(batch, frame, band, feature) layout.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from mixit_mss.models import rms_group_norm
from mixit_mss.models.rms_group_norm import normalise, normalise_gradient

FRAME = 1


def norm_conv_swiglu(
    x: Tensor,
    gamma: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    deconv_weight: Tensor,
    deconv_bias: Tensor,
    *,
    num_groups: int,
    axis: int,
) -> Tensor:
    """RMS group norm, convolution D -> 2C, SwiGLU, transposed convolution C -> D.

    The SwiGLU is the convolution's first half times SiLU of the second.

    Args:
        x: features (batch, frame, band, feature D), taken as zero outside its bounds.
        gamma: gain of the norm (D,), see :mod:`~mixit_mss.models.rms_group_norm`.
        conv_weight: (2C, D, K), as ``Conv1d``'s; ``conv_bias``: (2C,).
        deconv_weight: (C, D, K), as ``ConvTranspose1d``'s; ``deconv_bias``: (D,).
        num_groups: of the norm.
        axis: 1 to convolve along the frames, 2 along the bands.

    Returns:
        Features of the shape of ``x``.
    """
    weights: tuple[Tensor, ...] = (conv_weight, conv_bias, deconv_weight, deconv_bias)
    device = x.device.type
    if torch.is_autocast_enabled(device):
        weights = tuple(t.to(torch.get_autocast_dtype(device)) for t in weights)
        with torch.autocast(device, enabled=False):
            return _NormConvSwiGLU.apply(x, gamma, *weights, num_groups, axis)
    return _NormConvSwiGLU.apply(x, gamma, *weights, num_groups, axis)


class _NormConvSwiGLU(torch.autograd.Function):
    """Saves its input, which the residual keeps anyway, and the first convolution's output."""

    @staticmethod
    def forward(ctx, x, gamma, conv_weight, conv_bias, deconv_weight, deconv_bias, groups, axis):
        ctx.groups, ctx.axis = groups, axis
        normed = normalise(x, gamma, groups).to(conv_weight.dtype)
        pre = _conv(normed, conv_weight, conv_bias, axis, full=True)
        ctx.save_for_backward(x, gamma, pre, conv_weight, deconv_weight)
        value, gate = pre.chunk(2, dim=-1)
        hidden = functional.silu(gate).mul_(value)
        return _conv(hidden, deconv_weight.transpose(0, 1).flip(2), deconv_bias, axis, full=False)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, gamma, pre, conv_weight, deconv_weight = ctx.saved_tensors
        axis = ctx.axis
        trained = ctx.needs_input_grad[2]  # False where the separator is frozen
        grad = grad.contiguous()
        grad_hidden = _conv(grad, deconv_weight, None, axis, full=True)
        grad_pre = torch.empty_like(pre)
        if trained:
            # a valid convolution's adjoint pads, so this correlates `grad` with the hidden features
            # as it does `normed` with `grad_pre`
            normed = normalise(x, gamma, ctx.groups).to(conv_weight.dtype)
            grad_conv = _WeightGradient(normed, conv_weight, axis)
            grad_deconv = _WeightGradient(grad, deconv_weight, axis)
            del normed
        for block in _blocks(pre):
            value, gate = pre[block].chunk(2, dim=-1)
            for_value, for_gate = grad_pre[block].chunk(2, dim=-1)
            outer = grad_hidden[block]
            sigmoid = gate.sigmoid()
            silu = gate * sigmoid
            if trained:
                grad_deconv.add(block, silu * value)
            torch.mul(outer, silu, out=for_value)
            # d silu = sigmoid + silu * (1 - sigmoid)
            slope = torch.addcmul(sigmoid, silu, sigmoid.neg().add_(1))
            torch.mul(slope.mul_(value), outer, out=for_gate)
            if trained:
                grad_conv.add(block, grad_pre[block])
        del grad_hidden
        weights: tuple[Tensor | None, ...] = (None,) * 4
        if trained:
            biases = grad_pre.sum((0, 1, 2)), grad.sum((0, 1, 2))
            weights = (grad_conv.result(), biases[0], grad_deconv.result(), biases[1])
            del grad_conv, grad_deconv
        grad_x = grad_gamma = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            grad_normed = _conv(
                grad_pre, conv_weight.transpose(0, 1).flip(2), None, axis, full=False
            )
            del grad_pre
            grad_normed = grad_normed.to(gamma.dtype)
            grad_x, grad_gamma = normalise_gradient(grad_normed, x, gamma, ctx.groups)
        return grad_x, grad_gamma, *weights, None, None


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, axis: int, *, full: bool) -> Tensor:
    """Correlate (batch, frame, band, in) with (out, in, K) along ``axis``.

    ``full`` pads by K - 1 on both sides, so the axis grows by K - 1; else it shrinks by as much.
    """
    if x.device.type == "cpu" and x.dtype.itemsize == 2 and x.shape[-1] < 16:
        # oneDNN's product of 8 or 12 features with 8 taps is wrong in half precision (torch 2.11)
        exact = None if bias is None else bias.float()
        return _conv(x.float(), weight.float(), exact, axis, full=full).to(x.dtype)
    edge = weight.shape[2] - 1 if full else 0
    weight, padding = (
        (weight[..., None], (edge, 0)) if axis == FRAME else (weight[:, :, None], (0, edge))
    )
    # a permuted view of the layout is PyTorch's channels-last format
    y = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=padding)
    return y.permute(0, 2, 3, 1).contiguous()


def _blocks(x: Tensor) -> list[tuple[slice, slice]]:
    """(batch, frame) ranges of (batch, frame, band, feature).

    On the CPU they are small enough to stay in a core's cache between operations.
    """
    if x.device.type != "cpu":
        return [(slice(None), slice(None))]
    frames = max(1, rms_group_norm.ROWS // x.shape[2])
    starts = range(0, x.shape[1], frames)
    return [
        (slice(item, item + 1), slice(start, start + frames))
        for item in range(x.shape[0])
        for start in starts
    ]


class _WeightGradient:
    """Gradient (out, in, K) of ``_conv(x, weight, full=True)``, summed over blocks of its output.

    oneDNN computes it slowly for channels-last data, so on the CPU it is a matrix product with
    unfolded rows of ``x``, a few thousand at a time.
    """

    def __init__(self, x: Tensor, weight: Tensor, axis: int):
        out, features, taps = weight.shape
        self._padding = (taps - 1, 0) if axis == FRAME else (0, taps - 1)
        self._kernel = (taps, 1) if axis == FRAME else (1, taps)
        self._on_cpu = x.device.type == "cpu"
        if not self._on_cpu:
            self._x, self._shape = x.permute(0, 3, 1, 2), (out, features, *self._kernel)
            return
        frames, bands = self._padding
        x = functional.pad(x, (0, 0, bands, bands, frames, frames))
        windows = x.unfold(axis, taps, 1)  # (batch, frame, band, feature, tap)
        self._windows = windows.transpose(3, 4)
        self._total = x.new_zeros(out, taps * features)

    def add(self, block: tuple[slice, slice], grad: Tensor) -> None:
        """Add a block's gradient of the output, (batch, frame, band, out)."""
        if self._on_cpu:
            rows = self._windows[block].reshape(-1, self._total.shape[1])
            self._total.addmm_(grad.reshape(-1, grad.shape[-1]).T, rows)
        else:
            grad = grad.permute(0, 3, 1, 2)
            self._total = conv2d_weight(self._x, self._shape, grad, padding=self._padding)

    def result(self) -> Tensor:
        """The sum over all added blocks."""
        if self._on_cpu:
            taps = self._kernel[0] * self._kernel[1]
            return self._total.view(len(self._total), taps, -1).transpose(1, 2)
        return self._total.flatten(2)
