"""Training and validation examples, each a pure function of (seed, epoch, index).

A dataset has no state and no epoch.  The sampler yields global indices, ``epoch * length + i``, and
an example is drawn with a generator seeded by the seed and that index alone.  So it does not depend
on the number of workers or devices, and a resumed run draws the same examples.
"""

from __future__ import annotations

import os
from bisect import insort
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from mixit_mss import audio
from mixit_mss.data.manifest import Manifest
from mixit_mss.data.mixing import balance_mixtures, dynamic_mixing, is_silent, random_start
from mixit_mss.data.shared import SharedArrays
from mixit_mss.errors import UserError

# A segment may contain silence.  A crop that is all silent teaches nothing and has no SNR, so up to
# this many positions in the segment are tried.
MAX_TRIES = 10


class AudioForm(TypedDict):
    """Sample rate (Hz) and number of channels to which examples are converted."""

    sample_rate: int
    num_channels: int


class FiniteDataset(Protocol):
    """A dataset with a fixed number of examples, such as a validation set."""

    def __len__(self) -> int:
        """Number of examples."""

    def __getitem__(self, index: int) -> torch.Tensor:
        """One example."""


class UnlabelledMixtures(Dataset):
    """Crops of ``num_mixtures`` different tracks each, (mixture, channel, sample) float32.

    Their sum is the mixture of mixtures (MoM).  Every segment is equally likely, and the segments
    of one example come from different tracks.  Any index from 0 on is valid.

    Args:
        manifest: tracks to draw from, already selected by split.
        chunk_seconds: length of a crop.
        num_mixtures: mixtures per MoM (paper: 2).
        gain_db: None keeps the levels (the paper names none); otherwise each mixture's power is
            U(-gain_db, gain_db) dB above the last one's (the authors' code: 5).
        seed: of all draws.
        sample_rate: of the examples, in Hz; other tracks are resampled as they are read.  None
            takes the rate that all tracks have.
        num_channels: of the examples; mono tracks are duplicated.

    Raises:
        UserError: there are too few tracks, or a segment is shorter than the crop.
    """

    def __init__(
        self,
        manifest: Manifest,
        chunk_seconds: float,
        num_mixtures: int = 2,
        gain_db: float | None = None,
        seed: int = 0,
        sample_rate: int | None = None,
        num_channels: int = 2,
    ):
        self._pool = SegmentPool(manifest, chunk_seconds, sample_rate, num_channels)
        have = int((np.diff(self._pool.offsets) > 0).sum())
        if have < num_mixtures:
            raise UserError(
                f"'{manifest.name}' has {have} tracks with segments in this split, but a mixture "
                f"of mixtures needs {num_mixtures}; add songs, or hold out another share"
            )
        self._num_mixtures, self._gain_db, self._seed = num_mixtures, gain_db, seed

    def __getitem__(self, index: int) -> torch.Tensor:
        generator = np.random.default_rng((self._seed, index))
        segments = draw_from_tracks(self._pool.offsets, self._num_mixtures, generator)
        mixtures = np.stack([self._pool.crop(segment, generator) for segment in segments])
        if self._gain_db is not None:
            mixtures = balance_mixtures(mixtures, generator, self._gain_db)
        return torch.from_numpy(mixtures)

    def songs_of(self, index: int) -> list[str]:
        """Names of the songs in an example."""
        generator = np.random.default_rng((self._seed, index))
        segments = draw_from_tracks(self._pool.offsets, self._num_mixtures, generator)
        return [self._pool.song(segment) for segment in segments]


class ValidationMixtures(UnlabelledMixtures):
    """A fixed number of examples of :class:`UnlabelledMixtures`, the same in every epoch."""

    def __init__(self, manifest: Manifest, num_chunks: int, chunk_seconds: float, **options):
        super().__init__(manifest, chunk_seconds, **options)
        self._num_chunks = num_chunks

    def __len__(self) -> int:
        return self._num_chunks


class LabelledStems(Dataset):
    """Dynamic mixing: references (source, channel, sample) float32, whose sum is the mixture.

    The segment of each stem is drawn independently, so an example mixes stems of different songs.
    Any index from 0 on is valid.

    Args:
        manifest: the training split, with segments of every stem.
        stems: names, in the order of the source axis.
        chunk_seconds: length of a crop.
        normalise: "rms" or "mean_absolute", see :func:`mixing.normalise`.
        gain_db: stems get a gain of U(-gain_db, gain_db) dB.
        drop: probability that a stem is dropped.
        seed: of all draws.
        sample_rate: as for :class:`UnlabelledMixtures`.
        num_channels: of the examples.

    Raises:
        UserError: a stem has no segments, or a segment is shorter than the crop.
    """

    def __init__(
        self,
        manifest: Manifest,
        stems: Sequence[str],
        chunk_seconds: float,
        normalise: str = "rms",
        gain_db: float = 10.0,
        drop: float = 0.05,
        seed: int = 0,
        sample_rate: int | None = None,
        num_channels: int = 2,
    ):
        self._pools = [
            SegmentPool(manifest.select(stem=stem), chunk_seconds, sample_rate, num_channels, stem)
            for stem in stems
        ]
        self._mix = partial(dynamic_mixing, level=normalise, gain_db=gain_db, drop=drop)
        self._seed = seed

    def __getitem__(self, index: int) -> torch.Tensor:
        generator = np.random.default_rng((self._seed, index))
        crops = [pool.crop(int(generator.integers(len(pool))), generator) for pool in self._pools]
        return torch.from_numpy(self._mix(np.stack(crops), generator))

    def songs_of(self, index: int) -> list[str]:
        """Names of the songs that the stems of an example come from."""
        generator, songs = np.random.default_rng((self._seed, index)), []
        for pool in self._pools:
            segment = int(generator.integers(len(pool)))
            songs.append(pool.song(segment))
            pool.crop(segment, generator)  # advances the generator as __getitem__ does
        return songs


class LabelledChunks(Dataset):
    """Whole songs in consecutive chunks: references (source, channel, sample), in song order.

    An incomplete chunk at the end of a song is dropped; a song shorter than one chunk is padded
    with zeros.

    Args:
        manifest: for instance the validation split; needs no segments.
        stems: names, in the order of the source axis.
        chunk_seconds: length of a chunk.
        sample_rate: as for :class:`UnlabelledMixtures`.
        num_channels: of the examples.

    Attributes:
        songs: names of the songs.
        song_of: (chunk,) index into ``songs`` of each chunk.

    Raises:
        UserError: there is no song, or a song lacks one of the stems.
    """

    def __init__(
        self,
        manifest: Manifest,
        stems: Sequence[str],
        chunk_seconds: float,
        sample_rate: int | None = None,
        num_channels: int = 2,
    ):
        self._tracks = TrackReader(manifest, chunk_seconds, sample_rate, num_channels)
        names = zip(manifest.tracks["song"], manifest.tracks["stem"], strict=True)
        row_of = {name: row for row, name in enumerate(names)}
        self.songs = list(dict.fromkeys(manifest.tracks["song"]))
        self._rows, chunks = [], []
        for song in self.songs:
            for stem in stems:
                if (song, stem) not in row_of:
                    raise UserError(f"'{manifest.name}' has no stem '{stem}' of song '{song}'")
            rows = [row_of[song, stem] for stem in stems]
            frames = manifest.tracks["frames"].to_numpy()[rows].min()
            self._rows.append(rows)
            chunks.append(max(1, int(frames // self._tracks.source_frames[rows[0]])))
        self.song_of = np.repeat(np.arange(len(self.songs)), chunks)
        self._place = np.concatenate([np.arange(count) for count in chunks])

    def __len__(self) -> int:
        return len(self.song_of)

    def __getitem__(self, index: int) -> torch.Tensor:
        crops = []
        for track in self._rows[self.song_of[index]]:
            start = int(self._place[index] * self._tracks.source_frames[track])
            crops.append(self._tracks.crop(track, start))
        return torch.from_numpy(np.stack(crops))


class TrackReader(SharedArrays):
    """Crops of fixed length from the tracks of a manifest, at one rate and number of channels.

    Holds only flat arrays, which workers share.
    """

    def __init__(
        self, manifest: Manifest, chunk_seconds: float, sample_rate: int | None, num_channels: int
    ):
        rates = sorted(set(manifest.tracks["sample_rate"]))
        if not rates:
            raise UserError(f"'{manifest.name}' has no tracks in this split")
        if sample_rate is None and len(rates) > 1:
            raise UserError(
                f"'{manifest.name}' has tracks at {', '.join(map(str, rates))} Hz; store them at "
                "one rate, or name the sample rate of the examples"
            )
        self._rate = rates[0] if sample_rate is None else sample_rate
        # path and song of each track, alternating
        columns = (manifest.tracks["path"], manifest.tracks["song"])
        names = [os.fsencode(name) for row in zip(*columns, strict=True) for name in row]
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        self._names = np.frombuffer(b"".join(names), dtype=np.uint8)
        self._rates = manifest.tracks["sample_rate"].to_numpy(np.int32)
        self._lengths = manifest.tracks["frames"].to_numpy(np.int64)
        self._channels = num_channels
        self.chunk_frames = audio.to_samples(chunk_seconds, self._rate)
        # samples of one chunk at the track's own rate
        self.source_frames = (chunk_seconds * self._rates + 1e-6).astype(np.int64)

    def path(self, track: int) -> str:
        return self._name(2 * track)

    def song(self, track: int) -> str:
        return self._name(2 * track + 1)

    def _name(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return os.fsdecode(self._names[start : self._ends[number]].tobytes())

    def crop(self, track: int, start: int) -> np.ndarray:
        """(channel, sample) from sample ``start`` of a track, at the track's own rate."""
        frames = min(self.source_frames[track], self._lengths[track] - start)
        waveform, rate = audio.read(self.path(track), int(start), int(frames))
        waveform = audio.resample(waveform, rate, self._rate)
        waveform = audio.to_channels(waveform, self._channels)[:, : self.chunk_frames]
        missing = self.chunk_frames - waveform.shape[1]
        return np.pad(waveform, ((0, 0), (0, missing))) if missing else waveform


class SegmentPool(SharedArrays):
    """The segments of a manifest, and random crops of them.

    Attributes:
        offsets: (track + 1,) segments of track t are ``offsets[t]`` to ``offsets[t + 1] - 1``.
    """

    def __init__(
        self,
        manifest: Manifest,
        chunk_seconds: float,
        sample_rate: int | None,
        num_channels: int,
        stem: str = "mixture",
    ):
        if not len(manifest.segments.track):
            raise UserError(f"'{manifest.name}' lists no segment of stem '{stem}' in this split")
        self._tracks = TrackReader(manifest, chunk_seconds, sample_rate, num_channels)
        self._track, self._start, self._frames = manifest.segments
        self.offsets = manifest.offsets
        short = self._frames < self._tracks.source_frames[self._track]
        if short.any():
            track = self._track[short.argmax()]
            seconds = self._frames[short.argmax()] / manifest.tracks["sample_rate"][track]
            raise UserError(
                f"'{manifest.name}' has a segment of {seconds:g} s in '{self._tracks.path(track)}', "
                f"shorter than the crops of {chunk_seconds:g} s; segment anew or crop shorter"
            )

    def __len__(self) -> int:
        return len(self._track)

    def song(self, index: int) -> str:
        return self._tracks.song(int(self._track[index]))

    def crop(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """A uniform crop of segment ``index``, (channel, sample); not silent if possible."""
        track, start = int(self._track[index]), int(self._start[index])
        frames, crop_frames = int(self._frames[index]), self._tracks.source_frames[track]
        for _ in range(MAX_TRIES):
            offset = random_start(frames, int(crop_frames), generator)
            waveform = self._tracks.crop(track, start + offset)
            if not is_silent(waveform) or frames == crop_frames:
                break
        return waveform


class EpochSampler(Sampler[int]):
    """Global indices ``epoch * length + i`` of one epoch, in order.

    Lightning calls :meth:`set_epoch` before each epoch, as it does for torch's own distributed
    sampler; pass ``use_distributed_sampler=False`` to its trainer.

    Args:
        length: examples per epoch, over all devices.
        position: examples of the first epoch that were already seen, over all devices; a multiple
            of ``world_size``.
        rank: of this device.
        world_size: number of devices.  Device r takes every ``world_size``-th example from r on, so
            that all devices together see the batch that a single device would see.
        epoch: the first epoch.
    """

    def __init__(
        self,
        length: int,
        position: int = 0,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
    ):
        self.length, self.position, self.epoch = length, position, epoch
        self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of another epoch; setting the same epoch keeps the position."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def __iter__(self) -> Iterator[int]:
        start = self.epoch * self.length
        return iter(
            range(start + self.position + self.rank, start + self._shared(), self.world_size)
        )

    def __len__(self) -> int:
        """Examples of a whole epoch for this device, including those before ``position``."""
        return self._shared() // self.world_size

    def _shared(self) -> int:
        # every device gets equally many; otherwise they would wait for each other forever
        return self.length - self.length % self.world_size


def draw_from_tracks(offsets: np.ndarray, count: int, generator: np.random.Generator) -> list[int]:
    """Draw ``count`` segments of different tracks, uniform over segments of tracks not yet used.

    Args:
        offsets: (track + 1,) segments of track t are ``offsets[t]`` to ``offsets[t + 1] - 1``.
        count: at most the number of tracks that have segments.
        generator: source of the draws.
    """
    drawn: list[int] = []
    used: list[int] = []  # tracks, ascending
    left = int(offsets[-1])
    for more in reversed(range(count)):
        segment = int(generator.integers(left))
        for track in used:  # skip the segments of used tracks
            if segment >= offsets[track]:
                segment += int(offsets[track + 1] - offsets[track])
        drawn.append(segment)
        if more:
            track = int(offsets.searchsorted(segment, side="right")) - 1
            left -= int(offsets[track + 1] - offsets[track])
            insort(used, track)
    return drawn
