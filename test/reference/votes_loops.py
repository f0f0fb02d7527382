"""Votes by trying every way of giving the stems different channels."""

import itertools

import numpy as np


def snr(estimate, reference):
    return 10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2))


def best_total(scores):
    """Highest total of scores (source, stem) over all permutations, silent (NaN) stems left out."""
    stems = [stem for stem in range(scores.shape[1]) if not np.isnan(scores[0, stem])]
    best, winner = -np.inf, None
    for sources in itertools.permutations(range(scores.shape[0]), len(stems)):
        total = sum(scores[source, stem] for source, stem in zip(sources, stems, strict=True))
        if total > best:
            best, winner = total, sources
    return best, dict(zip(stems, winner, strict=True))
