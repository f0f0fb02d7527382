import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mixit_mss import audio
from mixit_mss.data.datasets import (
    EpochSampler,
    LabelledChunks,
    LabelledStems,
    UnlabelledMixtures,
    ValidationMixtures,
    draw_from_tracks,
)
from mixit_mss.data.manifest import make_manifest
from mixit_mss.errors import UserError

RATE = 1000
STEMS = ("vocals", "drums")


def track_row(path, song, stem, split="train", frames=4 * RATE, rate=RATE, channels=2):
    return {
        **{"song": song, "stem": stem, "split": split, "path": str(path), "frames": frames},
        **{"sample_rate": rate, "channels": channels, "license": ""},
    }


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    """Five songs whose samples tell where they come from: left song number, right time (1/RATE)."""
    folder = tmp_path_factory.mktemp("mixtures")
    rows, segments = [], []
    for song in range(5):
        waveform = np.stack([np.full(4 * RATE, (song + 1) / 10), np.arange(4 * RATE) / 8192])
        path = folder / f"{song}.wav"
        audio.write(path, waveform.astype(np.float32), RATE, "FLOAT")
        rows.append(track_row(path, f"song{song}", "mixture"))
        segments.append((np.array([500, 2000][: 1 + song % 2]), 2 * RATE))
    return make_manifest(rows, segments, "planted")


@pytest.fixture(scope="module")
def stems(tmp_path_factory, noise):
    """Three songs with stems of constant level and known pitch (a sine per song and stem)."""
    folder = tmp_path_factory.mktemp("stems")
    rows, segments = [], []
    time = np.arange(4 * RATE) / RATE
    for song, stem in itertools.product(range(3), STEMS):
        pitch = 50 * (1 + song + 3 * STEMS.index(stem))
        waveform = np.stack(2 * [0.3 * np.sin(2 * np.pi * pitch * time)])
        path = folder / f"{song}" / f"{stem}.flac"
        audio.write(path, waveform.astype(np.float32), RATE)
        rows.append(track_row(path, f"song{song}", stem))
        segments.append((np.array([0, 1000]), 3 * RATE))
    return make_manifest(rows, segments, "planted")


def songs_and_starts(example):
    songs = [round(float(mixture[0, 0]) * 10) - 1 for mixture in example]
    return songs, [round(float(mixture[1, 0]) * 8192) for mixture in example]


def test_mixtures_are_crops_of_segments_of_different_songs(mixtures):
    dataset = UnlabelledMixtures(mixtures, 1.0)
    seen, places = set(), set()
    for index in range(400):
        example = dataset[index]
        assert (example.shape, example.dtype) == ((2, 2, RATE), torch.float32)
        songs, starts = songs_and_starts(example)
        assert songs[0] != songs[1]
        seen.add(tuple(songs))
        for song, start, mixture in zip(songs, starts, example, strict=True):
            allowed = {0} if song % 2 == 0 else {0, 1}
            assert any(500 + 1500 * k <= start <= 1500 + 1500 * k for k in allowed)
            assert torch.allclose(mixture[1] * 8192, torch.arange(start, start + RATE).float())
            places.add(start)
    assert len(seen) == 20  # every ordered pair
    assert len(places) > 300


def test_an_example_depends_on_seed_and_index_only(mixtures):
    first, second = (UnlabelledMixtures(mixtures, 1.0, gain_db=5, seed=3) for _ in range(2))
    second[7]
    np.random.seed(1)
    torch.manual_seed(1)
    assert torch.equal(first[11], second[11])
    assert not torch.equal(first[11], first[12])
    assert not torch.equal(first[11], UnlabelledMixtures(mixtures, 1.0, gain_db=5, seed=4)[11])


@pytest.mark.parametrize("kind", ["mixtures", "stems"])
def test_workers_do_not_matter(kind, mixtures, stems):
    if kind == "mixtures":
        dataset = UnlabelledMixtures(mixtures, 1.0, gain_db=5)
    else:
        dataset = LabelledStems(stems, STEMS, 1.0)
    batches = {}
    for workers in (0, 2):
        loader = DataLoader(dataset, 3, sampler=EpochSampler(12, epoch=2), num_workers=workers)
        batches[workers] = list(loader)
    assert len(batches[0]) == 4
    for one, other in zip(batches[0], batches[2], strict=True):
        assert torch.equal(one, other)
    expected = torch.stack([dataset[index] for index in (24, 25, 26)])
    assert torch.equal(batches[0][0], expected)


def test_levels_of_mixtures(mixtures):
    plain, scaled = UnlabelledMixtures(mixtures, 1.0), UnlabelledMixtures(mixtures, 1.0, gain_db=5)
    ratios = []
    for index in range(300):
        powers = scaled[index].square().mean((1, 2))
        ratios.append(10 * float(torch.log10(powers[0] / powers[1])))
        assert torch.equal(scaled[index][1], plain[index][1])
    assert -5.01 <= min(ratios) < -4.5
    assert 4.5 < max(ratios) <= 5.01


def test_three_mixtures(mixtures):
    songs, _ = songs_and_starts(UnlabelledMixtures(mixtures, 1.0, num_mixtures=3)[5])
    assert len(set(songs)) == 3


def test_validation_is_the_same_every_time(mixtures):
    one, other = (ValidationMixtures(mixtures, 6, 1.0, seed=9) for _ in range(2))
    assert len(one) == 6
    for a, b in zip(DataLoader(one, 2), DataLoader(other, 2), strict=True):
        assert torch.equal(a, b)


def test_stems_are_mixed_from_any_songs(stems):
    dataset = LabelledStems(stems, STEMS, 1.0, drop=0.2)
    pairs, dropped = set(), 0
    for index in range(300):
        references = dataset[index]
        assert (references.shape, references.dtype) == ((2, 2, RATE), torch.float32)
        spectrum = torch.fft.rfft(references[:, 0]).abs()
        pitches = spectrum.argmax(1).tolist()  # 1 Hz per bin
        silent = [float(power) == 0 for power in references.square().sum((1, 2))]
        dropped += sum(silent)
        assert not all(silent)
        if not any(silent):
            assert pitches[0] in (50, 100, 150)  # the order of the stems is that asked for
            assert pitches[1] in (200, 250, 300)
            pairs.add(tuple(pitches))
    assert len(pairs) == 9
    # 0.2 for each, drawn again where both are out: 0.2 (1 - 0.2) / (1 - 0.04)
    assert dropped / 600 == pytest.approx(1 / 6, abs=0.06)
    other = LabelledStems(stems, STEMS[::-1], 1.0, drop=0.0)[0]
    assert torch.fft.rfft(other[0, 0]).abs().argmax() in (200, 250, 300)


def test_whole_songs_in_chunks(stems):
    dataset = LabelledChunks(stems, STEMS, 1.5)
    assert len(dataset) == 3 * 2  # 4 s hold two chunks of 1.5 s
    assert dataset.song_of.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.songs == ["song0", "song1", "song2"]
    for index, (song, place) in enumerate(itertools.product(range(3), range(2))):
        for source, stem in enumerate(STEMS):
            row = stems.tracks[(stems.tracks.song == f"song{song}") & (stems.tracks.stem == stem)]
            expected, _ = audio.read(row.path.item(), place * 1500, 1500)
            assert np.array_equal(dataset[index][source].numpy(), expected)
    padded = LabelledChunks(stems, STEMS, 5.0)
    assert len(padded) == 3
    assert padded[0].shape == (2, 2, 5 * RATE)
    assert not padded[0][..., 4 * RATE :].any()
    assert padded[0][..., : 4 * RATE].any()


def test_tracks_at_another_rate_are_converted(tmp_path):
    time = np.arange(4 * 3000) / 3000
    tone = (0.1 * np.sin(2 * np.pi * 100 * time))[None].astype(np.float32)  # mono, too
    rows = []
    for song in range(2):
        audio.write(tmp_path / f"{song}.wav", tone, 3000, "FLOAT")
        path = tmp_path / f"{song}.wav"
        rows.append(track_row(path, str(song), "mixture", "train", 4 * 3000, 3000, 1))
    segments = [(np.array([3000]), 3 * 3000)] * 2
    example = UnlabelledMixtures(make_manifest(rows, segments), 1.0, sample_rate=RATE)[0]
    assert example.shape == (2, 2, RATE)
    assert torch.equal(example[:, 0], example[:, 1])
    spectrum = torch.fft.rfft(example[0, 0, 100:-100] * torch.hann_window(800)).abs()
    assert spectrum.argmax() == 80  # 100 Hz in 0.8 s
    rows[0]["sample_rate"] = RATE
    with pytest.raises(UserError, match="1000, 3000 Hz"):
        UnlabelledMixtures(make_manifest(rows, segments), 1.0)


def test_silent_places_are_avoided(tmp_path, noise):
    waveform = noise(4, RATE)
    waveform[:, : 2 * RATE] = 0
    audio.write(tmp_path / "half.wav", waveform, RATE)
    rows = [track_row(tmp_path / "half.wav", str(song), "mixture") for song in range(2)]
    manifest = make_manifest(rows, [(np.array([0]), 4 * RATE)] * 2)
    dataset = UnlabelledMixtures(manifest, 0.5)
    silent = sum(bool((dataset[i].square().sum((1, 2)) == 0).any()) for i in range(100))
    assert silent <= 2  # without a second try about 70


def test_faults_at_construction(mixtures, stems):
    with pytest.raises(UserError, match=r"segment of 2 s in '.*0\.wav', shorter than .* 2\.5 s"):
        UnlabelledMixtures(mixtures, 2.5)
    with pytest.raises(UserError, match=r"has 5 tracks .* needs 6"):
        UnlabelledMixtures(mixtures, 1.0, num_mixtures=6)
    with pytest.raises(UserError, match="'planted' lists no segment"):
        UnlabelledMixtures(mixtures.select(split="valid"), 1.0)
    with pytest.raises(UserError, match="no segment of stem 'piano'"):
        LabelledStems(stems, ("vocals", "piano"), 1.0)
    with pytest.raises(UserError, match="no stem 'piano' of song 'song0'"):
        LabelledChunks(stems, ("vocals", "piano"), 1.0)
    with pytest.raises(UserError, match="'planted' has no tracks in this split"):
        LabelledChunks(stems.select(split="valid"), STEMS, 1.0)


def test_unreadable_file_is_named(mixtures, tmp_path):
    manifest = mixtures.select(split="train")
    manifest.tracks["path"] = [str(tmp_path / f"gone{i}.wav") for i in range(5)]
    with pytest.raises(UserError, match=r"gone\d\.wav' does not exist"):
        UnlabelledMixtures(manifest, 1.0)[0]


def test_sampler_epochs_shards_and_positions():
    sampler = EpochSampler(10)
    assert list(sampler) == list(range(10))
    assert len(sampler) == 10
    sampler.set_epoch(3)
    assert list(sampler) == list(range(30, 40))
    # devices' batches of 2 together are one device's batches of 4
    shards = [list(EpochSampler(12, rank=rank, world_size=2, epoch=1)) for rank in range(2)]
    for step in range(3):
        together = {i for shard in shards for i in shard[2 * step : 2 * step + 2]}
        assert together == set(range(12 + 4 * step, 12 + 4 * step + 4))
    # every device gets as many
    for length, position in itertools.product(range(1, 12), range(0, 12, 3)):
        if position <= length:
            uneven = [EpochSampler(length, position, rank, 3) for rank in range(3)]
            assert {len(s) for s in uneven} == {length // 3}
            indices = sorted(i for s in uneven for i in s)
            assert indices == list(range(position, length // 3 * 3))
    resumed = EpochSampler(10, position=4, epoch=2)
    resumed.set_epoch(2)
    assert list(resumed) == list(range(24, 30))
    resumed.set_epoch(3)
    assert list(resumed) == list(range(30, 40))


def test_draws_are_uniform_over_the_segments_of_unused_tracks():
    offsets = np.array([0, 1, 1, 4, 10])  # tracks with 1, 0, 3 and 6 segments
    counts = np.zeros((10, 10))
    generator = np.random.default_rng(0)
    for _ in range(20_000):
        first, second, third = draw_from_tracks(offsets, 3, generator)
        assert len({np.searchsorted(offsets, s, side="right") for s in (first, second, third)}) == 3
        counts[first, second] += 1
    track = np.repeat([0, 2, 3], [1, 3, 6])
    for first, second in itertools.product(range(10), repeat=2):
        left = 10 - (track == track[first]).sum()
        expected = 0 if track[first] == track[second] else 20_000 / 10 / left
        assert abs(counts[first, second] - expected) <= 5 * np.sqrt(expected)
