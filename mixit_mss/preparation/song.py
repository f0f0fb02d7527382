"""Stage 1 for one song: check it, store it once at the training rate, find its segments.

A song is streamed, so the memory needed does not depend on its length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from mixit_mss import audio
from mixit_mss.errors import UserError
from mixit_mss.names import distinct, file_name, inside, place
from mixit_mss.preparation.activity import ACTIVITY_RULES, ActivityRule, active_table
from mixit_mss.preparation.agreement import Agreement
from mixit_mss.preparation.segmentation import (
    SILENCE_RULES,
    PowerMeter,
    SegmentTable,
    SilenceRule,
    segment_table,
)


@dataclass(frozen=True)
class Settings:
    """How songs are stored; the subclasses say how they are segmented.

    Attributes:
        sample_rate: Hz; higher rates are converted, lower ones rejected.
        channels: channels of the stored audio.
        mono: "duplicate" or "reject" a mono song where more channels are wanted.
        store: "flac" or "wav" (both 16 bit), or "source": keep only the original files.
    """

    sample_rate: int = 44100
    channels: int = 2
    mono: str = "duplicate"
    store: str = "flac"


@dataclass(frozen=True)
class UnlabelledSettings(Settings):
    """Segments of mixtures: paper, section 4.1."""

    segment_seconds: float = 10.0
    hop_seconds: float = 5.0
    silence: SilenceRule = SILENCE_RULES["paper"]


@dataclass(frozen=True)
class LabelledSettings(Settings):
    """Segments of training stems: source activity detection."""

    stems: tuple[str, ...] = ("vocals", "drums", "bass", "other")
    activity: ActivityRule = ACTIVITY_RULES["paper"]


@dataclass(frozen=True)
class Song:
    """The files of one song, as (stem, path) pairs; ``split`` is empty until it is drawn."""

    name: str
    split: str
    license: str
    files: tuple[tuple[str, str], ...]


@dataclass
class PreparedTrack:
    """One row of the track table, with its segments.

    ``path`` is relative to the corpus folder if the audio was stored there; ``starts`` and
    ``dropped`` are the first samples of kept and of dropped segments; ``content`` is the sha256 of
    the samples as stored, or as decoded if only the original file is kept; ``stored_bytes`` is the
    size of the stored file.
    """

    stem: str
    source: str
    path: str
    frames: int
    sample_rate: int
    channels: int
    content: str = ""
    stored_bytes: int = 0
    segment_frames: int = 0
    starts: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)

    def take(self, segments: SegmentTable) -> None:
        self.segment_frames = segments.frames
        self.starts = segments.starts[segments.kept].tolist()
        self.dropped = segments.starts[~segments.kept].tolist()


@dataclass
class Outcome:
    """Result of preparing a song: its tracks, and the files that were rejected.

    ``rejected`` holds (path, reason, detail).  ``mixture_snr`` is the agreement of the mixture with
    the sum of the stems in dB, None if unknown; see :class:`Agreement`.  ``heard`` is, for a song
    of the validation or test set, the sha256 of its mixture as pre-training would store it.
    """

    tracks: list[PreparedTrack] = field(default_factory=list)
    rejected: list[tuple[str, str, str]] = field(default_factory=list)
    mixture_snr: float | None = None
    heard: str = ""


class Rejection(Exception):
    """Raised for a song that cannot be used: (path, reason code, detail)."""


def prepare_song(job: tuple[Song, Path, UnlabelledSettings | LabelledSettings]) -> Outcome:
    """Prepare one song in a corpus folder; a song that cannot be used is a result, not an error.

    An unexpected exception, or a song that needs more memory than there is, must not stop a hundred
    thousand other songs either: the song is rejected with reason "failed" and the exception as
    detail.

    Raises:
        UserError: the audio cannot be stored, which would fail for every other song too.
    """
    song, folder, settings = job
    try:
        if isinstance(settings, UnlabelledSettings):
            return _prepare_mixture(song, folder, settings)
        return _prepare_stems(song, folder, settings)
    except Rejection as rejection:
        for stem, _ in song.files:
            (folder / stored_path(song, stem, settings)).unlink(missing_ok=True)
        return Outcome(rejected=[rejection.args])
    except UserError:
        raise
    except Exception as error:
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        return Outcome(rejected=[(song.files[0][1], "failed", detail)])


def stored_path(song: Song, stem: str, settings: Settings) -> str:
    """Path of a song's stored file, relative to the corpus folder.

    Raises:
        UserError: the song or the stem has no name.
    """
    folder = Path("audio")
    if isinstance(settings, UnlabelledSettings):
        return place(folder, distinct(song.name), f".{settings.store}").as_posix()
    if song.split:
        folder = place(folder, song.split)
    folder = place(folder, distinct(song.name))
    return inside(folder, folder / f"{file_name(stem)}.{settings.store}").as_posix()


def _prepare_mixture(song: Song, folder: Path, settings: UnlabelledSettings) -> Outcome:
    (stem, source), *_ = song.files
    stored = stored_path(song, stem, settings)
    track, meter = _store(stem, source, folder, stored, settings, settings.silence.interval_seconds)
    segments = segment_table(
        meter.power,
        track.sample_rate,
        settings.segment_seconds,
        settings.hop_seconds,
        settings.silence,
    )
    if not len(segments.starts):
        seconds = track.frames / track.sample_rate
        raise Rejection(source, "too_short", f"{seconds:.2f} s, no whole segment")
    if not segments.kept.any():
        raise Rejection(source, "silent", f"none of {len(segments.starts)} segments is kept")
    track.take(segments)
    return Outcome([track])


def _prepare_stems(song: Song, folder: Path, settings: LabelledSettings) -> Outcome:
    files = dict(song.files)
    for stem in settings.stems:
        if stem not in files:
            raise Rejection(str(Path(song.files[0][1]).parent), "missing_stem", f"no {stem}")
    if song.split == "test":
        tracks, agreement = _listed(song)
        _check_alike(tracks)
        return Outcome(tracks, mixture_snr=agreement, heard=_as_heard(song, settings, tracks))
    outcome = Outcome()
    for stem in settings.stems:
        stored = stored_path(song, stem, settings)
        track, meter = _store(
            stem, files[stem], folder, stored, settings, settings.activity.chunk_seconds
        )
        outcome.tracks.append(track)
        if song.split == "train":
            segments = active_table(meter, track.sample_rate, settings.activity)
            if not len(segments.starts):
                seconds = track.frames / track.sample_rate
                raise Rejection(track.source, "too_short", f"{seconds:.2f} s, no whole segment")
            track.take(segments)
            if not track.starts:
                outcome.rejected.append((track.source, "silent", "no active segment"))
    _check_alike(outcome.tracks, also_channels=False)  # mono is duplicated
    if song.split == "valid":
        outcome.heard = _as_heard(song, settings)
    return outcome


def _without_path(error: audio.AudioError, path: str) -> str:
    """The error message without the path, which the table has in another column."""
    return str(error).removeprefix(f"'{path}' ")


def _listed(song: Song) -> tuple[list[PreparedTrack], float | None]:
    """Tracks that are not stored anew, and the agreement of their sum with the mixture in dB.

    The files are decoded once, in parallel, since only decoding tells whether they are complete.
    """
    tracks: list[PreparedTrack] = []
    agreement = Agreement()
    has_mixture = "mixture" in dict(song.files)
    streams = [_decoded(stem, path, tracks) for stem, path in song.files]
    for blocks in zip_longest(*streams):
        if has_mixture:
            agreement.add(dict(zip(dict(song.files), blocks, strict=True)))
    order = {stem: number for number, (stem, _) in enumerate(song.files)}
    tracks.sort(key=lambda track: order[track.stem])
    return tracks, agreement.decibels if has_mixture else None


def _decoded(stem: str, path: str, tracks: list[PreparedTrack]) -> Iterator[np.ndarray]:
    """Yield the blocks (channel, sample) of a file; at its end, append its track to ``tracks``."""
    try:
        frames, digest = 0, hashlib.sha256()
        with audio.stream(path) as blocks:
            for samples in blocks.raw():
                frames += len(samples)
                digest.update(np.ascontiguousarray(samples).data)
                yield audio.planar(samples)
    except audio.AudioError as error:
        raise Rejection(path, "unreadable", _without_path(error, path)) from error
    _check_whole(blocks, path)
    rate, channels = blocks.sample_rate, blocks.channels
    tracks.append(PreparedTrack(stem, path, path, frames, rate, channels, digest.hexdigest()))


def _as_heard(song: Song, settings: Settings, tracks: Sequence[PreparedTrack] = ()) -> str:
    """sha256 of a song's mixture as an unlabelled corpus would store it; empty if it has none.

    So the song is recognised among unlabelled songs, whatever its file format.
    """
    path = dict(song.files).get("mixture")
    if path is None:
        return ""
    rate, channels = settings.sample_rate, settings.channels
    known = [track.content for track in tracks if track.stem == "mixture"]
    try:
        with audio.stream(path) as blocks:
            _check_format(blocks, path, replace(settings, store="flac"))
            if (
                known
                and blocks.integers
                and (blocks.sample_rate, blocks.channels)
                == (
                    rate,
                    channels,
                )
            ):
                return known[0]
            digest = hashlib.sha256()
            for _, samples in _converted(blocks, rate, channels):
                digest.update(samples.data)
            return digest.hexdigest()
    except (audio.AudioError, Rejection):  # such a file is not among the unlabelled songs either
        return ""


def _check_whole(blocks: audio.AudioStream, path: str) -> None:
    """Reject a truncated or damaged file: the network would learn its gaps and clicks as music."""
    if blocks.cut:
        raise Rejection(path, "unreadable", blocks.cut)
    if blocks.warnings:
        raise Rejection(path, "decoder_warning", blocks.warnings[0])


def _check_alike(tracks: list[PreparedTrack], also_channels: bool = True) -> None:
    """Reject a song whose files differ in length, sample rate or (optionally) channel count."""
    shapes = {track.stem: (track.frames, track.sample_rate) for track in tracks}
    folder = str(Path(tracks[0].source).parent)
    if len(set(shapes.values())) > 1:
        detail = ", ".join(f"{stem} {n} samples at {rate} Hz" for stem, (n, rate) in shapes.items())
        raise Rejection(folder, "stems_differ", detail)
    if also_channels and len({track.channels for track in tracks}) > 1:
        detail = ", ".join(f"{track.stem} {track.channels} channels" for track in tracks)
        raise Rejection(folder, "stems_differ", detail)


def _store(
    stem: str, source: str, folder: Path, stored: str, settings: Settings, interval_seconds: float
) -> tuple[PreparedTrack, PowerMeter]:
    """Stream one file into the corpus folder: check, resample, measure, hash and store it."""
    keep_source = settings.store == "source"
    try:
        with audio.stream(source) as blocks:
            _check_format(blocks, source, settings)
            rate = blocks.sample_rate if keep_source else settings.sample_rate
            channels = blocks.channels if keep_source else settings.channels
            meter, digest = PowerMeter(rate, interval_seconds), hashlib.sha256()
            if keep_source:
                for block in blocks:
                    meter.add(block)
                    digest.update(block.data)
                _check_whole(blocks, source)
            else:
                with audio.open_writer(folder / stored, rate, channels) as file:
                    for block, samples in _converted(blocks, rate, channels):
                        meter.add(block)
                        digest.update(samples.data)
                        file.write_raw(samples)
                    _check_whole(blocks, source)
    except audio.AudioError as error:
        raise Rejection(source, "unreadable", _without_path(error, source)) from error
    path, size = (source, 0) if keep_source else (stored, (folder / stored).stat().st_size)
    content = digest.hexdigest()
    track = PreparedTrack(stem, source, path, meter.frames, rate, channels, content, size)
    return track, meter


def _check_format(blocks: audio.AudioStream, source: str, settings: Settings) -> None:
    rate, channels = blocks.sample_rate, blocks.channels
    if rate < settings.sample_rate:
        detail = f"{rate} Hz, below {settings.sample_rate} Hz"
        raise Rejection(source, "low_sample_rate", detail)
    if channels == 1 and settings.channels > 1 and settings.mono == "reject":
        raise Rejection(source, "mono", "one channel")
    if channels not in (1, settings.channels) and settings.channels != 1:
        raise Rejection(source, "channels", f"{channels} channels, not {settings.channels}")
    if settings.store != "source" and not audio.can_resample(rate, settings.sample_rate):
        raise Rejection(source, "sample_rate", f"{rate} Hz has no small ratio to the wanted rate")


def _converted(
    blocks: audio.AudioStream, rate: int, channels: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks (channel, sample) at the wanted rate, each with its 16-bit samples (sample, channel).

    16-bit samples that already have the wanted rate and channels are passed on unchanged.
    """
    if blocks.integers and (blocks.sample_rate, blocks.channels) == (rate, channels):
        for samples in blocks.raw():
            yield audio.planar(samples), samples
        return
    for block in audio.resample_blocks(blocks, blocks.sample_rate, rate):
        block = audio.to_channels(block, channels)
        yield block, audio.to_integers(block, 16)
