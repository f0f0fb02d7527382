"""Stage 1 over a whole corpus: every song once, a journal to go on from, three tables at the end.

``FOLDER/.journal.jsonl`` gets a line as each song is done.  A line carries a key of the settings and
of the song's files, so a song is done again only if its files or the settings changed.  The tables
are made from the lines in the order of the songs, whatever the order in which they were finished.

Several machines can share the songs: each does its shard and keeps a journal of its own, and a run
without a shard finds all of them and writes the tables.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from mixit_mss.data.corpora import Record
from mixit_mss.data.manifest import (
    SPLITS,
    Manifest,
    make_manifest,
    portable_path,
    read_manifest,
    write_manifest,
    write_table,
)
from mixit_mss.data.parallel import run_parallel
from mixit_mss.data.preparation import (
    Outcome,
    PreparedTrack,
    Settings,
    Song,
    UnlabelledSettings,
    prepare_song,
    stored_path,
)
from mixit_mss.data.shards import Shard
from mixit_mss.errors import UserError
from mixit_mss.files import STAMP, fingerprint, is_done, mark_done, write_text
from mixit_mss.names import path_text, printable

JOURNAL = ".journal.jsonl"
SHARD_JOURNAL = ".journal.{}-of-{}.jsonl"
# Raise it when a change of the code makes stored results differ.
VERSION = 2
REJECTED_COLUMNS = ("path", "start_seconds", "reason", "detail")


def build_corpus(
    records: Iterable[Record],
    settings: Settings,
    folder: str | Path,
    num_processes: int = 1,
    valid_fraction: float = 0.0,
    shard: Shard | None = None,
) -> str:
    """Prepare every song of ``records`` in ``folder`` and write its tables.

    Args:
        records: the corpus, as listed by a module of ``corpora``.
        settings: how to store and to segment.
        folder: gets ``audio/``, ``tracks.csv``, ``segments.csv`` and ``rejected.csv``.
        num_processes: how many songs are worked on at a time.
        valid_fraction: share of the songs without a split that become split "valid", the others
            "train"; see :func:`draw_validation`.
        shard: do only this share of the songs, and leave the tables to a call without a shard.

    Returns:
        A summary to print.

    Raises:
        UserError: ``folder`` holds something else, cannot be written, or no song can be used; a
            song is listed twice, or lies in ``folder``.
    """
    folder = Path(folder)
    songs = group_songs(records)
    _check_songs(songs, settings, folder)
    _check_folder(folder)
    keys = [_key(song, settings) for song in songs]
    rows = [(key, song.split, song.license) for key, song in zip(keys, songs, strict=True)]
    listing = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    wanted = fingerprint({"songs": listing, "valid_fraction": valid_fraction}, [])
    if is_done(folder, wanted) and (finished := _finished(folder)):
        return f"{folder}: nothing to do, all {len(songs)} songs are as they were\n" + summarise(
            folder, *finished, len(songs)
        )
    if shard:
        songs, keys = shard.of(songs), shard.of(keys)
        journal = folder / SHARD_JOURNAL.format(*shard)
        _prepare_all(songs, keys, settings, folder, num_processes, journal)
        return f"{folder}: shard {shard}, {len(songs)} songs done"
    journal = folder / JOURNAL
    outcomes = _prepare_all(songs, keys, settings, folder, num_processes, journal)
    for merged in folder.glob(SHARD_JOURNAL.format("*", "*")):
        merged.unlink()
    manifest, rejected = assemble(songs, outcomes, settings, folder, valid_fraction)
    # The stamp goes first: between two tables nothing may look finished.
    (folder / STAMP).unlink(missing_ok=True)
    write_table(folder / "rejected.csv", rejected)
    if not len(manifest.tracks):
        raise UserError(
            f"none of the {len(songs)} songs can be used ({_reasons(rejected)}); "
            f"'{folder / 'rejected.csv'}' says why"
        )
    write_manifest(folder, manifest)
    _prune(folder / "audio", set(manifest.tracks["path"]))
    mark_done(folder, wanted)
    return summarise(folder, manifest, rejected, len(songs))


def group_songs(records: Iterable[Record]) -> list[Song]:
    """Records of one song and split together, sorted by split and name; names are printable."""
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
) -> tuple[Manifest, pd.DataFrame]:
    """The manifest of what is kept and the table of what is not, in the order of ``songs``.

    Of unlabelled songs with the same decoded samples the first is kept.
    """
    unlabelled = isinstance(settings, UnlabelledSettings)
    first_with: dict[str, str] = {}
    kept: list[tuple[Song, PreparedTrack]] = []
    rejected: list[tuple[str, float | str, str, str]] = []
    for song, outcome in zip(songs, outcomes, strict=True):
        rejected += [(path, "", reason, detail) for path, reason, detail in outcome.rejected]
        twin = first_with.setdefault(outcome.content, song.name) if outcome.tracks else song.name
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
    undrawn = {song.name for song, _ in kept if not song.split}
    validation = draw_validation(undrawn, valid_fraction)
    rows = [
        {
            **{"song": song.name, "license": song.license, "path": str(folder / track.path)},
            "split": song.split or ("valid" if song.name in validation else "train"),
            **{
                name: getattr(track, name) for name in ("stem", "frames", "sample_rate", "channels")
            },
        }
        for song, track in kept
    ]
    segments = [(np.array(track.starts, np.int64), track.segment_frames) for _, track in kept]
    table = pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS))
    table["path"] = [path_text(portable_path(path, folder)) for path in table["path"]]
    table["detail"] = list(map(printable, table["detail"]))
    return make_manifest(rows, segments, str(folder)), table


def draw_validation(names: Iterable[str], fraction: float) -> set[str]:
    """Songs held out for validation, by a hash of the name: adding songs moves no other song.

    At least two are held out of four or more, since a mixture of mixtures needs two.
    """
    place = {
        name: int(hashlib.sha256(name.encode()).hexdigest()[:13], 16) / 16**13 for name in names
    }
    ordered = sorted(place, key=place.__getitem__)
    drawn = sum(value < fraction for value in place.values())
    at_least = 2 if fraction > 0 and len(ordered) >= 4 else 0
    return set(ordered[: max(drawn, at_least)])


def summarise(folder: Path, manifest: Manifest, rejected: pd.DataFrame, num_songs: int) -> str:
    """A few lines that say what was kept and what was not."""
    lines = [f"{folder}: {manifest.tracks['song'].nunique()} of {num_songs} songs kept"]
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
    return "\n".join(lines)


def _reasons(rejected: pd.DataFrame) -> str:
    counts = Counter(rejected["reason"])
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def _prepare_all(
    songs: list[Song],
    keys: list[str],
    settings: Settings,
    folder: Path,
    num_processes: int,
    journal: Path,
) -> list[Outcome]:
    """Outcomes in the order of ``songs``, from the journals where they have them."""
    from rich.progress import track

    known = _read_journals(folder)
    outcomes = {key: known[key] for key in keys if key in known and _stored(known[key], folder)}
    jobs = [
        (song, folder, settings)
        for song, key in zip(songs, keys, strict=True)
        if key not in outcomes
    ]
    key_of = {id(song): key for song, key in zip(songs, keys, strict=True)}
    # Written anew, because a killed run can leave half a line at the end.
    write_text(journal, "".join(_line(key, outcome) for key, outcome in outcomes.items()))
    done = run_parallel(prepare_song, jobs, num_processes)
    quiet = not sys.stdout.isatty()
    with open(journal, "a", encoding="utf-8") as lines:
        for (song, *_), outcome in track(done, str(folder), total=len(jobs), disable=quiet):
            if outcome is None:
                outcome = Outcome(
                    rejected=[(song.files[0][1], "unreadable", "the decoder crashed")]
                )
            key = key_of[id(song)]
            outcomes[key] = outcome
            lines.write(_line(key, outcome))
            lines.flush()
    return [outcomes[key] for key in keys]


def _key(song: Song, settings: Settings) -> str:
    """Changes when the settings or any file of the song change."""
    files = []
    for stem, path in song.files:
        try:
            stat = os.stat(path)
            files.append((stem, path, stat.st_size, stat.st_mtime_ns))
        except OSError:
            files.append((stem, path, -1, -1))
    # the audio of an unlabelled song is the same in every split
    split = "" if isinstance(settings, UnlabelledSettings) else song.split
    content = [VERSION, asdict(settings), song.name, split, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _line(key: str, outcome: Outcome) -> str:
    return json.dumps({"key": key, **asdict(outcome)}) + "\n"


def _read_journals(folder: Path) -> dict[str, Outcome]:
    known = {}
    for path in (folder / JOURNAL, *folder.glob(SHARD_JOURNAL.format("*", "*"))):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                content = json.loads(line)
                tracks = [PreparedTrack(**track) for track in content["tracks"]]
                rejected = [tuple(row) for row in content["rejected"]]
                if any(reason == "file_name" for _, reason, _ in rejected):
                    continue  # of an earlier version, which refused some names
                known[content["key"]] = Outcome(tracks, rejected, content["content"])
            except (ValueError, TypeError, KeyError):
                continue  # half a line of a killed run
    return known


def _stored(outcome: Outcome, folder: Path) -> bool:
    return all((folder / track.path).is_file() for track in outcome.tracks)


def _finished(folder: Path) -> tuple[Manifest, pd.DataFrame] | None:
    """The tables of a finished run, if all of them and all audio are there."""
    try:
        rejected = pd.read_csv(folder / "rejected.csv", dtype=str, keep_default_na=False)
        return read_manifest(folder), rejected
    except (UserError, OSError, ValueError):
        return None


def _check_songs(songs: list[Song], settings: Settings, folder: Path) -> None:
    """See that no two songs would be stored under one name, and that none is where we delete."""
    unlabelled = isinstance(settings, UnlabelledSettings)
    ours = os.path.join(os.path.abspath(folder), "")
    seen: dict[str, str] = {}
    for song in songs:
        for stem, path in song.files:
            place = stored_path(song, None if unlabelled else stem, settings.store)
            if place in seen:
                raise UserError(
                    f"'{seen[place]}' and '{path}' are both listed as song '{song.name}'; "
                    "give every song a name of its own"
                )
            seen[place] = path
            if path.startswith(ours):
                raise UserError(f"'{path}' lies in '{folder}', the folder to write to")


def _check_folder(folder: Path) -> None:
    """Make the folder, or see that it is one of ours: what is not listed in it gets deleted."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / JOURNAL).exists():
        raise UserError(f"'{folder}' holds other files; name a new folder to write to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / JOURNAL, "a", encoding="utf-8"):
            pass  # marks the folder as ours
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written ({error.strerror})") from error


def _prune(folder: Path, wanted: set[str]) -> None:
    """Delete stored audio that no table lists: rejected, removed from the corpus, or cut off."""
    wanted = {os.path.abspath(path) for path in wanted}
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = os.path.join(parent, name)
            if os.path.abspath(path) not in wanted:
                os.unlink(path)
        if not os.listdir(parent):
            os.rmdir(parent)
