"""Assign outputs to stems if a stem may be the sum of several outputs: the oracle of MixIT.

MixIT assigns each mixture a group of outputs whose sum should match it (paper, Eq. 2).  The same
with stems in place of mixtures shows how well a network separates beyond what one output per stem
can show.  Only inner products are needed, as in :mod:`mixit_mss.losses.mixit`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mixit_mss.selection.channel_votes import NOISE_FLOOR, best_assignment

# The exact search tries every way to split every set of outputs in two, 3^12 = 531,441.
MAX_EXACT_SOURCES = 12
NOWHERE = -1


def best_grouping(
    sources: np.ndarray, cross: np.ndarray, energy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Groups of outputs with the highest total SNR, each output in one group or left out.

    The total is never lower than that of the best single outputs.  It is exact for up to
    `MAX_EXACT_SOURCES` outputs; with more, the search starts from the best assignment and moves
    single outputs as long as that helps.

    Args:
        sources: Gram matrix of the outputs, (source, source).
        cross: inner products of outputs and stems, (source, stem).
        energy: of the stems, (stem,); every one sounds.

    Returns:
        For each output the index of its stem, or `NOWHERE`; and for each stem the SNR in dB of its
        group's sum, 0 where the group is empty.

    Raises:
        ValueError: shapes that do not fit, or a stem without energy.
    """
    num_sources, num_stems = cross.shape
    if sources.shape != (num_sources, num_sources) or energy.shape != (num_stems,):
        raise ValueError(
            f"Gram matrix {sources.shape}, inner products {cross.shape} and energies "
            f"{energy.shape} do not fit together"
        )
    if not (energy > 0).all():
        raise ValueError("every stem must have energy")
    if num_sources <= MAX_EXACT_SOURCES:
        owner = _exact(sources, cross, energy)
    else:
        owner = _by_moves(sources, cross, energy)
    groups = (owner == np.arange(num_stems)[:, None]).astype(float)
    return owner, -_cost(_residuals(groups, sources, cross, energy), energy)


def _exact(sources: np.ndarray, cross: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Dynamic programming over sets of outputs, stem by stem.

    The lowest cost of the first k stems with outputs from a set is the minimum, over the subsets,
    of stem k's cost with the subset plus the first k - 1 stems' lowest cost with the rest.
    """
    num_sources, num_stems = cross.shape
    whole, part, starts = _splits(num_sources)
    members = (np.arange(2**num_sources)[:, None] >> np.arange(num_sources)) & 1
    within = ((members @ sources) * members).sum(1)
    cost = _cost(energy + within[:, None] - 2 * members @ cross, energy)

    best = [np.zeros(2**num_sources)]
    for stem in range(num_stems):
        best.append(np.minimum.reduceat(best[-1][whole ^ part] + cost[part, stem], starts))
    owner = np.full(num_sources, NOWHERE)
    left = 2**num_sources - 1
    for stem in reversed(range(num_stems)):
        parts = part[starts[left] :][: 2 ** left.bit_count()]
        taken = int(parts[np.argmin(best[stem][left ^ parts] + cost[parts, stem])])
        owner[members[taken] == 1] = stem
        left ^= taken
    return owner


@lru_cache(maxsize=2)
def _splits(num_sources: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs (set, subset) as bits, sorted by set and then subset; and where each set begins."""
    whole = part = np.zeros(1, dtype=np.int64)
    for bit in 1 << np.arange(num_sources):
        whole = np.concatenate([whole, whole | bit, whole | bit])
        part = np.concatenate([part, part, part | bit])
    order = np.lexsort((part, whole))
    whole, part = whole[order], part[order]
    return whole, part, np.searchsorted(whole, np.arange(2**num_sources))


def _by_moves(sources: np.ndarray, cross: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Start from the best assignment; make the best move of an output until no move helps."""
    num_sources, num_stems = cross.shape
    own = np.diag(sources)
    owner = np.full(num_sources, NOWHERE)
    first, stems = best_assignment(-_cost(own[:, None] - 2 * cross + energy, energy))
    owner[first] = stems
    while True:
        groups = (owner == np.arange(num_stems)[:, None]).astype(float)
        residual = _residuals(groups, sources, cross, energy)
        cost = _cost(residual, energy)
        overlap = (groups @ sources).T  # (source, stem)
        joined = _cost(residual + own[:, None] + 2 * (overlap - cross), energy) - cost
        parted = _cost(residual + own[:, None] - 2 * (overlap - cross), energy) - cost
        leaving = np.where(owner == NOWHERE, 0.0, parted[np.arange(num_sources), owner])
        change = np.column_stack([joined, np.zeros(num_sources)]) + leaving[:, None]
        change[np.arange(num_sources), owner] = 0.0
        source, target = np.unravel_index(change.argmin(), change.shape)
        if change[source, target] > -1e-9:
            return owner
        owner[source] = target if target < num_stems else NOWHERE


def _residuals(
    groups: np.ndarray, sources: np.ndarray, cross: np.ndarray, energy: np.ndarray
) -> np.ndarray:
    """Energy of each stem minus its group's sum, (stem,); groups are (stem, source) of 0 and 1."""
    within = ((groups @ sources) * groups).sum(1)
    return energy + within - 2 * (groups * cross.T).sum(1)


def _cost(residual: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Negative SNR in dB; the last axis is the stem."""
    return 10 * np.log10(np.maximum(residual / energy, NOISE_FLOOR))
