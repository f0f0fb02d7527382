"""Find songs that would stop a later stage, from the manifests alone; no audio is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from mixit_mss.audio.resampling import can_resample
from mixit_mss.data.manifest import Manifest
from mixit_mss.errors import UserError
from mixit_mss.models.network import Network
from mixit_mss.names import printable
from mixit_mss.preparation.joining import check_disjoint
from mixit_mss.separation.songs import manifest_songs

PRETRAIN, SELECT, FINETUNE, SCORE = 3, 4, 5, 6
PER_MIXTURE = 2
"""Songs in a mixture of mixtures."""
SAMPLE_BYTES = (2, 4)
"""Bytes per sample of the content that stage 1 hashes: 16 bit, or as decoded."""


class Finding(NamedTuple):
    """Something that the user should know before the training.

    Attributes:
        stage: the first stage that it stops; 0 if it only makes the result worse.
        sentence: the problem, and what to do.
    """

    stage: int
    sentence: str


def unlabelled_findings(
    songs: Manifest, net: Network | None, chunk_seconds: float | None
) -> Iterator[Finding]:
    """Problems for pre-training in its songs; None stands for what is unknown."""
    yield from _overlaps(songs, PRETRAIN)
    for split in ("train", "valid"):
        part = songs.select(split=split)
        have = int((np.diff(part.offsets) > 0).sum())
        if have < PER_MIXTURE:
            yield Finding(
                PRETRAIN,
                f"{songs.name} has {have} songs with segments in split '{split}', but a mixture of "
                f"mixtures needs {PER_MIXTURE}; add songs, or hold out another share of them "
                "(mixit-mss segment --valid-fraction)",
            )
        yield from _short(part, chunk_seconds, PRETRAIN)
        yield from _form(part, split, net, PRETRAIN)


def labelled_findings(
    songs: Manifest,
    stems: Sequence[str],
    net: Network | None,
    chunk_seconds: Sequence[float],
    first: int,
) -> Iterator[Finding]:
    """Problems for the later stages in the songs with stems.

    Args:
        songs: all splits.
        stems: those to train.
        net: the network; None if there is none yet.
        chunk_seconds: of the trainings.
        first: the first stage that reads validation songs: 4, or 5 from scratch.
    """
    yield from _overlaps(songs, FINETUNE)
    for split, stage in (("train", FINETUNE), ("valid", first), ("test", SCORE)):
        part = songs.select(split=split)
        if not len(part.tracks):
            yield Finding(
                stage,
                f"{songs.name} has no song in split '{split}'; add a folder {split}/ with songs, "
                "and run stages 1 and 2 again",
            )
            continue
        if split == "train":
            yield from _without_segments(part, stems)
            longest = max(chunk_seconds, default=None)
            yield from _short(_of(part, stems), longest, stage)
        else:
            yield from _missing_stems(part, split, stems, stage)
            yield from _unlike(part, split, stage)
        if split == "valid":
            yield from _silent_throughout(part, stems)
        if split != "test":
            yield from _form(part, split, net, stage)
    yield from _unknown_stems(songs, stems)
    if "test" in set(songs.tracks["split"]):
        yield from _below(songs.select(split="test"), "test", net, 0)
        try:
            manifest_songs(songs, "test")
        except UserError as error:
            yield Finding(SCORE, str(error))


def _overlaps(songs: Manifest, stage: int) -> Iterator[Finding]:
    try:
        check_disjoint(songs)
    except UserError as error:
        yield Finding(stage, str(error))


def _without_segments(train: Manifest, stems: Sequence[str]) -> Iterator[Finding]:
    for stem in stems:
        part = train.select(stem=stem)
        if not len(part.tracks):
            yield Finding(
                FINETUNE,
                f"{train.name} has no stem '{stem}' in split 'train'; it has {_names(train)}",
            )
        elif not len(part.segments.track):
            yield Finding(
                FINETUNE,
                f"{train.name}: stem '{stem}' is silent in all {len(part.tracks)} training songs; "
                "leave it out of --stems, or add songs in which it sounds",
            )


def _missing_stems(
    part: Manifest, split: str, stems: Sequence[str], stage: int
) -> Iterator[Finding]:
    for stem in stems:
        having = set(part.tracks["song"][part.tracks["stem"] == stem])
        lacking = [song for song in dict.fromkeys(part.tracks["song"]) if song not in having]
        if lacking:
            yield Finding(
                stage,
                f"{part.name} has no stem '{stem}' of {_some(lacking)} in split '{split}'; add the "
                "stem, or take the song out",
            )


def _silent_throughout(valid: Manifest, stems: Sequence[str]) -> Iterator[Finding]:
    """Stems that are silent in all validation songs: no votes for their outputs, and no tests."""
    for stem in stems:
        rows = valid.tracks[valid.tracks["stem"] == stem]
        columns = zip(rows["content"], rows["frames"] * rows["channels"], strict=True)
        if len(rows) and all(_is_silence(content, int(samples)) for content, samples in columns):
            yield Finding(
                0,
                f"{valid.name}: stem '{stem}' is silent in all validation songs, so that the output "
                "that is chosen for it is arbitrary; hold out a song in which it sounds",
            )


def _is_silence(content: str, samples: int) -> bool:
    """Whether ``content`` is the sha256 of this many zeros, in a format that stage 1 stores."""
    return bool(content) and any(content == _of_zeros(samples * size) for size in SAMPLE_BYTES)


@lru_cache(maxsize=64)
def _of_zeros(count: int) -> str:
    digest, block = hashlib.sha256(), bytes(1 << 20)
    for _ in range(count >> 20):
        digest.update(block)
    digest.update(block[: count & (1 << 20) - 1])
    return digest.hexdigest()


def _unknown_stems(songs: Manifest, stems: Sequence[str]) -> Iterator[Finding]:
    known = songs.select(split="train").stems() + songs.select(split="test").stems()
    if more := sorted({*known} - {*stems, "mixture"}):
        yield Finding(
            FINETUNE,
            f"{songs.name} has stems that --stems does not name: {', '.join(map(printable, more))}; "
            "name them, or run stages 1 and 2 again with these --stems",
        )


def _unlike(part: Manifest, split: str, stage: int) -> Iterator[Finding]:
    """Files of one song, including its mixture, that differ in rate, length or channels."""
    by_song = part.tracks.groupby("song", sort=False)
    for column, words in (
        ("sample_rate", "sample rates"),
        ("frames", "lengths in samples"),
        ("channels", "numbers of channels"),
    ):
        songs = by_song[column].nunique()
        unlike = list(songs[songs > 1].index)
        # validation only adds up stems, for which mono is copied to the network's channels
        ends = 0 if column == "channels" and split == "valid" else stage
        if unlike:
            rows = part.tracks[part.tracks["song"] == unlike[0]]
            each = ", ".join(
                f"{printable(stem)} {value}"
                for stem, value in zip(rows["stem"], rows[column], strict=True)
            )
            yield Finding(
                ends,
                f"{part.name}: the files of {_some(unlike)} in split '{split}' have different "
                f"{words} ({each}); make them alike, and run stages 1 and 2 again",
            )


def _form(part: Manifest, split: str, net: Network | None, stage: int) -> Iterator[Finding]:
    """Compare rates and channels of the files with the network's."""
    if net is None:
        return
    yield from _below(part, split, net, stage)
    tracks = part.tracks
    for rate, rows in tracks.groupby("sample_rate"):
        if not can_resample(int(rate), net.sample_rate):
            yield Finding(
                stage,
                f"{part.name}: {rate} Hz of {_files(rows)} in split '{split}' has no small ratio to "
                f"the network's {net.sample_rate} Hz; store them at its rate (segment "
                f"--sample-rate {net.sample_rate})",
            )
        elif rate > net.sample_rate:
            yield Finding(
                0,
                f"{part.name}: {_files(rows)} in split '{split}' are at {rate} Hz and are converted "
                f"to the network's {net.sample_rate} Hz at every reading, which is slow (segment "
                f"--sample-rate {net.sample_rate} does it once)",
            )
    for channels, rows in tracks.groupby("channels"):
        if channels not in (1, net.num_channels) and net.num_channels != 1:
            yield Finding(
                stage,
                f"{part.name}: {_files(rows)} in split '{split}' have {channels} channels, but the "
                f"network has num_channels {net.num_channels}; store them so (segment --channels "
                f"{net.num_channels}), or change model.num_channels",
            )


def _below(part: Manifest, split: str, net: Network | None, stage: int) -> Iterator[Finding]:
    """Songs below the network's sample rate: an error in training, lower scores in the test."""
    if net is None:
        return
    for rate, rows in part.tracks[part.tracks["sample_rate"] < net.sample_rate].groupby(
        "sample_rate"
    ):
        yield Finding(
            stage,
            f"{part.name}: {_files(rows)} in split '{split}' are at {rate} Hz, below the network's "
            f"sample_rate {net.sample_rate}, so that nothing above {rate / 2000:g} kHz is in them; "
            "take a network of that rate, or songs of a higher one",
        )


def _short(part: Manifest, chunk_seconds: float | None, stage: int) -> Iterator[Finding]:
    if chunk_seconds is None or not len(part.segments.track):
        return
    rates = part.tracks["sample_rate"].to_numpy()[part.segments.track]
    short = part.segments.frames < np.floor(chunk_seconds * rates + 1e-6)
    if short.any():
        seconds = float((part.segments.frames / rates)[short].min())
        yield Finding(
            stage,
            f"{part.name} has {short.sum()} segments of {seconds:g} s or more that are shorter than "
            f"run.chunk_seconds {chunk_seconds:g}; segment anew, or train on shorter chunks",
        )


def _of(songs: Manifest, stems: Sequence[str]) -> Manifest:
    """The songs with the segments of these stems only."""
    wanted = songs.tracks["stem"].isin(stems).to_numpy()[songs.segments.track]
    segments = type(songs.segments)(*(column[wanted] for column in songs.segments))
    return Manifest(songs.tracks, segments, songs.name)


def _names(songs: Manifest) -> str:
    return ", ".join(printable(stem) for stem in songs.stems() if stem != "mixture") or "none"


def _files(rows: pd.DataFrame) -> str:
    return f"{len(rows)} files (such as '{printable(rows['path'].iloc[0])}')"


def _some(songs: Sequence[str]) -> str:
    more = f" and {len(songs) - 1} more" if len(songs) > 1 else ""
    return f"song '{printable(songs[0])}'{more}"
