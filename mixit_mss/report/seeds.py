"""The same experiment with several seeds: mean, spread, paired differences, and their verdict.

Runs of one seed share songs, initial weights and draws, so two experiments are compared seed by seed:
what one set of songs makes easy for both drops out.
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
        std: with one less than the number in the denominator; nan for fewer than two.
        count: seeds that have a value.
    """

    mean: float
    std: float
    count: int

    @property
    def is_beyond(self) -> bool:
        """Whether the mean differs from 0 by more than one standard deviation; not known of one seed."""
        return self.count > 1 and abs(self.mean) > self.std


def spread(values: Iterable[float]) -> Spread:
    """Of the values that are there (nan is left out)."""
    known = np.array([value for value in values if not math.isnan(value)], dtype=float)
    mean = float(known.mean()) if len(known) else math.nan
    std = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Spread(mean, std, len(known))


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread:
    """Of ``ours - theirs``, seed by seed.

    Raises:
        ValueError: they have other seeds.
    """
    if set(ours) != set(theirs):
        raise ValueError(f"seeds {sorted(ours)} cannot be paired with {sorted(theirs)}")
    return spread(ours[seed] - theirs[seed] for seed in ours)


def with_error(value: Spread, digits: int = 2, sign: bool = False) -> str:
    """``3.16 ± 0.12``; the mean alone for one seed, ``-`` for none."""
    if math.isnan(value.mean):
        return NOTHING
    mean = f"{value.mean:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return mean if math.isnan(value.std) else f"{mean} ± {value.std:.{digits}f}"


def verdict(difference: Spread) -> str:
    """A paired difference in words, to be read after what is compared: ``higher, beyond ...``."""
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
