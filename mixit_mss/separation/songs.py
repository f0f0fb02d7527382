"""List the songs that a command works on, and name each of them."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np

from mixit_mss import audio
from mixit_mss.corpora.folder import find_unlabelled
from mixit_mss.errors import UserError
from mixit_mss.names import distinct, printable, relative_path
from mixit_mss.stamps import own_files

if TYPE_CHECKING:
    from mixit_mss.data.manifest import Manifest

COMMAND = "separate"  # name of the command in its stamps
# Files that often lie next to songs but are not songs: pictures, texts, lists.
COMPANIONS = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff", "svg", "heic", "ico"),
        *("txt", "md", "rtf", "pdf", "doc", "docx", "htm", "html", "xml", "nfo", "diz", "url"),
        *("cue", "log", "m3u", "m3u8", "pls", "xspf", "json", "csv", "tsv", "lrc", "sfv", "md5"),
        *("accurip", "ffp", "ini", "db", "zip", "rar", "7z", "torrent", "yaml", "yml"),
    )
)


@dataclass(frozen=True)
class Song:
    """A mixture: its name, and the files that sum to it (one file, unless only stems exist)."""

    name: str
    parts: tuple[Path, ...]


@dataclass(frozen=True)
class Listing:
    """Songs, and a line about the given files that are not songs (empty if there are none)."""

    songs: list[Song]
    left_out: str = ""


@dataclass(frozen=True)
class _File:
    """A candidate: its path, its preferred name, and how many parts of the path the name covers."""

    path: Path
    name: str
    depth: int
    why_not: str = ""


def find_songs(paths: Sequence[str | Path], out: str | Path | None = None) -> list[Song]:
    """The songs of :func:`list_songs`."""
    return list_songs(paths, out).songs


def list_songs(paths: Sequence[str | Path], out: str | Path | None = None) -> Listing:
    """List the songs among files, folders and globs, in order.

    A song's name is its file name without suffix, or its folder's name if the file is called
    ``mixture``.  A folder gives every audio file below it, named by its path there; a folder with a
    ``mixture`` gives only that.  Files that would share a name keep their suffix, or are prefixed
    with as many folder names as are needed to tell them apart.  A pattern such as ``album/*.mp3``
    or ``music/**/*.flac`` stands for its matches, unless a file has exactly that name.  A missing
    or broken file is kept: it fails when its turn comes, and the other songs go on.

    Pictures, texts and folders without audio are left out if there are songs beside them, and so
    are stems that ``mixit-mss separate`` wrote, according to its stamps.  A file that is given
    twice, directly or through a link, is one song.

    Args:
        paths: files, folders or patterns.
        out: the folder of the results; if it lies below a folder of ``paths``, it holds no songs.

    Raises:
        UserError: a name is empty, or the folders have no songs and nothing else was given.
    """
    found: list[_File] = []
    empty: list[tuple[Path, UserError]] = []
    besides: list[tuple[Path, str]] = []
    for path in itertools.chain.from_iterable(map(_matches, paths)):
        if not os.path.isdir(path):
            found.append(_File(path, _first_name(path), 1, _why_not(path, out)))
            continue
        try:
            files, others = _files_in(path, out)
            found += files
            besides += others
        except UserError as error:
            empty.append((path, error))
    chosen = [file for file in found if not file.why_not] or found
    if not chosen and empty:
        raise empty[0][1]
    left_out = [(file.path, file.why_not) for file in found if file not in chosen]
    left_out += besides + [(path, "a folder without songs") for path, _ in empty]
    songs, twins = _once(chosen)
    names = apart([_names(file) for file in songs])
    return Listing(
        [Song(name, (file.path,)) for name, file in zip(names, songs, strict=True)],
        _in_one_line(left_out + twins),
    )


def manifest_songs(manifest: Manifest, split: str) -> list[Song]:
    """Mixtures of one split of a labelled manifest; a song without one is the sum of its stems.

    Raises:
        UserError: the split is empty, or two songs would share an output folder.
    """
    tracks = manifest.select(split=split).tracks
    songs: list[Song] = []
    places: dict[object, str] = {}
    for name, rows in tracks.groupby("song", sort=True):
        mixtures = rows[rows.stem == "mixture"]
        paths = (mixtures if len(mixtures) else rows).path
        songs.append(Song(str(name), tuple(map(Path, paths))))
        other = places.setdefault(relative_path(str(name)), str(name))
        if other != name:
            raise UserError(
                f"{manifest.name}: songs '{printable(other)}' and '{printable(name)}' would be kept "
                "in one folder; rename one of them"
            )
    if not songs:
        raise UserError(f"{manifest.name} has no song in split '{split}'; choose another --split")
    return songs


def below_rate(songs: Manifest, sample_rate: int) -> str:
    """A sentence about songs with a lower rate than the network's ``sample_rate`` (Hz), or empty.

    Such songs are resampled as they are read, which does not restore the missing high frequencies.
    """
    tracks = songs.tracks
    low = tracks[tracks["sample_rate"] < sample_rate]
    if not len(low):
        return ""
    lowest = int(low["sample_rate"].min())
    return (
        f"note: {len(low)} of {len(tracks)} files of {songs.name} are at {lowest} Hz or more but below "
        f"the network's {sample_rate} Hz: they are converted, and hold nothing above "
        f"{lowest / 2000:g} kHz"
    )


def apart(candidates: Sequence[Iterator[str]]) -> list[str]:
    """A name for each file: its first candidate, or a later one if two would share a path.

    Some file systems treat names as equal that differ only in Unicode normalisation (NFC and NFD);
    such names get a checksum.

    Args:
        candidates: for each file, an endless iterator over its possible names.
    """
    names = [next(each) for each in candidates]
    while True:
        holders: dict[PurePath, list[int]] = {}
        for index, name in enumerate(names):
            holders.setdefault(relative_path(name), []).append(index)
        clashing = [index for group in holders.values() if len(group) > 1 for index in group]
        if not clashing:
            letters = [unicodedata.normalize("NFC", name) for name in names]
            counts = Counter(letters)
            return [
                distinct(name) if counts[letter] > 1 else name
                for name, letter in zip(names, letters, strict=True)
            ]
        for index in clashing:
            names[index] = next(candidates[index])


class MixtureStream:
    """A song's mixture in blocks (channel, sample), float32, in bounded memory; iterate once.

    Args:
        song: the song.
        audio_stream: number of the audio stream in its files, from 1; see
            :func:`mixit_mss.audio.stream`.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        frames: samples per channel according to the header, or None.
        warnings: after iteration, the decoder's lines about damage.
        notes: after iteration, sentences about files that differ from their headers.

    Raises:
        UserError: a file cannot be read, or the parts do not match (in some cases found only while
            iterating).
    """

    def __init__(self, song: Song, audio_stream: int | None = None) -> None:
        self._song = song
        self._streams = [audio.stream(path, stream=audio_stream) for path in song.parts]
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

    @property
    def notes(self) -> list[str]:
        """Sentences about files that differ from their headers or are only used in part."""
        return [note for stream in self._streams for note in stream.notes]

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
    """The path itself, or its matches if it is a pattern and not a file."""
    text = os.fspath(path)
    if not text:
        raise UserError("an empty name was given as a song; give a file, a folder or a pattern")
    if "\0" in text:
        raise UserError(f"no file is called '{printable(text)}': the name holds a NUL character")
    if os.path.lexists(text) or not glob.has_magic(text):
        return [Path(text)]
    return [Path(found) for found in sorted(glob.glob(text, recursive=True))] or [Path(text)]


def _why_not(path: Path, out: str | Path | None) -> str:
    """Why a given file is not a song when others are; empty if it may be one."""
    if path.suffix.lower() in COMPANIONS:
        return "no audio"
    if out is not None and _is_inside(path, out) and _is_estimate(path):
        return "a stem that is there already"
    return ""


def _files_in(folder: Path, out: str | Path | None) -> tuple[list[_File], list[tuple[Path, str]]]:
    """Songs of a folder, and its other files, each with the reason why it is not a song.

    Files in ``out``, if that is below the folder, and stems that we wrote are not songs.
    """
    below = out is not None and _is_inside(out, folder)
    listed = find_unlabelled(folder)
    paths = {Path(record.path): record.song for record in listed.songs}
    others = [
        (Path(path), why)
        for path, why in listed.left_out
        if not (below and _is_inside(path, str(out)))
    ]
    for path in list(paths):
        if _is_estimate(path) or (below and _is_inside(path, str(out))):
            del paths[path]
    if not paths:
        raise UserError(
            f"'{printable(folder)}' holds no song but what mixit-mss separate wrote; name files to "
            "separate them again"
        )
    mixed = {path.parent for path in paths if path.stem == "mixture"}
    top = len(Path(os.path.abspath(folder)).parts)
    files = [
        _File(path, _first_name(path), 1)
        if path.stem == "mixture"
        else _File(path, name, len(path.parts) - top)
        for path, name in paths.items()
        if path.stem == "mixture" or path.parent not in mixed
    ]
    return files, others


def _is_estimate(path: Path) -> bool:
    return path.name in own_files(path.parent, COMMAND)


def _is_inside(path: str | Path, folder: str | Path) -> bool:
    """Whether a path lies below a folder (links are resolved) and is not the folder itself."""
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def _once(files: Iterable[_File]) -> tuple[list[_File], list[tuple[Path, str]]]:
    """Every file once, and the duplicates: other paths to the same file."""
    first: dict[object, _File] = {}
    twins = []
    for file in files:
        try:
            stat = os.stat(file.path)
            key: object = (stat.st_dev, stat.st_ino)
        except (OSError, ValueError):
            key = os.path.abspath(file.path)
        other = first.setdefault(key, file)
        if os.path.abspath(other.path) != os.path.abspath(file.path):
            twins.append((file.path, f"the same file as '{printable(other.path)}'"))
    return list(first.values()), twins


def _first_name(path: Path) -> str:
    if path.stem != "mixture":
        return printable(path.stem)
    return printable(Path(os.path.abspath(path)).parent.name or path.stem)


def _names(file: _File) -> Iterator[str]:
    """Possible names of a file, from short to long, without end."""
    yield file.name
    path = Path(os.path.abspath(file.path))
    parts = path.parts[1:]
    is_mixture = path.stem == "mixture" and len(parts) > 1
    for count in range(file.depth, len(parts) + 1):
        folders = parts[len(parts) - count : -1]
        if is_mixture and folders:
            yield printable("/".join(folders))
        elif not is_mixture:
            yield printable("/".join((*folders, path.stem)))
            yield printable("/".join((*folders, path.name)))
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()
    for digits in itertools.count(8):
        yield f"{printable('/'.join(parts))}~{mark[:digits]}"


def _in_one_line(left_out: list[tuple[Path, str]]) -> str:
    if not left_out:
        return ""
    shown = [f"'{printable(path)}' ({why})" for path, why in left_out[:5]]
    more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    return f"left out: {', '.join(shown)}{more}"
