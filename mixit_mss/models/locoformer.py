"""TF-Locoformer block (Saijo et al., IWAENC 2024, arXiv 2408.03440) without positional encoding.

Everything keeps one layout, (batch, frame, band, feature).  The two paths of a block differ only in
the axis along which their convolutions and attention run, so no tensor is ever transposed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixit_mss.models.conv_ffn import norm_conv_swiglu
from mixit_mss.models.norm_linear import norm_linear

FRAME, BAND = 1, 2
"""Axes of (batch, frame, band, feature) along which a path can run."""


class RMSGroupNorm(nn.Module):
    """RMS normalisation of ``num_groups`` groups of features at every time-frequency point.

    It only holds the gain; the next layer normalises, see :mod:`mixit_mss.models.rms_group_norm`.
    """

    def __init__(self, dim: int, num_groups: int):
        super().__init__()
        if dim % num_groups:
            raise ValueError(f"dim {dim} is not divisible by num_groups {num_groups}")
        self.num_groups = num_groups
        self.gamma = nn.Parameter(torch.ones(dim))


class ConvSwiGLU(nn.Module):
    """Local modelling along one axis: convolution, SwiGLU, transposed convolution.

    Args:
        dim: features D.
        hidden: features C between the convolutions.
        kernel_size: taps K; the input is padded by K - 1 on both sides and the output cropped back.
        axis: :data:`FRAME` or :data:`BAND`.
    """

    def __init__(self, dim: int, hidden: int, kernel_size: int, axis: int):
        super().__init__()
        self.axis = axis
        self.conv_weight = nn.Parameter(torch.empty(2 * hidden, dim, kernel_size))
        self.conv_bias = nn.Parameter(torch.empty(2 * hidden))
        self.deconv_weight = nn.Parameter(torch.empty(hidden, dim, kernel_size))
        self.deconv_bias = nn.Parameter(torch.empty(dim))
        # PyTorch's default; the fan-in of both layers is (second weight axis) x taps
        bound = (dim * kernel_size) ** -0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, norm: RMSGroupNorm) -> Tensor:
        """Features (batch, frame, band, feature), to be normalised first -> the same shape."""
        weights = (self.conv_weight, self.conv_bias, self.deconv_weight, self.deconv_bias)
        groups, axis = norm.num_groups, self.axis
        return norm_conv_swiglu(x, norm.gamma, *weights, num_groups=groups, axis=axis)


class SelfAttention(nn.Module):
    """Multi-head self-attention along one axis, without bias and without positions."""

    def __init__(self, dim: int, num_heads: int, axis: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads, self.axis = num_heads, axis
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, norm: RMSGroupNorm) -> Tensor:
        """Features (batch, frame, band, feature), to be normalised first -> the same shape."""
        qkv = norm_linear(x, norm.gamma, self.qkv.weight, num_groups=norm.num_groups, parts=3)
        query, key, value = map(self._heads, qkv)
        y = functional.scaled_dot_product_attention(query, key, value)
        return self.out(y.transpose(1, 2).reshape(x.shape))

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, frame, band, feature) -> (rows, head, length, head feature), without a copy.

        Along bands the rows are (batch, frame); along frames a "head" is a (band, head) pair.
        """
        batch, frames, bands, dim = x.shape
        if self.axis == BAND:
            x = x.reshape(batch * frames, bands, self.num_heads, dim // self.num_heads)
        else:
            x = x.reshape(batch, frames, bands * self.num_heads, dim // self.num_heads)
        return x.transpose(1, 2)


class LocoformerPath(nn.Module):
    """Convolution, attention, convolution along one axis, each with norm and full residual."""

    def __init__(self, dim, ffn_dim, num_heads, num_groups, kernel_size, dropout, axis):
        super().__init__()
        self.norm1 = RMSGroupNorm(dim, num_groups)
        self.ffn1 = ConvSwiGLU(dim, ffn_dim, kernel_size, axis)
        self.norm_attention = RMSGroupNorm(dim, num_groups)
        self.attention = SelfAttention(dim, num_heads, axis)
        self.norm2 = RMSGroupNorm(dim, num_groups)
        self.ffn2 = ConvSwiGLU(dim, ffn_dim, kernel_size, axis)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, frame, band, feature) -> the same shape."""
        x = x + self.dropout(self.ffn1(x, self.norm1))
        x = x + self.dropout(self.attention(x, self.norm_attention))
        return x + self.dropout(self.ffn2(x, self.norm2))


class LocoformerBlock(nn.Module):
    """One TF-Locoformer block: a path along the bands, then a path along the frames.

    Args:
        dim: features D.
        ffn_dim: hidden features C of the convolutional feed-forward parts.
        num_heads: attention heads H.
        num_groups: groups G of the normalisation.
        kernel_size: taps K of the convolutions.
        dropout: probability of dropping a feature of each residual branch while training.
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        num_groups: int,
        kernel_size: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        sizes = (dim, ffn_dim, num_heads, num_groups, kernel_size, dropout)
        self.band_path = LocoformerPath(*sizes, axis=BAND)
        self.frame_path = LocoformerPath(*sizes, axis=FRAME)

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, frame, band, feature) -> the same shape."""
        return self.frame_path(self.band_path(x))
