#!/usr/bin/env python3
"""Stage 0 of the recipe: compose songs by rule, play them with FluidSynth, store them as FLAC.

Every audio file carries a tag that says from what it was made (seed, length, correlation, parts,
sound font, version of FluidSynth, this code).  A song is made if, and only if, a file with its tag
is not there: so a killed run goes on where it was, more songs cost only the new ones, and nothing
stale stays.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from band_compose import MIXED, PARTS_CHOICES, Song, compose_song
from band_instruments import STEMS
from band_render import SAMPLE_RATE, RenderError, Synthesiser, find_synthesiser, render_song
from band_together import LEVELS

from mixit_mss.bin.main import run
from mixit_mss.errors import UserError
from mixit_mss.files import atomic_folder, atomic_path, temporary_folder, write_text
from mixit_mss.files import sweep as sweep_unfinished
from mixit_mss.stamps import Fingerprint

MARK = "midi_band"
COLUMNS = (
    "path", "kind", "number", "title", "correlation", "parts_wanted",
    "style", "key", "metre", "tempo", "parts", "programs",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One song to be there at the end: which one, and where."""

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
    """Songs wanted under ``out``; ``counts`` tells how many of each kind."""
    orders = []
    for kind, count in counts.items():
        for number in range(count):
            name = f"{kind}_{number:04d}"
            unlabelled = kind == "unlabelled"
            place = out / kind / f"{name}.flac" if unlabelled else out / "labelled" / kind / name
            orders.append(Order(kind, number, place))
    return orders


def read_tag(path: Path) -> str:
    """The tag of a FLAC file, ``""`` if it has none or cannot be read."""
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
    """Compose (from kind and number), play and store one song; it appears complete or not at all."""
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
    """Remove what killed runs left half-written, and songs of ours that are no longer wanted.

    Files that do not carry our mark are left alone.
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
    """The songs as CSV text, one row each; ``songs`` pairs a song with its path.

    ``parts`` is what was wanted of unlabelled songs.  Where parts play from plans of their own, a
    cell has the styles (keys, metres, tempos) of all of them, in the order of its column ``parts``.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for song, path in songs:
        # One for all, or one per stem.
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
    """Make every song that is not there yet; returns how many were made.

    ``correlation`` and ``parts`` as in ``compose_song``.
    A song that fails does not stop the others; UserError names it at the end.
    """
    synthesiser = find_synthesiser(soundfont)
    code = sorted(Path(__file__).resolve().parent.glob("band_*.py"))
    options = {
        "seed": seed, "seconds": seconds, "correlation": correlation, "parts": parts,
        "fluidsynth": synthesiser.version,
    }  # fmt: skip
    files = {"soundfont": synthesiser.soundfont, **{path.name: path for path in code}}
    tag = f"{MARK} {Fingerprint('make_songs', options, files).digest[:20]}"
    wanted = Fingerprint("make_songs", {**options, "counts": counts, "tag": tag})

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
    files = [file for order in orders for file in order.files]
    wanted.mark_done(out, [out / "songs.csv", *files])
    print(
        f"{out}: {len(missing)} songs made in {time.monotonic() - began:.0f} s, "
        f"{len(orders) - len(missing)} were there"
    )
    return len(missing)


def _make_all(
    orders: Sequence[Order], make: Callable[[Order], None], nj: int
) -> list[tuple[Order, RenderError]]:
    """Make songs ``nj`` at a time.  Threads suffice: the work is in the FluidSynth processes."""
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


def build_parser() -> argparse.ArgumentParser:
    """Options of stage 0."""
    parser = argparse.ArgumentParser(
        prog="make_songs.py",
        description="Compose songs by rule and let a General MIDI band play them through FluidSynth. "
        "Unlabelled songs are stored as mixtures (OUT/unlabelled/*.flac), labelled songs with their "
        "stems (OUT/labelled/{train,valid,test}/SONG/{mixture,vocals,drums,bass,other}.flac); "
        "OUT/songs.csv lists key, tempo and instruments. A song depends on the seed, its number and "
        "the options --correlation, --parts and --seconds only: at another correlation, song 7 keeps "
        "its instruments, so that two sets differ in nothing but how much their parts share. Songs "
        "that are there already are not made again.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("downloads"), help="folder to fill")
    parser.add_argument("--unlabelled", type=int, default=200, help="songs without stems")
    parser.add_argument("--train", type=int, default=6, help="songs with stems, for training")
    parser.add_argument("--valid", type=int, default=3, help="songs with stems, for validation")
    parser.add_argument("--test", type=int, default=8, help="songs with stems, for scoring")
    parser.add_argument("--seconds", type=float, default=22.0, help="length of every song")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other songs")
    parser.add_argument(
        "--correlation", default="band", metavar="LEVEL",
        help="how much the parts of a song have to do with each other, from nothing to everything: "
        "independent (each part has a style, key, tempo, chords and sections of its own), tempo (all "
        "share style, tempo and sections, but each has its own key and chords), band (they share "
        "the chords, too, as a band does), locked (all of them start their notes together), unison "
        "(and all but the drums play one line, each in its octave), doubled (and on one instrument)",
    )  # fmt: skip
    parser.add_argument(
        "--parts", default=MIXED, metavar="|".join(PARTS_CHOICES),
        help="how many stems play in an unlabelled song: mixed has solos and duos more often than "
        "whole bands, a number has that many in every song; songs with stems always have them all",
    )  # fmt: skip
    parser.add_argument("--nj", type=int, default=os.cpu_count() or 1, help="songs made at a time")
    parser.add_argument(
        "--soundfont", help="General MIDI .sf2 file to play instead of the installed one"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run stage 0; raises UserError."""
    options = build_parser().parse_args(argv)
    counts = {kind: getattr(options, kind) for kind in ("unlabelled", "train", "valid", "test")}
    for name, least in {**dict.fromkeys(counts, 0), "seed": 0, "nj": 1}.items():
        if getattr(options, name) < least:
            raise UserError(f"--{name} is {getattr(options, name)}: give {least} or more.")
    if not 2 <= options.seconds <= 600:
        raise UserError(f"--seconds is {options.seconds:g}: give 2 to 600.")
    for name, choices in (("correlation", LEVELS), ("parts", PARTS_CHOICES)):
        if getattr(options, name) not in choices:
            raise UserError(
                f"--{name} is {getattr(options, name)}: give one of {', '.join(choices)}."
            )
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"--out {options.out} is a file: give a folder.")
    make_songs(
        options.out, counts, options.seconds, options.seed, options.nj, options.soundfont,
        options.correlation, options.parts,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(run(main, "make_songs.py"))
