"""Votes: planted channels, all permutations, silence, collisions."""

import itertools
import time

import numpy as np
import pytest
import torch
from reference import votes_loops

from mixit_mss.selection.channel_votes import (
    best_assignment,
    choose_channels,
    count_votes,
    snr_matrix,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def chunk(order, noise=0.1, samples=500, num_sources=6, silent=()):
    """Outputs in which channel order[k] is stem k and the others are quiet noise."""
    references = torch.randn(len(order), 2, samples, dtype=torch.float64)
    references[list(silent)] = 0
    estimates = 0.01 * torch.randn(num_sources, 2, samples, dtype=torch.float64)
    estimates[list(order)] += references + noise * torch.randn_like(references)
    return estimates, references


class TestSnrMatrix:
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
    def test_equals_waveforms(self, dtype, tolerance):
        estimates, references = (x.to(dtype) for x in chunk((3, 0, 5, 1), samples=40_000))
        scores = snr_matrix(estimates, references)
        assert scores.shape == (6, 4) and scores.dtype == np.float64
        for source, stem in itertools.product(range(6), range(4)):
            expected = votes_loops.snr(
                estimates[source].double().numpy(), references[stem].double().numpy()
            )
            assert scores[source, stem] == pytest.approx(expected, abs=tolerance)

    def test_known_ratios_and_the_cap(self):
        reference = torch.randn(1, 2, 1000, dtype=torch.float64)
        gains = torch.tensor([1.1, 0.0, 1.0, -1.0])
        scores = snr_matrix(gains[:, None, None] * reference, reference)[:, 0]
        np.testing.assert_allclose(scores, [20, 0, 100, -20 * np.log10(2)], atol=1e-5)

    def test_silent_stems_and_leading_axes(self):
        chunks = [chunk((0, 1, 2), silent=(1,)), chunk((5, 4, 3))]
        batch = snr_matrix(*(torch.stack(signals) for signals in zip(*chunks, strict=True)))
        assert np.isnan(batch[0]).all(axis=0).tolist() == [False, True, False]
        assert not np.isnan(batch[0][:, [0, 2]]).any()
        for scores, signals in zip(batch, chunks, strict=True):
            np.testing.assert_allclose(scores, snr_matrix(*signals), atol=1e-9)

    def test_bad_input(self):
        estimates, references = chunk((0, 1))
        with pytest.raises(ValueError, match=r"\(6, 2, 500\) and \(2, 1, 500\)"):
            snr_matrix(estimates, references[:, :1])
        estimates[0, 0, 0] = torch.nan
        with pytest.raises(ValueError, match="NaN or infinity"):
            snr_matrix(estimates, references)


class TestAssignment:
    @pytest.mark.parametrize("silent", [(), (2,), (0, 3)])
    def test_equals_all_permutations_of_twelve_channels(self, rng, silent):
        """12 P 4 = 11,880 ways."""
        for _ in range(3):
            scores = rng.normal(-5, 8, (12, 4))
            scores[:, list(silent)] = np.nan
            best, expected = votes_loops.best_total(scores)
            sources, stems = best_assignment(scores)
            assert dict(zip(stems.tolist(), sources.tolist(), strict=True)) == expected
            assert scores[sources, stems].sum() == pytest.approx(best)

    def test_greedy_would_be_wrong(self):
        scores = np.array([[10.0, 9.0], [8.0, 0.0], [0.0, 0.0]])
        sources, stems = best_assignment(scores)
        assert dict(zip(stems.tolist(), sources.tolist(), strict=True)) == {0: 1, 1: 0}

    @pytest.mark.parametrize(
        "scores",
        [np.zeros(4), np.array([[0.0, np.inf]]), np.array([[0.0, np.nan], [0.0, 1.0]])],
    )
    def test_bad_scores(self, scores):
        with pytest.raises(ValueError, match="scores must be"):
            best_assignment(scores)


class TestVotes:
    def test_planted_channels_win(self):
        orders = [(3, 0, 5, 1)] * 5 + [(3, 0, 2, 1)] * 2
        votes = count_votes(chunk(order) for order in orders)
        assert votes.dtype == np.int64 and votes.shape == (6, 4)
        assert [votes[3, 0], votes[0, 1], votes[5, 2], votes[2, 2], votes[1, 3]] == [7, 7, 5, 2, 7]
        assert votes.sum() == 28
        choice = choose_channels(votes)
        assert choice.channels == choice.favourites == (3, 0, 5, 1)
        assert not choice.contested and not choice.unvoted

    def test_matrices_and_pairs_count_alike(self):
        pairs = [chunk((1, 2, 3)), chunk((1, 2, 3), silent=(0,)), chunk((4, 2, 0))]
        matrices = [snr_matrix(*pair) for pair in pairs]
        np.testing.assert_array_equal(count_votes(pairs), count_votes(matrices))

    def test_silent_stems_do_not_vote(self):
        votes = count_votes([chunk((1, 2, 3)), chunk((1, 2, 3), silent=(0, 2))])
        assert votes.sum(axis=0).tolist() == [1, 2, 1]
        assert count_votes([np.full((6, 3), np.nan)]).sum() == 0

    def test_bad_input(self):
        with pytest.raises(ValueError, match="no chunks"):
            count_votes([])
        with pytest.raises(ValueError, match=r"\(6, 2\) after chunks of \(6, 3\)"):
            count_votes([np.zeros((6, 3)), np.zeros((6, 2))])

    def test_many_chunks_are_quick(self, rng):
        """50,000 chunks are to take less than 60 s; a fiftieth of them, with margin."""
        matrices = rng.standard_normal((1000, 12, 4))
        start = time.perf_counter()
        assert count_votes(matrices).sum() == 4000
        assert time.perf_counter() - start < 1.2


class TestChoice:
    def test_collision_is_settled_by_most_votes_overall(self):
        votes = np.array([[90, 80, 0], [10, 5, 0], [0, 15, 0], [0, 0, 100], [0, 0, 0]])
        choice = choose_channels(votes)
        assert choice.favourites == (0, 0, 3)
        assert choice.contested == {0: (0, 1)}
        assert choice.channels == (0, 2, 3)  # 90 + 15 + 100, more than 80 + 10 + 100

    def test_collision_equals_all_permutations(self, rng):
        for _ in range(20):
            votes = rng.integers(0, 50, (6, 3))
            votes[2] += 60
            choice = choose_channels(votes)
            best, _ = votes_loops.best_total(votes)
            assert sorted(set(choice.channels)) == sorted(choice.channels)
            assert sum(votes[c, stem] for stem, c in enumerate(choice.channels)) == best
            assert choice.contested == {2: (0, 1, 2)}

    def test_unvoted_stem_takes_nothing_from_the_others(self):
        votes = np.array([[9, 0, 0], [0, 0, 7], [0, 0, 0]])
        choice = choose_channels(votes)
        assert choice.unvoted == (1,) and not choice.contested
        assert choice.channels == (0, 2, 1)

    def test_ties_go_to_the_first_channel(self):
        assert choose_channels(np.array([[1, 0], [5, 0], [5, 3]])).channels == (1, 2)

    @pytest.mark.parametrize("votes", [np.zeros(3), np.zeros((3, 4))])
    def test_bad_votes(self, votes):
        with pytest.raises(ValueError, match="votes must be"):
            choose_channels(votes)
