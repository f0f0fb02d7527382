"""MUSDB18-HQ (Z. Rafii et al., 2019), 150 songs with stems: its archive and its songs.

ROOT/{train,test}/<song>/{mixture,vocals,drums,bass,other}.wav, 44.1 kHz stereo.  The validation
songs lie in ``train`` and are identified by name.
"""

from __future__ import annotations

import os
from pathlib import Path

from mixit_mss.corpora import Record
from mixit_mss.errors import UserError
from mixit_mss.fetch.archives import Archive

STEMS = ("vocals", "drums", "bass", "other")
NUM_SONGS = {"train": 100, "test": 50}
VALIDATION = (
    "ANiMAL - Rockshow",
    "Actions - One Minute Smile",
    "Alexander Ross - Goodbye Bolero",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Fergessen - Nos Palpitants",
    "James May - On The Line",
    "Johnny Lokke - Promises & Lies",
    "Leaf - Summerghost",
    "Meaxic - Take A Step",
    "Patrick Talbot - A Reason To Leave",
    "Skelpolu - Human Mistakes",
    "Traffic Experiment - Sirens",
    "Triviul - Angelsaint",
    "Young Griffo - Pennies",
)
"""The 14 songs of ``train`` that are commonly held out for validation."""
LICENSE = "non-commercial, educational use"
NOTICE = """\
MUSDB18-HQ (Z. Rafii, A. Liutkus, F.-R. Stöter, S. I. Mimilakis, R. Bittner, 2019; zenodo.org/records/3338373)
  The songs belong to their artists. Use them for non-commercial, educational purposes only, such as
  academic research, and name the dataset where you report results.
"""
ARCHIVE = Archive(
    name="musdb18hq",
    base_url="https://zenodo.org/records/3338373/files",
    size=22_656_664_047,
    checksums={
        "sha256": "baac80d0483c61d74b2e5f3be75fa557eec52898339e6aa45c1fa48833c5d21d",
        "md5": "12d4f2ecd55245a4688754dd76363103",
    },
    # About ten hours in five files each, at 176,400 bytes per second.
    extracted_size=32 * 10**9,
)


def musdb_songs(root: str | Path) -> list[Record]:
    """Mixtures and stems of every song: 86 of split train, 14 valid, 50 test.

    Raises:
        UserError: a song or one of its files is missing.
    """
    root = Path(os.path.abspath(root))
    check_layout(root)
    return [
        Record(str(root / part / song / f"{stem}.wav"), song, stem, _split(part, song), LICENSE)
        for part in NUM_SONGS
        for song in _songs(root / part)
        for stem in ("mixture", *STEMS)
    ]


def check_layout(root: str | Path) -> str:
    """Check by number and name of the files that a copy on disk is complete.

    Returns:
        A line to print.

    Raises:
        UserError: files are missing; names the first few.
    """
    root = Path(root)
    missing = []
    for part, wanted in NUM_SONGS.items():
        songs = _songs(root / part)
        if len(songs) != wanted:
            missing.append(f"{part}/ has {len(songs)} songs, not {wanted}")
        missing += [
            f"{part}/{song}/{stem}.wav is missing"
            for song in songs
            for stem in ("mixture", *STEMS)
            if not (root / part / song / f"{stem}.wav").is_file()
        ]
    train = set(_songs(root / "train"))
    missing += [f"train/{song}/ is missing" for song in VALIDATION if song not in train]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(f"'{root}' is not all of MUSDB18-HQ: {', '.join(missing[:5])}{more}")
    return f"{root}: {' and '.join(f'{count} {part}' for part, count in NUM_SONGS.items())} songs"


def _split(part: str, song: str) -> str:
    return "valid" if part == "train" and song in VALIDATION else part


def _songs(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(e.name for e in folder.iterdir() if e.is_dir() and not e.name.startswith("."))
