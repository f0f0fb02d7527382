"""RMS group normalisation and its gradient, for layers that recompute it from its input."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-5
"""Added to the root mean square itself, not under the root, as in the published network."""

ROWS = 2048
"""Time-frequency points that are processed at a time where the cache limits the speed."""


def normalise(x: Tensor, gamma: Tensor, num_groups: int) -> Tensor:
    """``x / (rms(x) + EPS) * gamma``, the RMS taken over each of ``num_groups`` feature groups.

    Args:
        x: features (..., feature); half precision is normalised in float32.
        gamma: gain (feature,).
        num_groups: groups of neighbouring features; divides the number of features.

    Returns:
        The shape of ``x``, in the precision of ``gamma``.  Zeros give zeros and a zero gradient.
    """
    grouped, gain = _grouped(x, gamma.dtype, num_groups), gamma.view(num_groups, -1)
    out = torch.empty_like(grouped)
    for part, target in zip(_pieces(grouped), _pieces(out), strict=True):
        torch.mul(part, (_rms(part) + EPS).reciprocal(), out=target).mul_(gain)
    return out.view(x.shape)


def normalise_gradient(
    grad: Tensor, x: Tensor, gamma: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """Gradients of ``x`` and ``gamma``, given that of ``normalise(x, gamma, num_groups)``."""
    grouped, gain = _grouped(x, gamma.dtype, num_groups), gamma.view(num_groups, -1)
    grad = grad.contiguous().view(grouped.shape)
    grad_x, grad_gamma = torch.empty_like(grouped), torch.zeros_like(gain)
    pieces = (_pieces(tensor) for tensor in (grouped, grad, grad_x))
    for part, slope, target in zip(*pieces, strict=True):
        rms = _rms(part)
        scale = (rms + EPS).reciprocal()
        product = slope * part
        grad_gamma += (product * scale).sum(0)
        # d rms / dx = x / (size * rms), and 0 for a silent group
        pull = product.mul_(gain).sum(-1, keepdim=True) * scale.square()
        pull = (pull / (part.shape[-1] * rms)).masked_fill_(rms == 0, 0)
        torch.mul(slope, gain, out=target).mul_(scale).addcmul_(part, pull, value=-1)
    return grad_x.view(x.shape).to(x.dtype), grad_gamma.flatten()


def _grouped(x: Tensor, dtype: torch.dtype, num_groups: int) -> Tensor:
    return x.to(dtype).contiguous().view(*x.shape[:-1], num_groups, -1)


def _pieces(grouped: Tensor) -> tuple[Tensor, ...]:
    """Views (row, group, feature); on the CPU small enough to stay in a core's cache."""
    rows = grouped.flatten(0, -3)
    return rows.split(ROWS) if rows.device.type == "cpu" else (rows,)


def _rms(grouped: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(grouped, dim=-1, keepdim=True)
    return norm.mul_(grouped.shape[-1] ** -0.5)
