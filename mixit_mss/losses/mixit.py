"""Mixture invariant training: which output belongs to which mixture, and the loss of that choice.

Both solvers use only the inner products of outputs and mixtures (`gram_matrix`), and work on this
small matrix in float64.  Given the assignment, the loss is Eq. 4 of the remixed waveforms.  So its
value and gradient do not depend on the solver's arithmetic, and the backward pass keeps only the
remixed mixtures.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from mixit_mss.losses.gram import gram_matrix
from mixit_mss.losses.snr import at_least_float32, clamped_ratio, thresholded_snr

# 2^20 assignments: two mixtures with 20 outputs, three with 12, four with 10; some 10 MB each.
MAX_ASSIGNMENTS = 2**20

# Eigenvalues of the outputs' correlation matrix below this part of the largest count as zero.  At
# the limit, an output differs from a sum of the others by a signal 60 dB below it.  That is above
# the noise of the inner products (1e-7) and below what Eq. 4 can see (30 dB).
RANK_CUTOFF = 1e-6


def mixit_loss(
    estimates: Tensor,
    mixtures: Tensor,
    solver: str = "least_squares",
    *,
    threshold: float = 1e-3,
    joint_channels: bool = True,
    check: bool = True,
) -> tuple[Tensor, Tensor]:
    """MixIT loss (paper, Eq. 2): the best remix of the outputs against each mixture.

    Args:
        estimates: the network's outputs for the mixtures' sum, (batch, source, channel, sample).
        mixtures: the mixtures that were summed, (batch, mixture, channel, sample).
        solver: ``"least_squares"`` is Eq. 3, the paper's choice; ``"exact"`` finds the minimum of
            Eq. 2 over all assignments (at most `MAX_ASSIGNMENTS`).
        threshold: tau of Eq. 4.
        joint_channels: Eq. 4 over all channels at once, or the mean of the channels' losses.
        check: raise on NaN and infinite samples.  If False, an example with such samples has a loss
            that is not finite, and its outputs belong to the first mixture; other examples are not
            affected.

    Returns:
        The loss (batch,) in dB, summed over mixtures as in Eq. 2, and the binary matrix A
        (batch, mixture, source).  Each output belongs to one mixture; to the first if it makes no
        difference, as for a silent output.

    Raises:
        ValueError: axes that do not fit, NaN or infinite samples, an unknown solver, or too many
            assignments for the exact one.
    """
    owner = assign_outputs(
        *(estimates, mixtures, solver),
        threshold=threshold,
        joint_channels=joint_channels,
        check=check,
    )
    num_mixtures = mixtures.shape[1]
    remixed = remix(estimates, owner, num_mixtures)
    loss = thresholded_snr(
        remixed, mixtures, threshold=threshold, joint_channels=joint_channels
    ).sum(-1)
    assignment = torch.nn.functional.one_hot(owner, num_mixtures).mT.to(loss.dtype)
    return loss, assignment


@torch.no_grad()
def assign_outputs(
    estimates: Tensor,
    mixtures: Tensor,
    solver: str = "least_squares",
    *,
    threshold: float = 1e-3,
    joint_channels: bool = True,
    check: bool = True,
) -> Tensor:
    """The assignment in :func:`mixit_loss`, with the same arguments.

    Returns:
        For each output the index of its mixture, (batch, source).
    """
    _check_inputs(estimates, mixtures, solver)
    estimates, mixtures = at_least_float32(estimates), at_least_float32(mixtures)
    num_mixtures = mixtures.shape[1]
    if solver == "exact":
        gram = _inner_products(estimates, mixtures, joint_channels, check)
        return exact_owner(gram, num_mixtures, threshold)
    gram = _inner_products(estimates, mixtures, check=check)
    return least_squares_owner(gram[:, 0], num_mixtures)


def remix(sources: Tensor, owner: Tensor, num_mixtures: int) -> Tensor:
    """A s: for each mixture the sum of the sources that it owns (paper, Eq. 1).

    It adds instead of taking a matrix product, which autocast and TF32 would round.

    Args:
        sources: (batch, source, ...), such as waveforms, or the masks that make them; real or
            complex.
        owner: for each source the index of its mixture, (batch, source).
        num_mixtures: number of mixtures.

    Returns:
        (batch, mixture, ...), at least float32.
    """
    if sources.is_complex():
        return torch.view_as_complex(remix(torch.view_as_real(sources), owner, num_mixtures))
    sources = at_least_float32(sources)
    batch = sources.shape[0]
    place = owner + num_mixtures * torch.arange(batch, device=owner.device)[:, None]
    remixed = sources.new_zeros(batch * num_mixtures, *sources.shape[2:])
    remixed = remixed.index_add_(0, place.flatten(), sources.flatten(0, 1))
    return remixed.unflatten(0, (batch, num_mixtures))


def least_squares_owner(gram: Tensor, num_mixtures: int) -> Tensor:
    """Projection of the real-valued least-squares mixing matrix onto binary ones (paper, Eq. 3).

    ``argmin |x - A s|^2`` is ``A = (x s^T) (s s^T)^+``.  Every output is first scaled to unit
    energy, which scales a column of A and so keeps the position of its largest entry.  The
    pseudo-inverse then drops silent and linearly dependent outputs regardless of their levels.

    Args:
        gram: (batch, row, row) inner products in float64, sources first and then mixtures.
        num_mixtures: how many of the rows are mixtures.

    Returns:
        For each source the index of its mixture, (batch, source).
    """
    sources, mixtures = gram[:, :-num_mixtures, :-num_mixtures], gram[:, -num_mixtures:]
    energy = sources.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(energy > 0, energy.clamp(min=torch.finfo(energy.dtype).tiny).rsqrt(), 0.0)
    correlation = sources * scale[:, :, None] * scale[:, None, :]
    values, vectors = torch.linalg.eigh(correlation)
    kept = values > RANK_CUTOFF * values[:, -1:]
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
    cross = mixtures[:, :, :-num_mixtures] * scale[:, None, :]
    weights = (cross @ vectors * inverse[:, None, :]) @ vectors.mT
    return weights.argmax(dim=1)


def exact_owner(gram: Tensor, num_mixtures: int, threshold: float) -> Tensor:
    """The assignment with the lowest loss (paper, Eq. 2), by residual energies of all subsets.

    A sum of logarithms is lowest where the product of their arguments is, so no logarithm is taken.

    Args:
        gram: (batch, channel, row, row) inner products in float64, sources first and then
            mixtures; one channel where the loss is joint over channels.
        num_mixtures: how many of the rows are mixtures.
        threshold: tau of Eq. 4.

    Returns:
        For each source the index of its mixture, (batch, source).

    Raises:
        ValueError: more than `MAX_ASSIGNMENTS` assignments.
    """
    num_sources = gram.shape[-1] - num_mixtures
    if num_mixtures**num_sources > MAX_ASSIGNMENTS:
        raise ValueError(
            f"the exact solver tries at most {MAX_ASSIGNMENTS} assignments, but {num_mixtures} "
            f"mixtures and {num_sources} sources have {num_mixtures}^{num_sources}; use "
            'solver="least_squares"'
        )
    mixtures = gram[..., num_sources:, :]
    energy = mixtures[..., num_sources:].diagonal(dim1=-2, dim2=-1)
    sources, cross = gram[..., :num_sources, :num_sources], mixtures[..., :num_sources]
    residual = _subset_residuals(sources, cross, energy)
    ratio = clamped_ratio(residual, energy[..., None], threshold)

    product = ratio.new_ones(())
    for mixture, subset in enumerate(_assignments(num_sources, num_mixtures, gram.device)):
        product = product * ratio[:, :, mixture].index_select(-1, subset)
    best = product.prod(dim=1).argmin(dim=-1)
    place_values = num_mixtures ** torch.arange(num_sources, device=gram.device)
    return (best[:, None] // place_values) % num_mixtures


def _subset_residuals(sources: Tensor, cross: Tensor, energy: Tensor) -> Tensor:
    """Energy of each mixture minus the sum of a subset of the sources, for every subset.

    Source n joins the 2^n subsets of its predecessors: with p the sum of such a subset,
    ``|x - p - s|^2 = |x - p|^2 + |s|^2 + 2 <p, s> - 2 <x, s>``.

    Args:
        sources: Gram matrix (batch, channel, source, source).
        cross: inner products (batch, channel, mixture, source).
        energy: of the mixtures, (batch, channel, mixture).

    Returns:
        (batch, channel, mixture, subset); bit n of a subset's index is set if it has source n.
    """
    table = energy[..., None]
    for n in range(sources.shape[-1]):
        subsets = _bits(n, sources.device).to(sources.dtype)
        with_subset = (sources[..., :n, n] @ subsets.T).unsqueeze(-2)
        own = sources[..., n, n, None, None]
        joined = table + own + 2 * (with_subset - cross[..., n, None])
        table = torch.cat([table, joined], dim=-1)
    return table.clamp(min=0)


def _bits(count: int, device: torch.device) -> Tensor:
    """Binary digits of 0 to 2^count - 1, least significant first: (subset, digit)."""
    numbers = torch.arange(2**count, device=device)[:, None]
    return (numbers >> torch.arange(count, device=device)) & 1


@lru_cache(maxsize=4)
def _assignments(num_sources: int, num_mixtures: int, device: torch.device) -> Tensor:
    """The subset that each mixture owns in every assignment, (mixture, assignment).

    An assignment's index, written in base `num_mixtures`, has the owner of source n as digit n.
    """
    mixtures = torch.arange(num_mixtures, device=device)[:, None]
    subsets = torch.zeros(num_mixtures, 1, dtype=torch.long, device=device)
    for n in range(num_sources):
        subsets = torch.cat([subsets + 2**n * (mixtures == d) for d in range(num_mixtures)], dim=1)
    return subsets


def _inner_products(
    estimates: Tensor, mixtures: Tensor, joint_channels: bool = True, check: bool = True
) -> Tensor:
    """Gram matrix (batch, channel, row, row), sources first and then mixtures.

    If channels are joint, the only channel is the sum over all.  An example that is not finite
    raises ValueError, or counts as silence without ``check``.
    """
    if joint_channels:
        gram = gram_matrix([estimates.flatten(2), mixtures.flatten(2)])[:, None]
    else:
        sides = zip(estimates.unbind(2), mixtures.unbind(2), strict=True)
        gram = torch.stack([gram_matrix(side) for side in sides], dim=1)
    finite = torch.isfinite(gram)
    if not check:
        return torch.where(finite.flatten(1).all(1)[:, None, None, None], gram, 0.0)
    if not finite.all():
        raise ValueError(
            f"NaN or infinity in estimates {tuple(estimates.shape)} or mixtures "
            f"{tuple(mixtures.shape)}"
        )
    return gram


def _check_inputs(estimates: Tensor, mixtures: Tensor, solver: str) -> None:
    if solver not in ("exact", "least_squares"):
        raise ValueError(f'solver must be "exact" or "least_squares", got {solver!r}')
    fits = estimates.ndim == mixtures.ndim == 4 and (
        estimates.shape[0] == mixtures.shape[0] and estimates.shape[2:] == mixtures.shape[2:]
    )
    if not fits or 0 in estimates.shape or 0 in mixtures.shape:
        raise ValueError(
            "estimates must be (batch, source, channel, sample) and mixtures (batch, mixture, "
            f"channel, sample), got {tuple(estimates.shape)} and {tuple(mixtures.shape)}"
        )
