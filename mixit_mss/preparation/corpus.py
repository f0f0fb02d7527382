"""Stage 1 for a whole corpus: prepare every song, keep a journal to resume from, write the tables.

The journal records finished songs (see :mod:`mixit_mss.preparation.journal`).  The three tables are
made from it in the order of the songs, not in the order in which they finished.

Several machines can share the work: each prepares its shard and keeps its own journal, and a run
without a shard reads all journals and writes the tables.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mixit_mss.corpora import Record
from mixit_mss.data.manifest import (
    SPLITS,
    Manifest,
    gaps,
    make_manifest,
    portable_path,
    read_manifest,
    write_manifest,
    write_table,
)
from mixit_mss.errors import UserError
from mixit_mss.files import sweep
from mixit_mss.names import inside, path_text, printable
from mixit_mss.parallel import Shard, run_parallel
from mixit_mss.preparation.agreement import agreement_text
from mixit_mss.preparation.journal import (
    JOURNAL,
    Journal,
    key_of_song,
    read_journals,
    write_journal,
)
from mixit_mss.preparation.song import (
    Outcome,
    PreparedTrack,
    Settings,
    Song,
    UnlabelledSettings,
    prepare_song,
    stored_path,
)
from mixit_mss.stamps import STAMP, Fingerprint

TABLES = ("tracks.csv", "segments.csv", "rejected.csv")
REJECTED_COLUMNS = ("path", "start_seconds", "reason", "detail")


def build_corpus(
    records: Iterable[Record],
    settings: Settings,
    folder: str | Path,
    num_processes: int = 1,
    valid_fraction: float = 0.0,
    shard: Shard | None = None,
    left_out: Sequence[tuple[str, str, str]] = (),
) -> str:
    """Prepare every song of ``records`` in ``folder`` and write its tables.

    Args:
        records: the corpus, as listed by a module of ``corpora``.
        settings: how to store and segment songs.
        folder: gets ``audio/``, ``tracks.csv``, ``segments.csv`` and ``rejected.csv``.
        num_processes: number of songs to prepare at a time.
        valid_fraction: share of the songs without a split that go to split "valid", the others go
            to "train"; see :func:`draw_validation`.
        shard: prepare only this share of the songs; a call without a shard writes the tables.
        left_out: path, reason and detail of files of the corpus that belong to no song, to list in
            ``rejected.csv``.

    Returns:
        A summary to print.

    Raises:
        UserError: ``folder`` holds other files or cannot be written, no song can be used, or a song
            is listed twice or lies in ``folder``.
    """
    folder = Path(folder)
    songs = group_songs(records)
    _check_songs(songs, settings, folder)
    _check_folder(folder)
    known = _look_up(songs, settings, folder, valid_fraction, left_out)
    keys, journal, done = known.keys, known.journal, known.done
    if known.is_complete(folder) and (finished := _finished(folder)):
        return f"{folder}: nothing to do, all {len(songs)} songs are as they were\n" + summarise(
            folder, *finished, songs, [done[key] for key in keys]
        )
    if shard:
        songs, keys = shard.of(songs), shard.of(keys)
        _prepare_all(songs, keys, settings, folder, num_processes, journal, done, shard)
        return f"{folder}: shard {shard}, {len(songs)} songs done"
    outcomes = _prepare_all(songs, keys, settings, folder, num_processes, journal, done)
    manifest, rejected = assemble(songs, outcomes, settings, folder, valid_fraction, left_out)
    # Remove the stamp first, so that half-written tables never look finished.
    (folder / STAMP).unlink(missing_ok=True)
    sweep(folder)
    write_table(folder / "rejected.csv", rejected)
    if not len(manifest.tracks):
        raise UserError(
            f"none of the {len(songs)} songs can be used ({_reasons(rejected)}); "
            f"'{folder / 'rejected.csv'}' says why"
        )
    write_manifest(folder, manifest)
    _prune(folder, journal.stored, set(manifest.tracks["path"]))
    write_journal(folder, zip(keys, songs, outcomes, strict=True))
    known.wanted.mark_done(folder, [folder / name for name in TABLES])
    return summarise(folder, manifest, rejected, songs, outcomes)


def is_built(
    records: Iterable[Record],
    settings: Settings,
    folder: str | Path,
    valid_fraction: float = 0.0,
    left_out: Sequence[tuple[str, str, str]] = (),
) -> bool:
    """Whether :func:`build_corpus` would find nothing to do."""
    songs, folder = group_songs(records), Path(folder)
    return _look_up(songs, settings, folder, valid_fraction, left_out).is_complete(folder)


class _Known(NamedTuple):
    """The songs' keys, the fingerprint of the finished corpus, the journal, and finished songs."""

    keys: list[str]
    wanted: Fingerprint
    journal: Journal
    done: dict[str, Outcome]

    def is_complete(self, folder: Path) -> bool:
        return len(self.done) == len(self.keys) and self.wanted.is_done(folder)


def _look_up(
    songs: list[Song],
    settings: Settings,
    folder: Path,
    valid_fraction: float,
    left_out: Sequence[tuple[str, str, str]],
) -> _Known:
    keys = [key_of_song(song, settings) for song in songs]
    rows = [(key, song.split, song.license) for key, song in zip(keys, songs, strict=True)]
    places = [[portable_path(path, folder) for _, path in song.files] for song in songs]
    others = [(portable_path(path, folder), *why) for path, *why in left_out]
    listing = hashlib.sha256(json.dumps([rows, places, others]).encode()).hexdigest()
    wanted = Fingerprint("segment", {"songs": listing, "valid_fraction": valid_fraction})
    journal = read_journals(folder)
    done = journal.done(dict(zip(keys, songs, strict=True)), folder)
    return _Known(keys, wanted, journal, done)


def group_songs(records: Iterable[Record]) -> list[Song]:
    """Group records by song and split, sorted by split and name; names become printable."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.split, printable(record.song)), []).append(record)
    return [
        Song(
            name,
            split,
            files[0].license,
            tuple((printable(file.stem), file.path) for file in files),
        )
        for (split, name), files in sorted(groups.items())
    ]


def assemble(
    songs: list[Song],
    outcomes: list[Outcome],
    settings: Settings,
    folder: Path,
    valid_fraction: float,
    left_out: Sequence[tuple[str, str, str]] = (),
) -> tuple[Manifest, pd.DataFrame]:
    """Make the manifest of kept tracks and the table of rejected ones, in the order of ``songs``.

    Of unlabelled songs with the same decoded samples, only the first is kept.
    """
    unlabelled = isinstance(settings, UnlabelledSettings)
    first_with: dict[str, str] = {}
    kept: list[tuple[Song, PreparedTrack]] = []
    rejected: list[tuple[str, float | str, str, str]] = []
    for song, outcome in zip(songs, outcomes, strict=True):
        rejected += [(path, "", reason, detail) for path, reason, detail in outcome.rejected]
        content = outcome.tracks[0].content if outcome.tracks else ""
        twin = first_with.setdefault(content, song.name) if outcome.tracks else song.name
        if unlabelled and twin != song.name:
            source = outcome.tracks[0].source
            rejected.append((source, "", "duplicate", f"the same audio as '{twin}'"))
            continue
        reason = ("silent", "too much silence") if unlabelled else ("inactive", "stem not active")
        for track in outcome.tracks:
            kept.append((song, track))
            rejected += [
                (track.source, start / track.sample_rate, *reason) for start in track.dropped
            ]
    rejected += [(path, "", reason, detail) for path, reason, detail in left_out]
    undrawn = {song.name for song, _ in kept if not song.split}
    validation = draw_validation(undrawn, valid_fraction)
    rows = [
        {
            **{"song": song.name, "license": song.license, "path": str(folder / track.path)},
            "split": song.split or ("valid" if song.name in validation else "train"),
            **{
                name: getattr(track, name)
                for name in ("stem", "frames", "sample_rate", "channels", "content")
            },
        }
        for song, track in kept
    ]
    segments = [(np.array(track.starts, np.int64), track.segment_frames) for _, track in kept]
    table = pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS))
    table["path"] = [path_text(portable_path(path, folder)) for path in table["path"]]
    table["detail"] = list(map(printable, table["detail"]))
    return make_manifest(rows, segments, str(folder)), table


def with_splits(records: Sequence[Record], fraction: float) -> list[Record]:
    """Assign "valid" or "train" to records without a split; all stems of a song get the same one.

    For songs with stems, which stage 1 treats according to their split; see
    :func:`draw_validation`.
    """
    drawn = draw_validation({record.song for record in records if not record.split}, fraction)
    return [
        record
        if record.split
        else replace(record, split="valid" if record.song in drawn else "train")
        for record in records
    ]


def draw_validation(names: Iterable[str], fraction: float) -> set[str]:
    """Choose the validation songs by a hash of their names, so that adding songs moves no other.

    Of four songs or more at least two are held out, since a mixture of mixtures needs two.
    """
    place = {
        name: int(hashlib.sha256(name.encode()).hexdigest()[:13], 16) / 16**13 for name in names
    }
    ordered = sorted(place, key=place.__getitem__)
    drawn = sum(value < fraction for value in place.values())
    at_least = 2 if fraction > 0 and len(ordered) >= 4 else 0
    return set(ordered[: max(drawn, at_least)])


def summarise(
    folder: Path,
    manifest: Manifest,
    rejected: pd.DataFrame,
    songs: Sequence[Song],
    outcomes: Sequence[Outcome],
) -> str:
    """Summarise in a few lines what was kept and what was rejected."""
    lines = [f"{folder}: {manifest.tracks['song'].nunique()} of {len(songs)} songs kept"]
    for split in SPLITS:
        part = manifest.select(split=split)
        if len(part.tracks):
            lines.append(
                f"  {split}: {part.tracks['song'].nunique()} songs, {len(part.tracks)} tracks, "
                f"{part.hours:.2f} h of audio, {len(part.segments.track)} segments"
            )
    whole = rejected[rejected["start_seconds"] == ""]
    parts = rejected[rejected["start_seconds"] != ""]
    for what, table in (("files", whole), ("segments", parts)):
        if len(table):
            lines.append(f"  rejected {what}: {_reasons(table)} (see rejected.csv)")
    agreements = [
        (song.name, outcome.mixture_snr)
        for song, outcome in zip(songs, outcomes, strict=True)
        if outcome.mixture_snr is not None and outcome.tracks
    ]
    return "\n".join(filter(None, [*lines, agreement_text(agreements), *gaps(manifest)]))


def _reasons(rejected: pd.DataFrame) -> str:
    counts = Counter(rejected["reason"])
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def _prepare_all(
    songs: list[Song],
    keys: list[str],
    settings: Settings,
    folder: Path,
    num_processes: int,
    journal: Journal,
    done: dict[str, Outcome],
    shard: Shard | None = None,
) -> list[Outcome]:
    """Outcomes in the order of ``songs``; songs in ``done`` are not prepared again."""
    from mixit_mss.progress import counted

    outcomes = dict(done)
    key_of = {id(song): key for song, key in zip(songs, keys, strict=True)}
    jobs = [(song, folder, settings) for song in songs if key_of[id(song)] not in outcomes]
    results = run_parallel(prepare_song, jobs, num_processes)
    with journal.going_on(folder, set(keys), shard) as note:
        for (song, *_), outcome in counted(results, str(folder), len(jobs)):
            if outcome is None:
                outcome = Outcome(
                    rejected=[(song.files[0][1], "unreadable", "the decoder crashed")]
                )
            outcomes[key_of[id(song)]] = outcome
            note(key_of[id(song)], song, outcome)
    return [outcomes[key] for key in keys]


def _finished(folder: Path) -> tuple[Manifest, pd.DataFrame] | None:
    """Manifest and ``rejected.csv`` of a finished run, or None if a table or audio is missing."""
    try:
        rejected = pd.read_csv(folder / "rejected.csv", dtype=str, keep_default_na=False)
        return read_manifest(folder), rejected
    except (UserError, OSError, ValueError):
        return None


def _check_songs(songs: list[Song], settings: Settings, folder: Path) -> None:
    """Check that no two songs would be stored under one name, and that none lies in ``folder``."""
    ours = os.path.join(os.path.abspath(folder), "")
    seen: dict[str, str] = {}
    for song in songs:
        for stem, path in song.files:
            place = stored_path(song, stem, settings)
            if place in seen:
                raise UserError(
                    f"'{seen[place]}' and '{path}' are both listed as song '{song.name}'; "
                    "give every song a name of its own"
                )
            seen[place] = path
            if path.startswith(ours):
                raise UserError(f"'{path}' lies in '{folder}', the folder to write to")


def _check_folder(folder: Path) -> None:
    """Make the folder, or check that it is one of ours, since unlisted audio in it is deleted."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / JOURNAL).exists():
        raise UserError(f"'{folder}' holds other files; name a new folder to write to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / JOURNAL, "a", encoding="utf-8"):
            pass  # marks the folder as ours
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written ({error.strerror})") from error


def _prune(folder: Path, stored: set[str], wanted: set[str]) -> None:
    """Delete stored audio that the tables no longer list, and leftovers of killed processes.

    Args:
        folder: of the corpus.
        stored: paths, relative to ``folder``, of all audio in the journals.
        wanted: absolute paths of the audio listed now.
    """
    wanted = {os.path.abspath(path) for path in wanted}
    for path in (folder / name for name in stored):
        if os.path.abspath(path) not in wanted:
            inside(folder / "audio", path).unlink(missing_ok=True)
    for parent, _, _ in os.walk(folder / "audio", topdown=False):
        sweep(parent)
        if not os.listdir(parent):
            os.rmdir(parent)
