"""Find validation and test songs that are also among the unlabelled songs of pre-training.

Songs are compared by the digests of their samples, which the tables of stage 1 have, and by the
files that they were made from: the same file, or a copy of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mixit_mss.data.manifest import Manifest
from mixit_mss.names import printable
from mixit_mss.preparation.journal import read_journals
from mixit_mss.stamps import content_digest

HELD_OUT = ("valid", "test")


def shared_samples(unlabelled: Manifest, labelled: Manifest) -> list[tuple[str, str]]:
    """Pairs of a held-out song and an unlabelled one with the same samples."""
    heard = _by_content(unlabelled, None)
    held = _by_content(labelled, HELD_OUT)
    return [(held[content], heard[content]) for content in held if content in heard]


def shared_files(
    unlabelled: Iterable[tuple[str, Manifest]], labelled: Iterable[tuple[str, Manifest]]
) -> list[tuple[str, str]]:
    """Pairs of a held-out song and an unlabelled one made from the same file or copies of it.

    A held-out mixture also matches if stage 1 would convert it to the samples of an unlabelled
    song.

    Args:
        unlabelled: folders that stage 1 wrote, with their tables.
        labelled: likewise.
    """
    heard: dict[str, str] = {}
    sounds: dict[str, str] = {}
    for folder, songs in unlabelled:
        heard |= {path: song for song, line in _lines(folder, songs) for path in _files(line)}
        sounds |= _by_content(songs, None)
    by_size: dict[int, list[str]] = {}
    for path in heard:
        by_size.setdefault(_size(path), []).append(path)
    pairs = []
    for folder, songs in labelled:
        for song, line in _lines(folder, songs, HELD_OUT):
            if line.get("heard") in sounds:
                pairs.append((song, sounds[line["heard"]]))
            for path in _files(line):
                alike = by_size.get(_size(path), []) if _size(path) > 0 else []
                same = (
                    other
                    for other in alike
                    if other == path or content_digest(other) == content_digest(path)
                )
                pairs += [(song, heard[other]) for other in same]
    return pairs


def sentence(pairs: Iterable[tuple[str, str]]) -> str:
    """Message about held-out songs that pre-training would use; empty if there are none."""
    first = dict(pairs)
    if not first:
        return ""
    song, other = next(iter(first.items()))
    count = "1 song" if len(first) == 1 else f"{len(first)} songs"
    return (
        f"{count} for validation or test would be heard in pre-training, such as "
        f"'{printable(song)}', which is '{printable(other)}' among the unlabelled songs; take them "
        "out there (mixit-mss segment --leave-out does it where they lie in one folder)"
    )


def _by_content(songs: Manifest, splits: tuple[str, ...] | None) -> dict[str, str]:
    tracks = songs.tracks if splits is None else songs.tracks[songs.tracks["split"].isin(splits)]
    pairs = zip(tracks["content"], tracks["song"], strict=True)
    return {content: song for content, song in pairs if content}


def _lines(
    folder: str, songs: Manifest, splits: tuple[str, ...] | None = None
) -> Iterator[tuple[str, dict]]:
    """Songs of these splits (default: all), each with its line in the journal of stage 1."""
    columns = (songs.tracks[name] for name in ("path", "song", "split"))
    listed = {path: (song, split) for path, song, split in zip(*columns, strict=True)}
    for line in read_journals(Path(folder)).lines.values():
        paths = [os.path.abspath(os.path.join(folder, track["path"])) for track in line["tracks"]]
        song, split = next((listed[path] for path in paths if path in listed), ("", ""))
        if song and (splits is None or split in splits):
            yield song, line


def _files(line: dict) -> list[str]:
    """Real paths of the files that a song was made from."""
    return [os.path.realpath(path) for path in line["files"]]


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return -1
