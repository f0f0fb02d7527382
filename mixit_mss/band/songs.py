"""Compose songs by rule, play them with FluidSynth, store them as FLAC.

Every audio file has a tag that identifies what it was made from (seed, length, correlation, parts,
sound font, FluidSynth version, this code).  A song is made only if a file with its tag is missing.
So a killed run resumes, adding songs renders only the new ones, and no stale songs remain.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from mixit_mss.band.choices import MIXED
from mixit_mss.band.compose import Song, compose_song
from mixit_mss.band.instruments import STEMS
from mixit_mss.band.render import (
    SAMPLE_RATE,
    RenderError,
    Synthesiser,
    find_synthesiser,
    render_song,
)
from mixit_mss.errors import UserError
from mixit_mss.files import atomic_folder, atomic_path, temporary_folder, write_text
from mixit_mss.files import sweep as sweep_unfinished
from mixit_mss.stamps import Fingerprint

COMMAND = "render-songs"
MARK = "midi_band"
COLUMNS = (
    "path", "kind", "number", "title", "correlation", "parts_wanted",
    "style", "key", "metre", "tempo", "parts", "programs",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """A requested song, and its path."""

    kind: str
    number: int
    path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """The audio files of this song; the mixture is the first."""
        if self.kind == "unlabelled":
            return (self.path,)
        return tuple(self.path / f"{name}.flac" for name in ("mixture", *STEMS))


def list_orders(out: Path, counts: dict[str, int]) -> list[Order]:
    """List the requested songs under ``out``; ``counts`` maps kinds to numbers of songs."""
    orders = []
    for kind, count in counts.items():
        for number in range(count):
            name = f"{kind}_{number:04d}"
            unlabelled = kind == "unlabelled"
            place = out / kind / f"{name}.flac" if unlabelled else out / "labelled" / kind / name
            orders.append(Order(kind, number, place))
    return orders


def read_tag(path: Path) -> str:
    """Read the tag of a FLAC file; ``""`` if it has none or cannot be read."""
    try:
        with soundfile.SoundFile(path) as file:
            return file.comment or ""
    except (OSError, soundfile.LibsndfileError):
        return ""


def make_song(
    order: Order,
    compose: Callable[[str, int], Song],
    synthesiser: Synthesiser,
    tag: str,
    scratch: Path,
) -> None:
    """Compose (from kind and number), render and write one song atomically."""
    song = compose(order.kind, order.number)
    sounds = render_song(song, synthesiser, scratch)
    if order.kind == "unlabelled":
        with atomic_path(order.path) as unfinished:
            _write_flac(unfinished, sounds["mixture"], song.title, tag)
        return
    with atomic_folder(order.path, replace=True) as unfinished:
        for name, sound in sounds.items():
            _write_flac(unfinished / f"{name}.flac", sound, song.title, tag)


def _write_flac(path: Path, sound: np.ndarray, title: str, tag: str) -> None:
    with soundfile.SoundFile(
        path, "w", SAMPLE_RATE, sound.shape[0], subtype="PCM_16", format="FLAC"
    ) as file:
        file.title, file.comment = title, tag
        file.write(sound.T)


def sweep(out: Path, orders: Sequence[Order]) -> None:
    """Remove unfinished files of killed runs, and our songs that are no longer requested.

    Files without our tag are kept.
    """
    places = [
        out / "unlabelled",
        *(out / "labelled" / split for split in ("train", "valid", "test")),
    ]
    wanted = {order.path for order in orders}
    for place in (out, *places):
        sweep_unfinished(place)
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path in wanted:
                continue
            for file in sorted(path.glob("*.flac")) if path.is_dir() else [path]:
                if read_tag(file).startswith(MARK):
                    file.unlink()
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def song_table(songs: Sequence[tuple[Song, str]], parts: str = MIXED) -> str:
    """Format the songs as CSV, one row each; ``songs`` pairs songs with paths.

    ``parts`` is the setting for unlabelled songs.  If stems have their own plans, a cell lists the
    styles (keys, metres, tempos) of all of them, in the order of the column ``parts``.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for song, path in songs:
        # one plan for all stems, or one per stem
        plans = list(song.plans.values())
        plans = plans[:1] if all(plan == plans[0] for plan in plans) else plans
        programs = "; ".join(
            f"{track.stem}: {track.instrument.name} ({track.instrument.program})"
            for track in song.tracks
        )
        wanted = parts if song.kind == "unlabelled" else str(len(STEMS))
        row = [path, song.kind, song.number, song.title, song.correlation, wanted]
        row += ["; ".join(plan.style.name for plan in plans)]
        row += ["; ".join(plan.key_name for plan in plans)]
        row += ["; ".join(plan.style.metre for plan in plans)]
        row += ["; ".join(str(plan.tempo) for plan in plans)]
        row += ["+".join(song.stems), programs]
        table.writerow(row)
    return text.getvalue()


def make_songs(
    out: Path,
    counts: dict[str, int],
    seconds: float,
    seed: int,
    nj: int,
    soundfont: str | None = None,
    correlation: str = "band",
    parts: str = MIXED,
) -> int:
    """Make all missing songs; returns how many were made.

    ``correlation`` and ``parts`` are as in ``compose_song``.
    A failed song does not stop the others; a UserError at the end names it.
    """
    synthesiser = find_synthesiser(soundfont)
    code = sorted(path for path in Path(__file__).parent.glob("*.py") if path != Path(__file__))
    options = {
        "seed": seed, "seconds": seconds, "correlation": correlation, "parts": parts,
        "fluidsynth": synthesiser.version,
    }  # fmt: skip
    files = {"soundfont": synthesiser.soundfont, **{path.name: path for path in code}}
    tag = f"{MARK} {Fingerprint(COMMAND, options, files).digest[:20]}"
    wanted = Fingerprint(COMMAND, {**options, "counts": counts, "tag": tag})

    orders = list_orders(out, counts)
    missing = [order for order in orders if any(read_tag(file) != tag for file in order.files)]
    if not missing and wanted.is_done(out):
        print(f"{out}: all {len(orders)} songs are there, nothing to do")
        return 0
    out.mkdir(parents=True, exist_ok=True)
    sweep(out, orders)
    began = time.monotonic()

    def compose(kind: str, number: int) -> Song:
        return compose_song(seed, kind, number, seconds, correlation, parts)

    with temporary_folder(out / "midi") as scratch:
        make = partial(
            make_song, compose=compose, synthesiser=synthesiser, tag=tag, scratch=scratch,
        )  # fmt: skip
        failed = _make_all(missing, make, nj)
    if failed:
        first, reason = failed[0]
        raise UserError(
            f"{len(failed)} of {len(missing)} songs could not be made, the first is {first.path} "
            f"({reason}); the others are there, run the same command again to try these."
        )
    pairs = [
        (compose(order.kind, order.number), order.path.relative_to(out).as_posix())
        for order in orders
    ]
    write_text(out / "songs.csv", song_table(pairs, parts))
    written = [file for order in orders for file in order.files]
    wanted.mark_done(out, [out / "songs.csv", *written])
    print(
        f"{out}: {len(missing)} songs made in {time.monotonic() - began:.0f} s, "
        f"{len(orders) - len(missing)} were there"
    )
    return len(missing)


def _make_all(
    orders: Sequence[Order], make: Callable[[Order], None], nj: int
) -> list[tuple[Order, RenderError]]:
    """Make ``nj`` songs at a time, in threads, because FluidSynth's processes do the work."""
    from rich.console import Console
    from rich.progress import track

    failed = []
    console = Console(stderr=True)
    with ThreadPoolExecutor(nj) as pool:
        jobs = {pool.submit(make, order): order for order in orders}
        try:
            for job in track(
                as_completed(jobs), "songs", len(jobs), console=console,
                disable=not console.is_terminal,
            ):  # fmt: skip
                try:
                    job.result()
                except RenderError as error:
                    failed.append((jobs[job], error))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return sorted(failed, key=lambda failure: str(failure[0].path))
