"""Your own songs: a folder of songs, or one folder per song with its stems.

A file is a song if it holds audio, whatever its name is.  Opening a hundred thousand files would
take an hour, so files with an audio suffix are taken, files with the suffix of a picture, a text or
the like are not, and only the others are opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath

from mixit_mss import audio
from mixit_mss.corpora import Record
from mixit_mss.corpora.table import listed_songs
from mixit_mss.data.manifest import SPLITS
from mixit_mss.errors import UserError

# Lossless formats first: of two files for one stem, the earlier suffix is taken.
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".aiff", ".aif", ".w64", ".caf", ".wv", ".ape", ".wave", ".aifc", ".rf64"),
    *(".au", ".snd", ".tta", ".tak", ".shn"),
    *(".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".mka", ".mp2", ".m4b", ".spx"),
    *(".ac3", ".eac3", ".dts", ".mpc", ".weba", ".amr"),
)
# Videos may have no sound, and .ts is more often TypeScript.
VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".flv", ".ts")
SUFFIXES = (*AUDIO_SUFFIXES, *VIDEO_SUFFIXES)  # in the order in which stems are taken
_OTHERS = (
    "jpg jpeg png gif bmp webp tif tiff svg ico heic psd pdf txt md rst html htm xml json "
    "jsonl yaml yml toml ini cfg csv tsv log nfo cue m3u m3u8 pls xspf accurip sfv md5 sha1 "
    "sha256 lrc srt vtt ass sub mid midi musicxml mscz gp gp5 py pyc ipynb sh bat c h cpp js "
    "css lock doc docx xls xlsx ppt pptx odt ods zip gz bz2 xz zst tar 7z rar iso exe dll so "
    "torrent url lnk db sqlite plist partial part tmp bak npy npz pkl pt pth ckpt safetensors "
    "h5 hdf5 parquet tfrecord "
)
OTHER_SUFFIXES = frozenset(f".{name}" for name in _OTHERS.split())
NAMED = 5  # files in a sentence
NO_AUDIO, HIDDEN = "no audio", "hidden"
UNKNOWN_STEM, STRAY = "a stem that was not asked for", "in no song of train, valid or test"
MORE_IN_IT = "a mixture with stems that were not asked for"
APART, SECOND = "among the songs with stems", "another file of this stem was taken"
REASONS = {
    NO_AUDIO: "no_audio",
    HIDDEN: "hidden",
    UNKNOWN_STEM: "undeclared_stem",
    MORE_IN_IT: "undeclared_stem",
    STRAY: "no_split",
    APART: "labelled",
    SECOND: "second_file",
}
"""Reason codes in ``rejected.csv``."""
MISNAMED = {
    **dict.fromkeys(("training", "trains"), "train"),
    **dict.fromkeys(("validation", "validate", "val", "dev", "development"), "valid"),
    **dict.fromkeys(("testing", "tests", "eval", "evaluation"), "test"),
}
"""Other common names of the splits."""


@dataclass
class Found:
    """Contents of a folder.

    Attributes:
        songs: the records of all audio files, sorted.
        left_out: path and reason of each other file, such as ``("a/cover.jpg", "no audio")``.
    """

    songs: list[Record] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def rejected(self) -> list[tuple[str, str, str]]:
        """Path, reason code and explanation of each left-out file, for ``rejected.csv``."""
        return [(path, REASONS[why], why) for path, why in self.left_out]

    def words(self) -> str:
        """A sentence to print: how many files were left out, and why; empty if none were."""
        parts = []
        for reason in dict.fromkeys(reason for _, reason in self.left_out):
            names = [os.path.basename(path) for path, why in self.left_out if why == reason]
            few = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
            parts.append(f"{len(names)} ({reason}): {few}")
        count = len(self.left_out)
        files = "1 file was" if count == 1 else f"{count} files were"
        return f"{files} left out; {'; '.join(parts)}" if parts else ""


def find_unlabelled(folder: str | Path, apart: Collection[str] = ()) -> Found:
    """List every song at any depth below ``folder``, except hidden files and folders.

    Files at or below the real paths ``apart`` are left out too.

    A song's name is its path below ``folder`` without the suffix, or with it if two files would
    share the name.  Only a single leading dot hides a file: ``...Baby`` is not hidden.

    Raises:
        UserError: there is no such folder, or no song in it.
    """
    found, paths = Found(), []
    root = _existing(folder)
    hidden: list[str] = []
    for path in sorted(_files(root, hidden)):
        name = os.path.basename(path)
        if _is_hidden(name):
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("._"):
                found.left_out.append((path, HIDDEN))
        elif apart and _is_below(path, apart):
            if name.lower().endswith(AUDIO_SUFFIXES):
                found.left_out.append((path, APART))
        elif _is_song(path):
            paths.append(path)
        else:
            found.left_out.append((path, NO_AUDIO))
    found.left_out += [(path, HIDDEN) for place in sorted(hidden) for path in _called_audio(place)]
    if not paths:
        count = sum(why == APART for _, why in found.left_out)
        but = f" but {count} {APART}" if count else ""
        raise UserError(f"'{folder}' holds no song, that is, no file with audio in it{but}")
    names = [PurePath(path).relative_to(root) for path in paths]
    short = [_without_suffix(name) for name in names]
    taken = Counter(short) + Counter(name.as_posix() for name in names)
    found.songs = [
        Record(path, brief if taken[brief] == 1 else name.as_posix(), "mixture")
        for path, name, brief in zip(paths, names, short, strict=True)
    ]
    return found


def unlabelled_songs(folder: str | Path) -> list[Record]:
    """The songs that :func:`find_unlabelled` finds.

    Raises:
        UserError: there is no such folder, or no song in it.
    """
    return find_unlabelled(folder).songs


def find_labelled(folder: str | Path, stems: list[str]) -> Found:
    """List the stems and mixtures of a folder in the layout of MUSDB18-HQ.

    The layout is ``folder/{train,valid,test}/<song>/{mixture,<stem>, ...}.<suffix>``; the case of
    stem names and suffixes does not matter, and ``mixture`` and all splits but train may be
    missing.  A song that lacks a stem is listed with the files that it has.  Stems that were not
    asked for are left out, and so is then the song's ``mixture``, because it contains them: in
    every split, the mixture is the sum of the requested stems.

    Raises:
        UserError: there is no such folder, or no song with a stem in it, or a split has another
            name, such as ``validation``.
    """
    root, found = _existing(folder), Found()
    _check_splits(root)
    for split in sorted(os.listdir(root), key=_split_order):
        if not (root / split).is_dir():
            continue
        if split not in SPLITS:
            why = HIDDEN if _is_hidden(split) else STRAY
            found.left_out += [(path, why) for path in _called_audio(root / split)]
            continue
        for song in sorted((root / split).iterdir(), key=lambda entry: entry.name):
            if not song.is_dir():
                if song.name.lower().endswith(AUDIO_SUFFIXES):
                    found.left_out.append((str(song), STRAY))
            elif _is_hidden(song.name):
                found.left_out += [(path, HIDDEN) for path in _called_audio(song)]
            else:
                _add_stems(found, song, split, stems)
    if not any(record.stem != "mixture" for record in found.songs):
        raise UserError(
            f"'{folder}' holds no stem; it needs train/<song>/{stems[0]}.wav and so on, "
            "and likewise valid/ and test/"
        )
    return found


def labelled_songs(folder: str | Path, stems: list[str]) -> list[Record]:
    """The stems and mixtures that :func:`find_labelled` finds.

    Raises:
        UserError: there is no such folder, or no song with a stem in it.
    """
    return find_labelled(folder, stems).songs


def songs_apart(place: str | Path) -> list[str]:
    """Real paths of the songs in a labelled folder or table: the folder's splits, or all files."""
    if os.path.isfile(place):
        return [os.path.realpath(record.path) for record in listed_songs(place)]
    return [os.path.realpath(os.path.join(place, split)) for split in SPLITS]


def without_mixtures_of_more(records: Sequence[Record], stems: Collection[str]) -> Found:
    """Reduce a corpus to some of its stems.

    As in :func:`find_labelled`, a song that has other stems loses both these and its mixture.
    """
    known = {"mixture", *stems}
    with_more = {(r.split, r.song) for r in records if r.stem not in known}
    found = Found()
    for record in records:
        if record.stem not in known:
            found.left_out.append((record.path, UNKNOWN_STEM))
        elif record.stem == "mixture" and (record.split, record.song) in with_more:
            found.left_out.append((record.path, MORE_IN_IT))
        else:
            found.songs.append(record)
    return found


def _check_splits(root: Path) -> None:
    """Raise UserError if a split is missing and a folder looks like it under another name."""
    folders = {entry.name: entry for entry in sorted(root.iterdir()) if entry.is_dir()}
    for called, folder in folders.items():
        split = MISNAMED.get(called.lower(), called.lower())
        if called not in SPLITS and split in SPLITS and split not in folders:
            raise UserError(
                f"'{folder}' is no split, and there is no '{split}': rename it to '{split}'"
            )


def _add_stems(found: Found, song: Path, split: str, stems: list[str]) -> None:
    order = {suffix: rank for rank, suffix in enumerate(SUFFIXES)}
    known = {name.casefold(): name for name in ("mixture", *stems)}
    files: dict[str, list[tuple[bool, int, Path]]] = {}
    for path in sorted(song.iterdir()):
        written, suffix = os.path.splitext(path.name)
        if suffix.lower() not in order or path.name.startswith("._") or not path.is_file():
            continue
        if _is_hidden(path.name):
            found.left_out.append((str(path), HIDDEN))
            continue
        stem = written if written in stems else known.get(written.casefold(), written)
        files.setdefault(stem, []).append((stem != written, order[suffix.lower()], path))
    best = [Record(str(min(same)[-1]), song.name, stem, split) for stem, same in files.items()]
    kept = without_mixtures_of_more(best, stems)
    rank = {stem: number for number, stem in enumerate(("mixture", *stems))}
    found.songs += sorted(kept.songs, key=lambda record: rank[record.stem])
    found.left_out += sorted(kept.left_out)
    for same in files.values():
        found.left_out += [(str(path), SECOND) for *_, path in sorted(same)[1:]]


@lru_cache(maxsize=1024)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)


def _is_below(path: str, places: Collection[str]) -> bool:
    folder, name = os.path.split(path)
    real = os.path.realpath(path) if os.path.islink(path) else f"{_real_folder(folder)}/{name}"
    return any(real == place or real.startswith(f"{place}/") for place in places)


def _called_audio(folder: str | Path) -> Iterator[str]:
    return (
        path
        for path in sorted(_files(folder))
        if path.lower().endswith(AUDIO_SUFFIXES) and not os.path.basename(path).startswith("._")
    )


def _is_song(path: str) -> bool:
    if path.lower().endswith(AUDIO_SUFFIXES):
        return os.path.isfile(path)
    suffix = os.path.splitext(path)[1].lower()
    return suffix not in OTHER_SUFFIXES and audio.has_audio(path)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and not name.startswith("..")


def _without_suffix(name: PurePath) -> str:
    """The path without its last suffix, unless that would leave only dots of the file name."""
    brief = name.with_suffix("")
    return (brief if brief.name.strip(".") else name).as_posix()


def _split_order(name: str) -> tuple[int, str]:
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)


def _existing(folder: str | Path) -> Path:
    if not os.path.isdir(folder):
        raise UserError(f"'{folder}' is not a folder")
    return Path(os.path.abspath(folder))


def _files(folder: str | Path, hidden: list[str] | None = None) -> Iterator[str]:
    """Paths of files; follows links to folders, but enters no folder twice and no hidden one.

    Hidden folders are added to ``hidden``.
    """
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if hidden is not None:
            hidden += [os.path.join(parent, name) for name in folders if _is_hidden(name)]
        folders[:] = sorted(
            name for name in folders if not _is_hidden(name) and not name.startswith("__MACOSX")
        )
        yield from (os.path.join(parent, name) for name in files)
