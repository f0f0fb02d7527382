"""Anybody's own songs: a folder of songs, or one folder per song with its stems."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from mixit_mss.data.corpora import Record
from mixit_mss.data.manifest import SPLITS
from mixit_mss.errors import UserError

# Lossless formats first: of two files for one stem, the earlier suffix is taken.
SUFFIXES = (
    *(".wav", ".flac", ".aiff", ".aif", ".w64", ".caf", ".wv", ".ape"),
    *(".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".mka"),
)


def unlabelled_songs(folder: str | Path) -> list[Record]:
    """Every song at any depth below ``folder``, sorted; hidden files and folders are left out.

    A song's name is its path below ``folder`` without the suffix, or with it where the name would
    stand for two files.

    Raises:
        UserError: there is no such folder, or no song in it.
    """
    paths = sorted(_audio_files(_existing(folder)))
    if not paths:
        raise UserError(f"'{folder}' holds no song ({', '.join(SUFFIXES)})")
    names = [PurePath(path).relative_to(os.path.abspath(folder)) for path in paths]
    short = [name.with_suffix("").as_posix() for name in names]
    taken = Counter(short) + Counter(name.as_posix() for name in names)
    return [
        Record(path, brief if taken[brief] == 1 else name.as_posix(), "mixture")
        for path, name, brief in zip(paths, names, short, strict=True)
    ]


def labelled_songs(folder: str | Path, stems: list[str]) -> list[Record]:
    """Stems and mixtures of a folder in the layout of MUSDB18-HQ.

    The layout is ``folder/{train,valid,test}/<song>/{mixture,<stem>, ...}.<suffix>``; ``mixture``
    and the splits other than train may be missing.  A song that lacks a stem is listed with the
    files that it has.

    Raises:
        UserError: there is no such folder, or no song with a stem in it.
    """
    root = _existing(folder)
    records = []
    for split in SPLITS:
        if not (root / split).is_dir():
            continue
        songs = (entry for entry in (root / split).iterdir() if entry.is_dir())
        for song in sorted(songs, key=lambda entry: entry.name):
            if song.name.startswith("."):
                continue
            for stem in ("mixture", *stems):
                path = next(
                    (song / f"{stem}{s}" for s in SUFFIXES if _is_file(song, stem, s)), None
                )
                if path is not None:
                    records.append(Record(str(path), song.name, stem, split))
    if not any(record.stem != "mixture" for record in records):
        raise UserError(
            f"'{folder}' holds no stem; it needs train/<song>/{stems[0]}.wav and so on, "
            "and likewise valid/ and test/"
        )
    return records


def _is_file(song: Path, stem: str, suffix: str) -> bool:
    return (song / f"{stem}{suffix}").is_file()


def _existing(folder: str | Path) -> Path:
    if not os.path.isdir(folder):
        raise UserError(f"'{folder}' is not a folder")
    return Path(os.path.abspath(folder))


def _audio_files(folder: Path) -> Iterator[str]:
    """Paths of audio files, through links to folders, but into no folder twice."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in files:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield os.path.join(parent, name)
