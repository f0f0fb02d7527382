"""The Free Music Archive dataset (M. Defferrard et al., ISMIR 2017): its archives and tracks.

ROOT/fma_metadata/tracks.csv describes every track; ROOT/fma_<subset>/012/012345.mp3 is its audio.
Some of the MP3 files are empty, short or broken although their checksums are right; stage 1 finds
them by decoding.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mixit_mss.corpora import Record
from mixit_mss.errors import UserError
from mixit_mss.fetch.archives import Archive
from mixit_mss.tables import check_text

if TYPE_CHECKING:
    import pandas as pd

BASE_URL = "https://os.unil.cloud.switch.ch/fma"
SUBSETS = ("small", "medium", "large", "full")
"""Nested: each subset contains the one before; ``large`` and ``full`` have the same tracks."""
CLIPS = SUBSETS[:-1]
"""Subsets of 30-s clips; those of ``full`` are whole songs."""
SPLITS = {"training": "train", "validation": "valid", "test": "test"}
COLUMNS = {"subset": ("set", "subset"), "split": ("set", "split"), "license": ("track", "license")}
METADATA = "fma_metadata/tracks.csv"
MOST_BYTES, MOST_TRACKS = 2**30, 10**9  # of that table
NOTICE = """\
FMA: A Dataset For Music Analysis (M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson, ISMIR 2017)
  The music belongs to its artists; each track is under the licence that its artist chose, which is in
  column (track, license) of fma_metadata/tracks.csv. Use it for research, within each licence: many
  forbid commercial use, some forbid derived works. The metadata is under CC BY 4.0: name its authors.
"""


def _archive(name: str, size: float, sha1: str, extracted_size: float) -> Archive:
    return Archive(
        name,
        BASE_URL,
        round(size),
        {"sha1": sha1},
        round(extracted_size),
        size_tolerance=0.04,  # the dataset's web page rounds sizes to two or three digits
        top_folder=name,
        checksum_list="checksums",
    )


def _audio(subset: str, gib: float, sha1: str) -> Archive:
    # MP3 is already compressed: the files are at most a few per cent larger than the zip.
    return _archive(f"fma_{subset}", gib * 2**30, sha1, 1.05 * gib * 2**30)


ARCHIVES = {
    "metadata": _archive(
        "fma_metadata", 342 * 2**20, "f0df49ffe5f2a6008d7dc83c6915b31835dfe733", 2 * 2**30
    ),
    "small": _audio("small", 7.2, "ade154f733639d52e35e32f5593efe5be76c6d70"),
    "medium": _audio("medium", 22, "c67b69ea232021025fca9231fc1c7c1a063ab50b"),
    "large": _audio("large", 93, "497109f4dd721066b5ce5e5f250ec604dc78939e"),
    "full": _audio("full", 879, "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab"),
}


def fma_tracks(root: str | Path, subset: str) -> pd.DataFrame:
    """The tracks of a subset, including those of the subsets nested in it, by id.

    Returns:
        Columns ``subset`` (ordered categories), ``split`` (train, valid, test; artists are
        disjoint) and ``license``, which may be empty.

    Raises:
        UserError: the metadata is missing, or the file is not FMA's table.
    """
    import pandas as pd

    path = Path(root) / METADATA
    if path.exists():
        check_text(path, MOST_BYTES)
    try:
        table = pd.read_csv(path, index_col=0, header=[0, 1], low_memory=False)
        tracks = pd.DataFrame({name: table[column] for name, column in COLUMNS.items()})
        ids = pd.Series(tracks.index).astype("int64")
        if not ids.between(0, MOST_TRACKS).all() or ids.duplicated().any():
            raise ValueError("a track's number is there twice, or none that can be")
        tracks.index = pd.Index(ids)
    except FileNotFoundError as error:
        raise UserError(f"'{root}' has no {METADATA}") from error
    except KeyError as error:
        raise UserError(f"'{path}' has no column {error.args[0]}: is it FMA's table?") from error
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"'{path}' cannot be read as FMA's table of tracks ({reason})") from error
    order = pd.CategoricalDtype(SUBSETS, ordered=True)
    tracks["subset"] = tracks["subset"].astype(order)
    tracks["split"] = tracks["split"].map(SPLITS)
    if tracks[["subset", "split"]].isna().any(axis=None):
        raise UserError(f"'{path}' has a track without a subset or split: is it cut off?")
    tracks["license"] = tracks["license"].fillna("").astype(str)
    return tracks[tracks["subset"] <= subset].rename_axis("track")


def audio_folder(root: str | Path, subset: str) -> Path:
    """Folder with the audio of a subset, which may be that of a larger subset of clips.

    Raises:
        UserError: there is no such folder.
    """
    larger = CLIPS[CLIPS.index(subset) :] if subset in CLIPS else (subset,)
    for name in larger:
        if (Path(root) / f"fma_{name}").is_dir():
            return Path(root) / f"fma_{name}"
    wanted = " or ".join(f"fma_{name}/" for name in larger)
    raise UserError(f"'{root}' has no {wanted}: it needs the folder beside fma_metadata/")


def audio_name(track: int) -> str:
    """Path of a track relative to the audio folder: ``012/012345.mp3``."""
    return f"{track // 1000:03d}/{track:06d}.mp3"


def fma_songs(root: str | Path, subset: str) -> list[Record]:
    """Every track of a subset, even if its file is missing or broken.

    Raises:
        UserError: ``root`` lacks the metadata or the audio.
    """
    folder = os.path.abspath(audio_folder(root, subset))
    return [
        Record(f"{folder}/{audio_name(track)}", f"{track:06d}", "mixture", split, license)
        for track, _, split, license in fma_tracks(root, subset).itertuples()
    ]


def check_layout(root: str | Path, subset: str) -> str:
    """Check a copy of a subset on disk; a few missing tracks are no error.

    Returns:
        A line to print that counts the missing tracks and names some of them.

    Raises:
        UserError: the metadata, the audio folder, or every track is missing.
    """
    songs = fma_songs(root, subset)
    missing = [song.path for song in songs if not os.path.isfile(song.path)]
    folder = audio_folder(root, subset)
    if len(missing) == len(songs):
        raise UserError(
            f"'{folder}' has none of the {len(songs)} tracks of subset {subset}: it needs "
            f"{audio_name(2)} and so on"
        )
    line = f"{folder}: {len(songs) - len(missing)} of {len(songs)} tracks of subset {subset}"
    if missing:
        names = ", ".join(os.path.relpath(path, folder) for path in missing[:5])
        line += f"; missing: {names}{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"
    return line
