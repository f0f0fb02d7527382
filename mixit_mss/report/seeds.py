"""Statistics of an experiment over seeds: mean, spread, paired differences and a verdict.

Runs with the same seed share songs, initial weights and random draws, so experiments are compared
seed by seed: differences in difficulty between sets of songs cancel out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mixit_mss.report.results import NOTHING


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a value over seeds.

    Attributes:
        mean: nan if no seed has a value.
        std: sample standard deviation (``count - 1`` in the denominator); nan for fewer than two.
        count: number of seeds with a value.
    """

    mean: float
    std: float
    count: int

    @property
    def is_beyond(self) -> bool:
        """Whether the mean is more than one standard deviation from 0; false for one seed."""
        return self.count > 1 and abs(self.mean) > self.std


def spread(values: Iterable[float]) -> Spread:
    """Mean and standard deviation of the values; nan is ignored."""
    known = np.array([value for value in values if not math.isnan(value)], dtype=float)
    mean = float(known.mean()) if len(known) else math.nan
    std = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Spread(mean, std, len(known))


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread:
    """Mean and standard deviation of ``ours - theirs``, seed by seed.

    Raises:
        ValueError: the two have different seeds.
    """
    if set(ours) != set(theirs):
        raise ValueError(f"seeds {sorted(ours)} cannot be paired with {sorted(theirs)}")
    return spread(ours[seed] - theirs[seed] for seed in ours)


def with_error(value: Spread, digits: int = 2, sign: bool = False) -> str:
    """Format as ``3.16 ± 0.12``; the mean alone for one seed, ``-`` for none."""
    if math.isnan(value.mean):
        return NOTHING
    mean = f"{value.mean:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return mean if math.isnan(value.std) else f"{mean} ± {value.std:.{digits}f}"


def verdict(difference: Spread) -> str:
    """A paired difference in words, such as ``higher, beyond one standard deviation``."""
    if math.isnan(difference.mean):
        return "not known"
    if difference.mean == 0:
        return "the same"
    direction = "higher" if difference.mean > 0 else "lower"
    if difference.count < 2:
        return f"{direction} with this one seed"
    if difference.is_beyond:
        return f"{direction}, beyond one standard deviation"
    return f"{direction}, but within one standard deviation"
