"""RMS group norm followed by a linear layer; only the norm's input is saved for the gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mixit_mss.models.rms_group_norm import normalise, normalise_gradient


def norm_linear(
    x: Tensor, gamma: Tensor, weight: Tensor, *, num_groups: int, parts: int
) -> tuple[Tensor, ...]:
    """Normalise, then multiply by each of ``parts`` equal slices of ``weight``.

    One product per part, so that every result is contiguous and its heads can be views.

    Args:
        x: features (..., feature D).
        gamma: gain of the norm (D,), see :mod:`~mixit_mss.models.rms_group_norm`.
        weight: (output, D), as ``Linear``'s; ``parts`` divides its outputs.
        num_groups: of the norm.
        parts: number of results.

    Returns:
        ``parts`` tensors (..., output / parts).
    """
    device = x.device.type
    if torch.is_autocast_enabled(device):
        weight = weight.to(torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            return _NormLinear.apply(x, gamma, weight, num_groups, parts)
    return _NormLinear.apply(x, gamma, weight, num_groups, parts)


class _NormLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, weight, num_groups, parts):
        ctx.save_for_backward(x, gamma, weight)
        ctx.num_groups = num_groups
        normed = normalise(x, gamma, num_groups).to(weight.dtype)
        return tuple(torch.matmul(normed, part.T) for part in weight.chunk(parts))

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        x, gamma, weight = ctx.saved_tensors
        rows = [grad.reshape(-1, grad.shape[-1]) for grad in grads]
        grad_x = grad_gamma = grad_weight = None
        if ctx.needs_input_grad[2]:  # False if the separator is frozen
            normed = normalise(x, gamma, ctx.num_groups).to(weight.dtype).flatten(0, -2)
            grad_weight = torch.cat([part.T @ normed for part in rows])
            del normed
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            slices = weight.chunk(len(rows))
            grad_normed = rows[0] @ slices[0]
            for part, piece in zip(rows[1:], slices[1:], strict=True):
                grad_normed.addmm_(part, piece)
            grad_normed = grad_normed.view(x.shape).to(gamma.dtype)
            grad_x, grad_gamma = normalise_gradient(grad_normed, x, gamma, ctx.num_groups)
        return grad_x, grad_gamma, grad_weight, None, None
