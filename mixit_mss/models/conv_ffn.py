"""The convolutional SwiGLU of TF-Locoformer as two valid convolutions and one gradient.

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

FRAME = 1
_ROWS = 2048  # unfolded rows at a time in the weight gradient: they stay in the cache


def conv_swiglu(
    x: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    deconv_weight: Tensor,
    deconv_bias: Tensor,
    *,
    axis: int,
) -> Tensor:
    """Convolution D -> 2C, first half times SiLU of the second, transposed convolution C -> D.

    Args:
        x: features (batch, frame, band, feature D), taken as zero outside its bounds.
        conv_weight: (2C, D, K), as ``Conv1d``'s; ``conv_bias``: (2C,).
        deconv_weight: (C, D, K), as ``ConvTranspose1d``'s; ``deconv_bias``: (D,).
        axis: 1 to convolve along the frames, 2 along the bands.

    Returns:
        Features of the shape of ``x``.
    """
    tensors = (x, conv_weight, conv_bias, deconv_weight, deconv_bias)
    device = x.device.type
    if torch.is_autocast_enabled(device):
        tensors = tuple(t.to(torch.get_autocast_dtype(device)) for t in tensors)
        with torch.autocast(device, enabled=False):
            return _ConvSwiGLU.apply(*tensors, axis)
    return _ConvSwiGLU.apply(*tensors, axis)


class _ConvSwiGLU(torch.autograd.Function):
    """Keeps its input and the first convolution's output; everything else is computed again."""

    @staticmethod
    def forward(ctx, x, conv_weight, conv_bias, deconv_weight, deconv_bias, axis):
        ctx.axis = axis
        x = x.contiguous()
        pre = _conv(x, conv_weight, conv_bias, axis, full=True)
        ctx.save_for_backward(x, pre, conv_weight, deconv_weight)
        value, gate = pre.chunk(2, dim=-1)
        hidden = functional.silu(gate).mul_(value)
        return _conv(hidden, deconv_weight.transpose(0, 1).flip(2), deconv_bias, axis, full=False)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, pre, conv_weight, deconv_weight = ctx.saved_tensors
        axis, taps = ctx.axis, conv_weight.shape[2]
        trained = ctx.needs_input_grad[1]  # False where the separator is frozen
        grad = grad.contiguous()
        value, gate = pre.chunk(2, dim=-1)
        sigmoid = gate.sigmoid()
        silu = gate * sigmoid
        grad_hidden = _conv(grad, deconv_weight, None, axis, full=True)
        grad_conv = grad_conv_bias = grad_deconv = grad_deconv_bias = grad_x = None
        if trained:
            # the adjoint of a valid convolution pads, so `hidden` meets `grad` as x meets grad_pre
            grad_deconv = _weight_gradient(grad, silu * value, taps, axis)
            grad_deconv_bias = grad.sum((0, 1, 2))
        grad_pre = torch.empty_like(pre)
        torch.mul(grad_hidden, silu, out=grad_pre[..., : silu.shape[-1]])
        # d silu = sigmoid + silu * (1 - sigmoid)
        slope = torch.addcmul(sigmoid, silu, 1 - sigmoid)
        torch.mul(grad_hidden.mul_(value), slope, out=grad_pre[..., silu.shape[-1] :])
        if trained:
            grad_conv = _weight_gradient(x, grad_pre, taps, axis)
            grad_conv_bias = grad_pre.sum((0, 1, 2))
        if ctx.needs_input_grad[0]:
            grad_x = _conv(grad_pre, conv_weight.transpose(0, 1).flip(2), None, axis, full=False)
        return grad_x, grad_conv, grad_conv_bias, grad_deconv, grad_deconv_bias, None


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
