"""RMS group normalisation and its gradient, for the layers that compute it again from its input."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-5
"""Added to the root mean square itself, not under the root, as in the published network."""


def normalise(x: Tensor, gamma: Tensor, num_groups: int) -> Tensor:
    """``x / (rms(x) + EPS) * gamma``, the RMS taken over each of ``num_groups`` feature groups.

    Args:
        x: features (..., feature); half precision is normalised in float32.
        gamma: gain (feature,).
        num_groups: groups of neighbouring features; divides the number of features.

    Returns:
        The shape of ``x``, in the precision of ``gamma``.  Zeros give zeros and a zero gradient.
    """
    grouped = _grouped(x, gamma.dtype, num_groups)
    out = grouped * (_rms(grouped) + EPS).reciprocal()
    return out.mul_(gamma.view(num_groups, -1)).view(x.shape)


def normalise_gradient(
    grad: Tensor, x: Tensor, gamma: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """Gradients of ``x`` and ``gamma``, given that of ``normalise(x, gamma, num_groups)``."""
    grouped = _grouped(x, gamma.dtype, num_groups)
    rms = _rms(grouped)
    scale = (rms + EPS).reciprocal()
    grad = grad.contiguous().view(grouped.shape)
    product = grad * grouped
    grad_gamma = (product * scale).flatten(0, -3).sum(0).flatten()
    gain = gamma.view(num_groups, -1)
    # d rms / dx = x / (size * rms), and 0 for a silent group
    size = grouped.shape[-1]
    pull = (product.mul_(gain).sum(-1, keepdim=True) * scale.square() / (size * rms)).masked_fill(
        rms == 0, 0
    )
    grad_x = (grad * gain).mul_(scale).addcmul_(grouped, pull, value=-1)
    return grad_x.view(x.shape).to(x.dtype), grad_gamma


def _grouped(x: Tensor, dtype: torch.dtype, num_groups: int) -> Tensor:
    return x.to(dtype).contiguous().view(*x.shape[:-1], num_groups, -1)


def _rms(grouped: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(grouped, dim=-1, keepdim=True)
    return norm.mul_(grouped.shape[-1] ** -0.5)
