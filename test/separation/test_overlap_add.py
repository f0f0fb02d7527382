"""Chunks of planted networks: gains stay constant, and every sample is the mean of its chunks."""

from __future__ import annotations

import pytest
import torch

from mixit_mss.separation.overlap_add import (
    WINDOWS,
    cut_chunks,
    separate,
    separate_stream,
    shift_samples,
)


class Gains:
    """A network that multiplies; source ``i`` is the mixture times ``gains[i]``."""

    sample_rate, num_channels, stems = 10, 2, ("a", "b")

    def __init__(self, gains=(0.5, -2.0)):
        self.gains, self.shapes = torch.tensor(gains), []

    def __call__(self, mixture):
        self.shapes.append(tuple(mixture.shape))
        return mixture[:, None] * self.gains[:, None, None]


class ChunkNumber(Gains):
    """A network that answers its own running number: the first chunk is all 1, and so on."""

    def __call__(self, mixture):
        first = sum(shape[0] for shape in self.shapes) + 1
        super().__call__(mixture)
        numbers = torch.arange(first, first + len(mixture), dtype=torch.float32)
        return numbers[:, None, None, None].expand(-1, 2, *mixture.shape[1:])


def song(samples, channels=2):
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(samples))


def loop_mean(samples, chunk, hop):
    """Starts of all chunks, and the mean chunk number at every sample, one sample at a time."""
    starts = [0] if samples < chunk else list(range(0, samples - chunk + 1, hop))
    if samples > chunk and starts[-1] + chunk < samples:
        starts.append(samples - chunk)
    mean = []
    for sample in range(samples):
        numbers = [i + 1 for i, s in enumerate(starts) if s <= sample < s + chunk]
        mean.append(sum(numbers) / len(numbers))
    return starts, torch.tensor(mean)


@pytest.mark.parametrize("samples", [1, 119, 120, 121, 180, 240, 365, 500])
@pytest.mark.parametrize("hop_seconds", [6.0, 12.0, 5.0, 0.7])
@pytest.mark.parametrize(("shifts", "window"), [(1, "flat"), (1, "fade"), (3, "fade")])
def test_constant_gain_comes_out_constant(samples, hop_seconds, shifts, window):
    mixture = song(samples)
    estimates = separate(Gains(), mixture, 12.0, hop_seconds, 2, shifts, window)
    assert estimates.shape == (2, 2, samples)
    torch.testing.assert_close(estimates[0], 0.5 * mixture)
    torch.testing.assert_close(estimates[1], -2.0 * mixture)


@pytest.mark.parametrize("samples", [7, 12, 13, 18, 24, 25, 50])
@pytest.mark.parametrize("hop", [1, 5, 6, 12])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_sample_is_the_mean_of_the_chunks_that_cover_it(samples, hop, batch_size):
    starts, mean = loop_mean(samples, 12, hop)
    model = ChunkNumber()
    estimates = torch.cat(
        list(separate_stream(model, song(samples).split(5, -1), 12, hop, batch_size)), dim=-1
    )
    torch.testing.assert_close(estimates, mean.expand(2, 2, -1))
    assert sum(shape[0] for shape in model.shapes) == len(starts)
    assert max(shape[0] for shape in model.shapes) == min(batch_size, len(starts))


def test_fading_chunks_weigh_by_their_distance_from_the_edge():
    estimates = separate(ChunkNumber(), song(15), 1.0, 0.5, window="fade")
    rise = [1, 2, 3, 4, 5, 5, 4, 3, 2, 1]
    weights = torch.tensor([[*rise, *[0] * 5], [*[0] * 5, *rise]], dtype=torch.float32)
    wanted = (weights * torch.tensor([[1.0], [2.0]])).sum(0) / weights.sum(0)
    torch.testing.assert_close(estimates, wanted.expand(2, 2, -1))
    for length in (1, 2, 7):
        assert (WINDOWS["fade"](length) > 0).all() and WINDOWS["fade"](length).max() == 1


class Ramp(Gains):
    """A network that answers the position within the chunk, so that every delay tells."""

    def __call__(self, mixture):
        super().__call__(mixture)
        return torch.arange(mixture.shape[-1]).float().expand(len(mixture), 2, 2, -1)


@pytest.mark.parametrize("samples", [8, 12, 31, 100])
@pytest.mark.parametrize("block", [3, 50])
def test_shifts_are_the_mean_over_delayed_songs(samples, block):
    mixture, shifts = song(samples), [0, 2, 5]
    alone = []
    for shift in shifts:
        delayed = torch.cat([torch.zeros(2, shift), mixture], dim=-1)
        alone.append(torch.cat(list(separate_stream(Ramp(), [delayed], 12, 6)), -1)[..., shift:])
    assert not torch.equal(alone[0], alone[1])
    blocks = mixture.split(block, -1)
    together = torch.cat(list(separate_stream(Ramp(), blocks, 12, 6, 2, shifts)), -1)
    torch.testing.assert_close(together, sum(alone) / 3)


def test_shifts_are_spread_over_half_a_second():
    assert shift_samples(1, 44100) == [0]
    assert shift_samples(4, 8000) == [0, 1000, 2000, 3000]


def test_last_chunk_ends_with_the_song_and_none_is_padded():
    signal = torch.arange(31.0)[None]
    chunks = list(cut_chunks(signal.split(4, -1), chunk=10, hop=5))
    assert [start for start, _ in chunks] == [0, 5, 10, 15, 20, 21]
    for start, samples in chunks:
        assert samples.tolist() == [list(range(start, start + 10))]


@pytest.mark.parametrize("block", [1, 7, 12, 100, 1000])
def test_blocks_of_any_size_give_the_same_estimates(block):
    mixture = song(300)
    wanted = separate(ChunkNumber(), mixture, 1.2, 0.6)
    got = torch.cat(list(separate_stream(ChunkNumber(), mixture.split(block, -1), 12, 6)), dim=-1)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_stream_gives_out_early_and_holds_no_more_than_its_chunks():
    """An endless song: the first estimates come after two chunks, and reading stays just ahead."""
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 10
            yield song(10)

    finished = separate_stream(Gains(), endless(), chunk=40, hop=20)
    given = 0
    for _ in range(100):
        given += next(finished).shape[-1]
        assert read - given <= 40 + 20
    assert given == 100 * 20


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="hop"):
        separate(Gains(), song(50), chunk_seconds=1.0, hop_seconds=2.0)
    with pytest.raises(ValueError, match="batch_size"):
        separate(Gains(), song(50), batch_size=0)
    with pytest.raises(ValueError, match="shifts"):
        separate(Gains(), song(50), shifts=0)
    with pytest.raises(ValueError, match="channel, sample"):
        separate(Gains(), torch.zeros(2, 0))

    class Shortens(Gains):
        def __call__(self, mixture):
            return super().__call__(mixture)[..., :-1]

    with pytest.raises(ValueError, match="keep its length"):
        separate(Shortens(), song(50))


def test_no_gradients_are_kept_and_the_mode_of_the_caller_is_untouched():
    model = torch.nn.Conv1d(2, 2, 1)
    model.sample_rate = 10

    class Network(torch.nn.Module):
        sample_rate = 10

        def __init__(self):
            super().__init__()
            self.layer = model

        def forward(self, mixture):
            return self.layer(mixture)[:, None]

    finished = separate_stream(Network(), song(100).split(10, -1), 40, 20)
    assert not next(finished).requires_grad
    assert torch.is_grad_enabled()
