"""Corpora, one module each: they list files as :class:`Record` and read no audio."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One audio file of a corpus.

    Attributes:
        path: absolute, as found (links are not followed).
        song: name, unique within the corpus and shared by all files of the song.
        stem: "mixture", or the stem's name.
        split: "train", "valid" or "test"; empty if the corpus has none.
        license: as the corpus states it; may be empty.
    """

    path: str
    song: str
    stem: str
    split: str = ""
    license: str = ""
