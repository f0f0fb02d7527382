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

from mixit_mss.models.rms_group_norm import normalise, normalise_gradient

FRAME = 1
_ROWS = 2048  # unfolded rows at a time in the weight gradient: they stay in the cache


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
    weights = (conv_weight, conv_bias, deconv_weight, deconv_bias)
    device = x.device.type
    if torch.is_autocast_enabled(device):
        weights = tuple(t.to(torch.get_autocast_dtype(device)) for t in weights)
        with torch.autocast(device, enabled=False):
            return _NormConvSwiGLU.apply(x, gamma, *weights, num_groups, axis)
    return _NormConvSwiGLU.apply(x, gamma, *weights, num_groups, axis)


class _NormConvSwiGLU(torch.autograd.Function):
    """Keeps its input, which the residual keeps anyway, and the first convolution's output."""

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
        axis, taps = ctx.axis, conv_weight.shape[2]
        trained = ctx.needs_input_grad[2]  # False where the separator is frozen
        grad = grad.contiguous()
        value, gate = pre.chunk(2, dim=-1)
        sigmoid = gate.sigmoid()
        silu = gate * sigmoid
        grad_hidden = _conv(grad, deconv_weight, None, axis, full=True)
        grad_conv = grad_conv_bias = grad_deconv = grad_deconv_bias = grad_x = grad_gamma = None
        if trained:
            # the adjoint of a valid convolution pads, so `hidden` meets `grad` as x meets grad_pre
            grad_deconv = _weight_gradient(grad, silu * value, taps, axis)
            grad_deconv_bias = grad.sum((0, 1, 2))
        grad_pre = torch.empty_like(pre)
        torch.mul(grad_hidden, silu, out=grad_pre[..., : silu.shape[-1]])
        # d silu = sigmoid + silu * (1 - sigmoid)
        slope = torch.addcmul(sigmoid, silu, 1 - sigmoid)
        torch.mul(grad_hidden.mul_(value), slope, out=grad_pre[..., silu.shape[-1] :])
        del sigmoid, silu, slope, grad_hidden
        if trained:
            normed = normalise(x, gamma, ctx.groups).to(conv_weight.dtype)
            grad_conv = _weight_gradient(normed, grad_pre, taps, axis)
            grad_conv_bias = grad_pre.sum((0, 1, 2))
            del normed
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            grad_normed = _conv(
                grad_pre, conv_weight.transpose(0, 1).flip(2), None, axis, full=False
            )
            grad_normed = grad_normed.to(gamma.dtype)
            grad_x, grad_gamma = normalise_gradient(grad_normed, x, gamma, ctx.groups)
        weights = (grad_conv, grad_conv_bias, grad_deconv, grad_deconv_bias)
        return grad_x, grad_gamma, *weights, None, None


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, axis: int, *, full: bool) -> Tensor:
    """Correlate (batch, frame, band, in) with (out, in, K) along ``axis``.

    ``full`` pads by K - 1 on both sides, so the axis grows by K - 1; else it shrinks by as much.
    """
    if x.device.type == "cpu" and x.dtype.itemsize == 2 and x.shape[-1] < 16:
        # oneDNN's product of 8 or 12 features with 8 taps is wrong in half precision (torch 2.11)
        exact = (None if t is None else t.float() for t in (x, weight, bias))
        return _conv(*exact, axis, full=full).to(x.dtype)
    padding = weight.shape[2] - 1 if full else 0
    weight, padding = (
        (weight[..., None], (padding, 0)) if axis == FRAME else (weight[:, :, None], (0, padding))
    )
    # a permuted view of the layout is PyTorch's channels-last format
    y = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=padding)
    return y.permute(0, 2, 3, 1).contiguous()


def _weight_gradient(x: Tensor, grad: Tensor, taps: int, axis: int) -> Tensor:
    """Gradient (out, in, K) of ``_conv(x, weight, full=True)``, given the output's gradient."""
    padding = (taps - 1, 0) if axis == FRAME else (0, taps - 1)
    if x.device.type != "cpu":
        kernel = (taps, 1) if axis == FRAME else (1, taps)
        shape = (grad.shape[-1], x.shape[-1], *kernel)
        weight = torch.nn.grad.conv2d_weight(
            x.permute(0, 3, 1, 2), shape, grad.permute(0, 3, 1, 2), padding=padding
        )
        return weight.flatten(2)
    # oneDNN is slow at this one for channels-last data: unfold a few thousand rows at a time
    batch, features = x.shape[0], x.shape[3]
    x = functional.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    padded_frames, padded_bands = x.shape[1:3]
    step = features * (padded_bands if axis == FRAME else 1)
    strides = (padded_frames * padded_bands * features, padded_bands * features, features, step, 1)
    windows = x.as_strided((*grad.shape[:3], taps, features), strides)
    total = x.new_zeros(grad.shape[-1], taps * features)
    frames_at_once = max(1, _ROWS // grad.shape[2])
    for item in range(batch):
        for start in range(0, grad.shape[1], frames_at_once):
            rows = windows[item, start : start + frames_at_once].reshape(-1, taps * features)
            block = grad[item, start : start + frames_at_once].flatten(0, 1)
            total.addmm_(block.T, rows)
    return total.view(-1, taps, features).transpose(1, 2)
