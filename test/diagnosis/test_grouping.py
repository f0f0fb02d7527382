"""Groups of outputs against all ways to make them, on waveforms."""

import itertools

import numpy as np
import pytest

from mixit_mss.diagnosis import grouping
from mixit_mss.diagnosis.grouping import NOWHERE, best_grouping
from mixit_mss.selection.channel_votes import best_assignment


def snr(estimate, reference):
    return 10 * np.log10((reference**2).sum() / ((reference - estimate) ** 2).sum())


def products(outputs, stems):
    return outputs @ outputs.T, outputs @ stems.T, (stems**2).sum(1)


def signals(rng, num_outputs, num_stems):
    """Outputs that hold some of the stems, with noise."""
    stems = rng.standard_normal((num_stems, 40))
    held = rng.standard_normal((num_outputs, num_stems)) * (
        rng.random((num_outputs, num_stems)) < 0.5
    )
    return held @ stems + 0.3 * rng.standard_normal((num_outputs, 40)), stems


@pytest.mark.parametrize(("num_outputs", "num_stems"), [(1, 1), (2, 4), (4, 2), (5, 3), (6, 2)])
def test_equals_all_ways(num_outputs, num_stems):
    for seed in range(5):
        outputs, stems = signals(np.random.default_rng(seed), num_outputs, num_stems)
        owner, found = best_grouping(*products(outputs, stems))
        own = [snr(outputs[owner == k].sum(0), stem) for k, stem in enumerate(stems)]
        np.testing.assert_allclose(found, own, atol=1e-8)
        best = max(
            sum(snr(outputs[np.array(way) == k].sum(0), stem) for k, stem in enumerate(stems))
            for way in itertools.product(range(NOWHERE, num_stems), repeat=num_outputs)
        )
        assert found.sum() == pytest.approx(best, abs=1e-8)


def test_planted_groups_among_twelve_and_more():
    """Stems cut into pieces; one output is useless noise, one is silent."""
    rng = np.random.default_rng(0)
    for num_outputs in (12, 16):
        pieces = rng.standard_normal((num_outputs, 4000))
        planted = rng.permutation([0, 1, 2, 3, *rng.integers(0, 4, num_outputs - 6), -1, -1])
        pieces[np.flatnonzero(planted == NOWHERE)[0]] = 0
        stems = np.stack([pieces[planted == k].sum(0) for k in range(4)])
        owner, found = best_grouping(*products(pieces, stems))
        assert owner.tolist() == planted.tolist()
        assert (found > 90).all()


def test_moves_are_never_worse_than_the_assignment(monkeypatch):
    monkeypatch.setattr(grouping, "MAX_EXACT_SOURCES", 0)
    gains = []
    for seed in range(30):
        outputs, stems = signals(np.random.default_rng(seed), 6, 3)
        single = np.array([[snr(output, stem) for stem in stems] for output in outputs])
        assigned = single[best_assignment(single)].sum()
        owner, found = best_grouping(*products(outputs, stems))
        own = [snr(outputs[owner == k].sum(0), stem) for k, stem in enumerate(stems)]
        np.testing.assert_allclose(found, own, atol=1e-8)
        gains.append(found.sum() - assigned)
    assert min(gains) > -1e-8 and max(gains) > 1


def test_bad_input():
    outputs, stems = signals(np.random.default_rng(0), 4, 2)
    gram, cross, energy = products(outputs, stems)
    with pytest.raises(ValueError, match="do not fit"):
        best_grouping(gram[:3], cross, energy)
    with pytest.raises(ValueError, match="energy"):
        best_grouping(gram, cross, 0 * energy)
