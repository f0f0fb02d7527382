"""Excerpts of test songs: MP3 and spectrograms as data URIs.

Every browser decodes MP3, on phones too.  All tracks of a song are cut at the same samples and use
the same encoder, so they stay aligned.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import soundfile
from PIL import Image

from mixit_mss import audio
from mixit_mss.audio.encoding import MP3_RATES
from mixit_mss.data.manifest import NO_SEGMENTS, Manifest
from mixit_mss.names import place
from mixit_mss.report.figures.power import RANGE_DB, power_image
from mixit_mss.report.results import Experiment, unique_titles
from mixit_mss.scoring.songs import Task, manifest_tasks

COMPRESSION = 0.6  # of libsndfile's scale: about 96 kbit/s, variable, at 44.1 kHz
BYTES_PER_SECOND = 100_000 / 8 * 4 / 3  # in base64
PAGE_BYTES = 8_000_000  # of sound in one page, unless a length is asked for
LONGEST_SECONDS, SHORTEST_SECONDS = 12.0, 6.0
SILENT_DB = -60.0


@dataclass(frozen=True)
class Clip:
    """Sound (MP3) and spectrogram (WebP) of one track, as data URIs."""

    sound: str
    picture: str


@dataclass(frozen=True)
class Version:
    """All stems from one source: the references, or one experiment's estimates with uSDR in dB.

    ``folder`` is the experiment's folder, or None for the references.
    """

    name: str
    folder: Path | None
    clips: dict[str, Clip]
    usdr: dict[str, float]


@dataclass(frozen=True)
class Song:
    """The content of one player: the mixture, the references (first version) and the estimates."""

    name: str
    rank: str
    start: float
    seconds: float
    stems: tuple[str, ...]
    mixture: Clip
    versions: tuple[Version, ...]


def listen(
    experiments: Sequence[Experiment],
    labelled: Manifest,
    num_songs: int = 2,
    seconds: float | None = None,
) -> list[Song]:
    """Make excerpts of some test songs, with the estimates of every experiment that kept them.

    Args:
        experiments: experiments with scores of the same songs.
        labelled: the manifest with the references.
        num_songs: number of songs, spread from best to worst by uSDR of the last such experiment.
        seconds: length of each excerpt; None for 12 s, or for shorter and fewer excerpts if a page
            with all of them would exceed 10 MB.

    Returns:
        The songs for which some experiment has estimates.
    """
    kept = [row for row in experiments if (row.folder / "estimates").is_dir()]
    if not kept:
        return []
    if seconds is None:
        tracks = 1 + kept[-1].scores.stem.nunique() * (1 + len(kept))
        num_songs, seconds = fit_page(tracks, num_songs)
    chosen = choose_songs(kept[-1].scores, num_songs)
    by = f"by uSDR of {unique_titles(kept)[kept[-1].folder]}"
    songs = (_song(name, f"{rank} {by}", kept, labelled, seconds) for name, rank in chosen)
    return [song for song in songs if song is not None]


def fit_page(num_tracks: int, num_songs: int) -> tuple[int, float]:
    """How many songs with ``num_tracks`` tracks fit on a page, and how many seconds of each.

    Excerpts first get shorter, then fewer; a single remaining one gets as short as needed.
    """
    room = PAGE_BYTES / BYTES_PER_SECOND / num_tracks  # seconds, over all songs
    num_songs = max(min(num_songs, int(room / SHORTEST_SECONDS)), min(num_songs, 1))
    return num_songs, min(LONGEST_SECONDS, room / max(num_songs, 1))


def only(songs: Sequence[Song], folder: Path) -> list[Song]:
    """The songs with only the references and one experiment's estimates."""
    picked = []
    for song in songs:
        own = tuple(version for version in song.versions[1:] if version.folder == folder)
        if own:
            picked.append(replace(song, versions=(song.versions[0], *own)))
    return picked


def choose_songs(scores: pd.DataFrame, count: int) -> list[tuple[str, str]]:
    """Choose songs at evenly spaced ranks of mean uSDR; returns (name, rank in words), best first.

    One song is the median, two are the best and the worst, so that none is hand-picked.
    """
    means = scores.groupby("song").usdr.mean().dropna()
    ranked = means.sort_values(ascending=False, kind="stable").index
    count = min(count, len(ranked))
    middle = [(len(ranked) - 1) / 2][:count]
    places = np.linspace(0, len(ranked) - 1, count) if count > 1 else middle
    words = {0: "best", len(ranked) - 1: "worst"} if len(ranked) > 1 else {}
    return [
        (str(ranked[place]), f"{words.get(place, f'rank {place + 1}')} of {len(ranked)}")
        for place in map(int, places)
    ]


def liveliest_second(references: Sequence[np.ndarray], sample_rate: int, seconds: float) -> int:
    """Start, in whole seconds, of the excerpt in which the most stems are audible together.

    Each second is weighted by the level of its quietest stem, above -60 dB.

    Args:
        references: (channel, sample) of every stem, full scale 1.
        sample_rate: Hz.
        seconds: length of the excerpt.
    """
    whole = max(min(stem.shape[-1] for stem in references) // sample_rate, 1)
    quietest = np.full(whole, np.inf)
    for stem in references:
        power = np.asarray(np.mean(stem[:, : whole * sample_rate] ** 2, axis=0))
        blocks = power[: len(power) // whole * whole].reshape(whole, -1).mean(axis=1)
        level = 10 * np.log10(blocks + 1e-12)
        if level.max() > SILENT_DB:  # ignore a stem that never plays
            quietest = np.minimum(quietest, level)
    height = np.maximum(np.where(np.isinf(quietest), SILENT_DB, quietest), SILENT_DB) - SILENT_DB
    window = min(max(round(seconds), 1), whole)
    return int(np.argmax(np.convolve(height, np.ones(window), "valid").round(6)))


def mp3(waveform: np.ndarray, sample_rate: int) -> bytes:
    """Encode (channel, sample), full scale 1, as MP3; only the first two channels are kept."""
    waveform = waveform[:2]
    if sample_rate not in MP3_RATES:
        waveform, sample_rate = audio.resample(waveform, sample_rate, 48000), 48000
    encoded = io.BytesIO()
    with soundfile.SoundFile(
        encoded,
        "w",
        sample_rate,
        len(waveform),
        "MPEG_LAYER_III",
        format="MP3",
        compression_level=COMPRESSION,
        bitrate_mode="VARIABLE",
    ) as file:
        file.write(np.clip(waveform, -1, 1).T)
    return encoded.getvalue()


def spectrogram(power: np.ndarray, loudest: float) -> bytes:
    """Encode a power image as WebP, from ``loudest`` (bright) to 80 dB below it (black)."""
    level = 10 * np.log10(power / max(loudest, 1e-12) + 1e-12) / RANGE_DB + 1
    colours = matplotlib.colormaps["magma"](np.clip(level, 0, 1), bytes=True)[..., :3]
    encoded = io.BytesIO()
    Image.fromarray(colours).save(encoded, "WEBP", quality=72, method=4)
    return encoded.getvalue()


def _song(
    name: str, rank: str, experiments: Sequence[Experiment], labelled: Manifest, seconds: float
) -> Song | None:
    tracks = labelled.tracks[labelled.tracks.song.astype(str) == name].reset_index(drop=True)
    held = [row for row in experiments if place(row.folder / "estimates", name).is_dir()]
    if not len(tracks) or not held:
        return None
    one = Manifest(tracks, NO_SEGMENTS, labelled.name)
    split = tracks.split.iloc[0]
    stems = held[0].stems_of(tracks)
    tasks = [manifest_tasks(one, split, row.folder / "estimates", stems=stems)[0] for row in held]
    info = audio.probe(tasks[0].mixture[0])
    start, frames = _place(tasks[0], info, seconds)

    def cut(files: dict[str, Path]) -> dict[str, np.ndarray]:
        return {stem: audio.read(file, start, frames)[0] for stem, file in files.items()}

    mixture = np.sum([audio.read(part, start, frames)[0] for part in tasks[0].mixture], axis=0)
    loudest = power_image(mixture, info.sample_rate).max()

    def clips(stems: dict[str, np.ndarray]) -> dict[str, Clip]:
        return {stem: _clip(wave, info.sample_rate, loudest) for stem, wave in stems.items()}

    titles = unique_titles(experiments)
    versions = [Version("true stems", None, clips(cut(tasks[0].references)), {})]
    for row, task in zip(held, tasks, strict=True):
        scores = row.scores[row.scores.song == name].set_index("stem").usdr.to_dict()
        versions.append(Version(titles[row.folder], row.folder, clips(cut(task.estimates)), scores))
    return Song(
        name,
        rank,
        start / info.sample_rate,
        frames / info.sample_rate,
        tuple(tasks[0].references),
        _clip(mixture, info.sample_rate, loudest),
        tuple(versions),
    )


def _place(task: Task, info: audio.AudioInfo[int], seconds: float) -> tuple[int, int]:
    frames = min(info.frames, round(seconds * info.sample_rate))
    references = [audio.read(file)[0] for file in task.references.values()]
    start = liveliest_second(references, info.sample_rate, seconds) * info.sample_rate
    return min(start, info.frames - frames), frames


def _clip(waveform: np.ndarray, sample_rate: int, loudest: float) -> Clip:
    picture = spectrogram(power_image(waveform, sample_rate), loudest)
    return Clip(
        _data_uri("audio/mpeg", mp3(waveform, sample_rate)), _data_uri("image/webp", picture)
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
