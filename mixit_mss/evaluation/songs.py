"""Which songs a command works on, and what each is called."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixit_mss.data import audio
from mixit_mss.data.corpora.folder import unlabelled_songs
from mixit_mss.errors import UserError

if TYPE_CHECKING:
    from mixit_mss.data.manifest import Manifest


@dataclass(frozen=True)
class Song:
    """A mixture: its name, and the files whose sum it is (one, unless only stems exist)."""

    name: str
    parts: tuple[Path, ...]


def find_songs(paths: Sequence[str | Path]) -> list[Song]:
    """Songs among files, folders and globs, in order.

    A file is called by its name without suffix, or by its folder's if it is just ``mixture``.  A
    folder gives every audio file below it, called by its path there; a folder that holds a
    ``mixture`` gives only that.  A pattern such as ``album/*.mp3`` or ``music/**/*.flac``, where no
    file has that very name, stands for what it matches.  A file that is missing or broken is kept:
    it fails when its turn comes, and the rest go on.

    Raises:
        UserError: a folder without songs, or two songs of one name.
    """
    songs = []
    for path in itertools.chain.from_iterable(map(_matches, paths)):
        songs += _songs_in(path) if path.is_dir() else [Song(_name(path), (path,))]
    by_name: dict[str, Song] = {}
    for song in songs:
        other = by_name.setdefault(song.name, song)
        if other.parts != song.parts:
            raise UserError(
                f"'{other.parts[0]}' and '{song.parts[0]}' would both be written to "
                f"'{song.name}'; separate them into different --out folders"
            )
    return list(by_name.values())


def manifest_songs(manifest: Manifest, split: str) -> list[Song]:
    """Mixtures of one split of a labelled manifest; the sum of a song's stems where it has none.

    Raises:
        UserError: the split is empty.
    """
    tracks = manifest.select(split=split).tracks
    songs = []
    for name, rows in tracks.groupby("song", sort=True):
        mixtures = rows[rows.stem == "mixture"]
        paths = (mixtures if len(mixtures) else rows).path
        songs.append(Song(str(name), tuple(map(Path, paths))))
    if not songs:
        raise UserError(f"{manifest.name} has no song in split '{split}'; choose another --split")
    return songs


class MixtureStream:
    """A song's mixture in blocks (channel, sample), float32, in bounded memory; iterate once.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel that the header promises, or None.
        warnings: at the end, the decoder's lines about damage.

    Raises:
        UserError: a file cannot be read, or (some only while iterating) the parts do not fit
            together.
    """

    def __init__(self, song: Song) -> None:
        self._song = song
        self._streams = [audio.stream(path) for path in song.parts]
        first = self._streams[0]
        self.sample_rate, self.channels, self.frames = (
            first.sample_rate,
            first.channels,
            first.frames,
        )
        if any(stream.sample_rate != self.sample_rate for stream in self._streams):
            raise self._misfit("sample rate")

    @property
    def warnings(self) -> list[str]:
        """The decoders' lines about damage so far."""
        return [line for stream in self._streams for line in stream.warnings]

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            for parts in zip(*self._streams, strict=True):
                yield np.add.reduce(parts, axis=0, dtype=np.float32)
        except ValueError as error:
            raise self._misfit("length or channels") from error

    def __enter__(self) -> MixtureStream:
        return self

    def __exit__(self, *_) -> None:
        for stream in self._streams:
            stream.__exit__()

    def _misfit(self, what: str) -> UserError:
        return UserError(
            f"the stems of {self._song.name} in '{self._song.parts[0].parent}' differ in {what}, "
            "so they do not add up to a mixture; mend them, or add the mixture"
        )


def _matches(path: str | Path) -> list[Path]:
    """The path itself, or what it matches if it is a pattern and no file."""
    text = os.fspath(path)
    if os.path.exists(text) or not glob.has_magic(text):
        return [Path(text)]
    return [Path(found) for found in sorted(glob.glob(text, recursive=True))] or [Path(text)]


def _songs_in(folder: Path) -> list[Song]:
    paths = {Path(record.path): record.song for record in unlabelled_songs(folder)}
    mixed = {path.parent for path in paths if path.stem == "mixture"}
    return [
        Song(_name(path) if path.stem == "mixture" else name, (path,))
        for path, name in paths.items()
        if path.stem == "mixture" or path.parent not in mixed
    ]


def _name(path: Path) -> str:
    return path.absolute().parent.name if path.stem == "mixture" else path.stem
