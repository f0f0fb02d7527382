"""Which songs a command works on, and what each is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixit_mss.data import audio
from mixit_mss.data.manifest import Manifest
from mixit_mss.errors import UserError


@dataclass(frozen=True)
class Song:
    """A mixture: its name, and the files whose sum it is (one, unless only stems exist)."""

    name: str
    parts: tuple[Path, ...]


def find_songs(paths: list[str | Path]) -> list[Song]:
    """Songs among files and folders, in order.

    A folder gives every audio file below it; one that holds a file called ``mixture`` gives only
    that, under the folder's name.  A file that is missing or broken is kept: it fails when its turn
    comes, and the rest go on.
    """
    found = []
    for path in map(Path, paths):
        inside = _audio_files(path) if path.is_dir() else [path]
        if not inside:
            raise UserError(
                f"{path} holds no audio file ({', '.join(sorted(audio.SUFFIXES))}); "
                "give a song or a folder of songs"
            )
        found += inside
    found = list(dict.fromkeys(found))
    return [Song(name, (path,)) for name, path in zip(_names(found), found, strict=True)]


def manifest_songs(manifest: Manifest, split: str) -> list[Song]:
    """Mixtures of one split of a labelled manifest; the sum of a song's stems where it has none."""
    tracks = manifest.select(split=split).tracks
    songs = []
    for name, rows in tracks.groupby("song", sort=True):
        mixtures = rows[rows.stem == "mixture"]
        paths = (mixtures if len(mixtures) else rows).path
        songs.append(Song(str(name), tuple(map(Path, paths))))
    if not songs:
        raise UserError(f"the manifest has no song in split '{split}'; choose another --split")
    return songs


def read_blocks(song: Song) -> Iterator[np.ndarray]:
    """The mixture in blocks (channel, sample), float32, in bounded memory."""
    streams = [audio.stream(path) for path in song.parts]
    try:
        for parts in zip(*streams, strict=True):
            yield np.sum(parts, axis=0, dtype=np.float32)
    except ValueError as error:
        raise UserError(
            f"the stems of {song.name} in {song.parts[0].parent} differ in length or channels, so "
            "they do not add up to a mixture; mend them, or add the mixture"
        ) from error


def _audio_files(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES)
    mixed = {path.parent for path in inside if path.stem == "mixture"}
    return [path for path in inside if path.stem == "mixture" or path.parent not in mixed]


def _names(paths: list[Path]) -> list[str]:
    """File names without suffix; with the folder's name where that alone is not unique."""
    short = [path.absolute().parent.name if path.stem == "mixture" else path.stem for path in paths]
    counts = Counter(short)
    names = [
        f"{path.absolute().parent.name}_{name}" if counts[name] > 1 else name
        for path, name in zip(paths, short, strict=True)
    ]
    for name, count in Counter(names).items():
        if count > 1:
            same = [str(path) for path, other in zip(paths, names, strict=True) if other == name]
            raise UserError(
                f"{' and '.join(same)} would both be written to '{name}'; "
                "separate them into different --out folders"
            )
    return names
