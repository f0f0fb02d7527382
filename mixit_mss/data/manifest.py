"""Tables that preparation writes for training: tracks, and segments as (track, start, frames).

A segment takes 16 bytes in three flat arrays and no Python object, so six million of them fit in
memory and data-loading workers share them without a copy (see :mod:`shared`).  In memory the id of
a track is its row, and segments are sorted by track.

In the files, names of songs and stems are printable text (:func:`mixit_mss.names.printable`).  In
``path``, ``%XX`` stands for the byte XX of a file name.  Line ends and other control characters,
bytes that are not UTF-8, and a percent sign followed by two hexadecimal digits are escaped so; the
rest of a name is written as it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mixit_mss.errors import UserError
from mixit_mss.files import atomic_path
from mixit_mss.names import path_of, path_text, printable
from mixit_mss.tables import Kind, columns_of, read_large_table

TRACK_COLUMNS = {
    "track": "int64",
    "song": "str",
    "stem": "str",
    "split": "str",
    "path": "str",
    "frames": "int64",
    "sample_rate": "int64",
    "channels": "int64",
    "license": "str",
    "content": "str",
}
LATER_COLUMNS = ("content",)  # optional: added later
SEGMENT_COLUMNS = {"track": "int64", "start": "int64", "frames": "int64"}
SPLITS = ("train", "valid", "test")
# A path that climbs at most this many folders is written relative to its table, so that a recipe's
# folder can be moved: data/<corpus>/tracks.csv -> ../../downloads/<song>.
MAX_CLIMB = 2
MOST_BYTES = 2**30  # 40 million segments


class Segments(NamedTuple):
    """Flat arrays over segments: ``track`` (row of the track table), ``start``, ``frames``."""

    track: np.ndarray  # int32
    start: np.ndarray  # int64, samples
    frames: np.ndarray  # int32, samples per channel


NO_SEGMENTS = Segments(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int32))


@dataclass
class Manifest:
    """Tracks and segments of one corpus or of several.

    Attributes:
        tracks: one row per audio file, columns ``TRACK_COLUMNS``; ``path`` is absolute, ``track``
            the row number, ``content`` the sha256 of the samples, empty if unknown.
        segments: sorted by track.
        name: its origin, for messages.
    """

    tracks: pd.DataFrame
    segments: Segments
    name: str = ""

    def select(self, split: str | None = None, stem: str | None = None) -> Manifest:
        """The tracks of one split and/or stem with their segments, renumbered."""
        wanted = np.ones(len(self.tracks), dtype=bool)
        for column, value in (("split", split), ("stem", stem)):
            if value is not None:
                wanted &= (self.tracks[column] == value).to_numpy()
        tracks = self.tracks[wanted].reset_index(drop=True)
        tracks["track"] = np.arange(len(tracks))
        kept = wanted[self.segments.track]
        new_ids = (np.cumsum(wanted) - 1).astype(np.int32)
        segments = Segments(
            new_ids[self.segments.track[kept]],
            self.segments.start[kept],
            self.segments.frames[kept],
        )
        return Manifest(tracks, segments, self.name)

    def stems(self) -> list[str]:
        """Names of the stems, in the order of the tracks."""
        return list(dict.fromkeys(self.tracks["stem"]))

    def digest(self, *splits: str) -> str:
        """sha256 digest of everything in these splits (default: all) that a reader can see.

        A track enters by the digest of its samples, or if that is unknown by the size and
        modification time of its file, but not by its path.  So the digest stays the same if the
        corpus is moved or other splits change.
        """
        digest = hashlib.sha256()
        for split in splits or SPLITS:
            part = self.select(split=split)
            tracks = part.tracks[list(TRACK_COLUMNS)].drop(columns=["path", "content"])
            content = [
                content or _look(path)
                for content, path in zip(part.tracks["content"], part.tracks["path"], strict=True)
            ]
            table = tracks.assign(content=content).to_csv(index=False)
            digest.update(table.encode("utf-8", "surrogatepass"))
            for column in part.segments:
                digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    @property
    def offsets(self) -> np.ndarray:
        """(track + 1,) int64: segments of track t are ``offsets[t]`` to ``offsets[t + 1] - 1``."""
        counts = np.bincount(self.segments.track, minlength=len(self.tracks))
        return np.concatenate([[0], np.cumsum(counts)])

    @property
    def hours(self) -> float:
        """Total length of all tracks."""
        return float((self.tracks["frames"] / self.tracks["sample_rate"]).sum() / 3600)


def manifest_paths(stem_path: str | Path) -> tuple[Path, Path]:
    """Paths of both tables: FOLDER/{tracks,segments}.csv, or STEM.{tracks,segments}.csv."""
    path = Path(os.path.abspath(stem_path))
    if path.is_dir():
        return path / "tracks.csv", path / "segments.csv"
    return path.with_name(f"{path.name}.tracks.csv"), path.with_name(f"{path.name}.segments.csv")


def require_tables(stem_path: str | Path) -> None:
    """Raise UserError unless both tables exist."""
    for path in manifest_paths(stem_path):
        if not path.is_file():
            raise UserError(f"'{path}' does not exist; run the stage that writes it")


def read_manifest(stem_path: str | Path, check_files: bool = True) -> Manifest:
    """Read and check ``<stem_path>.tracks.csv`` and ``<stem_path>.segments.csv``.

    Args:
        stem_path: for instance ``manifests/labelled``, or a corpus folder with the two tables.
        check_files: whether every audio file must exist.

    Raises:
        UserError: names the table, column and line of the first error.
    """
    require_tables(stem_path)
    tracks_path, segments_path = manifest_paths(stem_path)
    tracks = _read_table(tracks_path, TRACK_COLUMNS)
    if "content" not in tracks:
        tracks["content"] = ""
    rows = _read_table(segments_path, SEGMENT_COLUMNS)
    for column in ("song", "stem"):
        tracks[column] = list(map(printable, tracks[column]))
    paths = [os.path.normpath(tracks_path.parent / path_of(path)) for path in tracks["path"]]
    tracks["path"] = pd.Series(paths, dtype=object)  # object: a name may not be UTF-8
    _check_tracks(tracks, tracks_path, check_files)
    row_of = pd.Index(tracks["track"]).get_indexer(rows["track"])
    _check_segments(tracks, row_of, rows, segments_path)
    segments = Segments(
        row_of.astype(np.int32), rows["start"].to_numpy(), rows["frames"].to_numpy(np.int32)
    )
    tracks["track"] = np.arange(len(tracks))
    return Manifest(tracks, _sorted(segments), str(stem_path))


def write_manifest(stem_path: str | Path, manifest: Manifest) -> None:
    """Write both tables, each atomically; see :func:`read_manifest`."""
    tracks_path, segments_path = manifest_paths(stem_path)
    tracks = manifest.tracks[list(TRACK_COLUMNS)].copy()
    tracks["path"] = [path_text(portable_path(path, tracks_path.parent)) for path in tracks["path"]]
    segments = pd.DataFrame(manifest.segments._asdict())
    for path, table in ((segments_path, segments), (tracks_path, tracks)):
        write_table(path, table)


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write one CSV table atomically."""
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def make_manifest(rows: Iterable[dict], segments: Iterable[tuple], name: str = "") -> Manifest:
    """Make a manifest from track rows and their segments.

    Args:
        rows: dicts of ``TRACK_COLUMNS`` without ``track``.
        segments: for each row, a pair (starts, frames of every segment) in samples.
        name: its origin, for messages.
    """
    tracks = pd.DataFrame(list(rows), columns=list(TRACK_COLUMNS))
    tracks["content"] = tracks["content"].fillna("")
    tracks["track"] = np.arange(len(tracks))
    parts = [
        (np.full(len(starts), track, np.int32), starts, np.full(len(starts), frames, np.int32))
        for track, (starts, frames) in enumerate(segments)
    ]
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)] or NO_SEGMENTS
    return Manifest(tracks, Segments(joined[0], joined[1].astype(np.int64), joined[2]), name)


def concatenate(manifests: list[Manifest], name: str = "") -> Manifest:
    """Concatenate several manifests; tracks are renumbered."""
    offsets = np.cumsum([0] + [len(manifest.tracks) for manifest in manifests]).astype(np.int32)
    tracks = pd.concat([manifest.tracks for manifest in manifests], ignore_index=True)
    tracks["track"] = np.arange(len(tracks))
    tables = [manifest.segments for manifest in manifests]
    segments = Segments(
        np.concatenate(
            [table.track + first for table, first in zip(tables, offsets, strict=False)]
        ),
        np.concatenate([table.start for table in tables]),
        np.concatenate([table.frames for table in tables]),
    )
    return Manifest(tracks, segments, name)


def gaps(songs: Manifest) -> list[str]:
    """Notes on what later stages will miss in a corpus: a split, or a stem that is never active."""
    labelled = bool((songs.tracks["stem"] != "mixture").any())
    per_split = songs.tracks.groupby("split")["song"].nunique()
    needed = {"train": 1, "valid": 1, "test": 1} if labelled else {"train": 2, "valid": 2}
    lines = [
        f"  note: songs in split '{split}': {per_split.get(split, 0)}; training and scoring need "
        f"{count} or more"
        for split, count in needed.items()
        if per_split.get(split, 0) < count
    ]
    train = songs.select(split="train")
    sounding = set(train.tracks["stem"].to_numpy()[train.segments.track])
    silent = [stem for stem in train.stems() if stem not in sounding]
    if labelled and silent:
        lines.append(f"  note: no segment of {', '.join(silent)} in any training song")
    return lines


def portable_path(path: str | Path, folder: str | Path) -> str:
    """``path`` relative to ``folder`` if that climbs at most two folders, else absolute.

    Links are not followed, since a data folder may be a link to another disk.
    """
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute, os.path.abspath(folder))
    return relative if Path(relative).parts.count("..") <= MAX_CLIMB else absolute


def _read_table(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    header = columns_of(path, MOST_BYTES)
    wanted = [name for name in columns if name in header or name not in LATER_COLUMNS]
    kinds = {name: Kind(columns[name]) for name in wanted}
    return read_large_table(path, kinds, MOST_BYTES)


def _look(path: str) -> str:
    try:
        stat = os.stat(path)
    except OSError:
        return "missing"
    return f"{stat.st_size} bytes of {stat.st_mtime_ns}"


def _check_tracks(tracks: pd.DataFrame, path: Path, check_files: bool) -> None:
    for name in ("frames", "sample_rate", "channels"):
        values = tracks[name].to_numpy()
        lowest = 0 if name == "frames" else 1
        _first(values < lowest, path, name, lambda row, v=values: f"{v[row]} is too small")
    for name in ("song", "stem"):
        _first(tracks[name] == "", path, name, lambda row: "it is empty")
    _first(tracks["track"].duplicated(), path, "track", lambda row: "the id is there twice")
    split = tracks["split"]
    _first(
        ~split.isin(SPLITS),
        path,
        "split",
        lambda row: f"'{split[row]}' is not train, valid or test",
    )
    if check_files:
        missing = np.array([not os.path.isfile(name) for name in tracks["path"]], dtype=bool)
        _first(missing, path, "path", lambda row: f"'{tracks['path'][row]}' does not exist")


def _check_segments(
    tracks: pd.DataFrame, track: np.ndarray, rows: pd.DataFrame, path: Path
) -> None:
    start, frames = rows["start"].to_numpy(), rows["frames"].to_numpy()
    _first(track < 0, path, "track", lambda row: "the track table has no such id")
    _first(start < 0, path, "start", lambda row: f"{start[row]} is negative")
    _first(frames < 1, path, "frames", lambda row: f"{frames[row]} is not positive")
    _first(frames >= 2**31, path, "frames", lambda row: f"{frames[row]} is too large")
    length = tracks["frames"].to_numpy()
    beyond = start + frames > length[track]
    _first(
        beyond,
        path,
        "frames",
        lambda row: f"ends after the {length[track[row]]} samples of its track",
    )


def _first(bad, path: Path, column: str, what) -> None:
    """Raise UserError for the first true value of ``bad``, if there is one."""
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        row = int(bad.argmax())
        raise UserError(f"'{path}', column '{column}', line {row + 2}: {what(row)}")


def _sorted(segments: Segments) -> Segments:
    if (np.diff(segments.track) >= 0).all():
        return segments
    order = np.argsort(segments.track, kind="stable")
    return Segments(*(values[order] for values in segments))
