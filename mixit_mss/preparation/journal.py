"""``.journal.jsonl``: the outcome of every song of a corpus, from which a killed stage 1 resumes.

Each line has a key made of the settings and the song's files (names, sizes and modification times,
but not folders, since songs may be moved).  So a song is prepared again only if its files or the
settings changed.  Lines of songs that are no longer wanted stay until the tables are written, since
they tell which stored audio we may delete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mixit_mss.files import write_text
from mixit_mss.parallel import Shard
from mixit_mss.preparation.song import (
    Outcome,
    PreparedTrack,
    Settings,
    Song,
    UnlabelledSettings,
)

JOURNAL = ".journal.jsonl"
SHARD_JOURNAL = ".journal.{}-of-{}.jsonl"
# Increment it when a code change makes stored results differ.
VERSION = 3

NUMBERS = ("frames", "sample_rate", "channels", "stored_bytes", "segment_frames")

Note = Callable[[str, Song, Outcome], None]


@dataclass
class Journal:
    """The lines of all journals of a corpus, by key; each has the song's files and its outcome."""

    lines: dict[str, dict] = field(default_factory=dict)

    @property
    def stored(self) -> set[str]:
        """Paths, relative to the corpus folder, of all audio that was stored."""
        tracks = (track for line in self.lines.values() for track in line["tracks"])
        return {track["path"] for track in tracks if track["path"] != track["source"]}

    def outcome(self, key: str, song: Song) -> Outcome | None:
        """Outcome of a song, with the current paths of its files; None if it was not prepared."""
        if (line := self.lines.get(key)) is None:
            return None
        moved = dict(zip(line["files"], [path for _, path in song.files], strict=False))
        moved |= {os.path.dirname(old): os.path.dirname(new) for old, new in moved.items()}
        try:
            tracks = [PreparedTrack(**track) for track in line["tracks"]]
            rejected = [(moved.get(path, path), *why) for path, *why in line["rejected"]]
        except (TypeError, ValueError):
            return None
        for track in tracks:
            if track.path == track.source:
                track.path = moved.get(track.path, track.path)
            track.source = moved.get(track.source, track.source)
        return Outcome(tracks, rejected, line.get("mixture_snr"), line.get("heard", ""))

    def done(self, songs: Mapping[str, Song], folder: Path) -> dict[str, Outcome]:
        """Outcomes, by key, of the songs that need not be prepared again.

        Their stored audio must exist with its recorded size, except for songs with the same samples
        as an earlier one; see :func:`mixit_mss.preparation.corpus.assemble`.
        """
        found: dict[str, Outcome] = {}
        stored: set[str] = set()
        for key, song in songs.items():
            if (outcome := self.outcome(key, song)) is None:
                continue
            contents = {track.content for track in outcome.tracks}
            if contents <= stored or all(_is_stored(track, folder) for track in outcome.tracks):
                found[key] = outcome
                stored |= contents
        return found

    @contextlib.contextmanager
    def going_on(
        self, folder: Path, keys: Collection[str], shard: Shard | None = None
    ) -> Iterator[Note]:
        """Open the journal and yield a function (key, song, outcome) that adds a line.

        A shard's journal starts with the known songs among ``keys``, the main one with all.
        """
        path = folder / (SHARD_JOURNAL.format(*shard) if shard else JOURNAL)
        known = [line for key, line in self.lines.items() if not shard or key in keys]
        # Rewrite it, because a killed run can leave half a line at the end.
        write_text(path, "".join(json.dumps(line) + "\n" for line in known))
        with open(path, "a", encoding="utf-8") as file:

            def note(key: str, song: Song, outcome: Outcome) -> None:
                line = _line(key, song, outcome)
                self.lines[key] = line
                file.write(json.dumps(line) + "\n")
                file.flush()

            yield note


def key_of_song(song: Song, settings: Settings) -> str:
    """Key of a song, which changes when the settings or any file of the song change."""
    files = []
    for stem, path in song.files:
        try:
            stat = os.stat(path)
            files.append((stem, os.path.basename(path), stat.st_size, stat.st_mtime_ns))
        except OSError:
            files.append((stem, os.path.basename(path), -1, -1))
    # the audio of an unlabelled song is the same in every split
    split = "" if isinstance(settings, UnlabelledSettings) else song.split
    content = [VERSION, asdict(settings), song.name, split, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def read_journals(folder: Path) -> Journal:
    """Read all journals of a corpus, including those of shards."""
    journal = Journal()
    for path in (folder / JOURNAL, *folder.glob(SHARD_JOURNAL.format("*", "*"))):
        if not path.is_file():
            continue
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
                _check(line)
                journal.lines[line["key"]] = line
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # incomplete line of a killed run
    return journal


def write_journal(folder: Path, done: Iterable[tuple[str, Song, Outcome]]) -> None:
    """Write a journal of exactly these songs, and remove the journals of shards."""
    lines = (json.dumps(_line(key, song, outcome)) + "\n" for key, song, outcome in done)
    write_text(folder / JOURNAL, "".join(lines))
    for merged in folder.glob(SHARD_JOURNAL.format("*", "*")):
        merged.unlink()


def _line(key: str, song: Song, outcome: Outcome) -> dict:
    return {"key": key, "files": [path for _, path in song.files], **asdict(outcome)}


def _check(line: dict) -> None:
    """Raise ValueError or a similar error if this is not a valid line."""
    texts, numbers = [line["key"], line.get("heard", ""), *line["files"]], []
    for row in line["rejected"]:
        path, reason, detail = row
        texts += [path, reason, detail]
    for track in line["tracks"]:
        texts += [track[name] for name in ("stem", "path", "source", "content")]
        numbers += [track[name] for name in NUMBERS] + [*track["starts"], *track["dropped"]]
    lists = [line["files"], line["rejected"], line["tracks"]]
    lists += [track[name] for track in line["tracks"] for name in ("starts", "dropped")]
    decibels = line.get("mixture_snr")
    if not (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int and 0 <= number < 2**62 for number in numbers)
        and all(isinstance(part, list) for part in lists)
        and (decibels is None or (isinstance(decibels, float) and math.isfinite(decibels)))
    ):
        raise ValueError("no line of a journal")


def _is_stored(track: PreparedTrack, folder: Path) -> bool:
    if track.path == track.source:
        return True  # its key covers changes of the file
    try:
        return (folder / track.path).stat().st_size == track.stored_bytes
    except OSError:
        return False
