"""Stage 0 of ``egs/midi_band``: compose songs with stems by rule, and render them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mixit_mss import limits
from mixit_mss.band.choices import LEVELS, MIXED, PARTS_CHOICES
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run

KINDS = {
    "unlabelled": (200, "songs without stems"),
    "train": (6, "songs with stems, for training"),
    "valid": (3, "songs with stems, for validation"),
    "test": (8, "songs with stems, for scoring"),
}
DESCRIPTION = """\
Compose songs by rule and let a General MIDI band play them through FluidSynth. Unlabelled songs are
stored as mixtures (OUT/unlabelled/*.flac), labelled songs with their stems
(OUT/labelled/{train,valid,test}/SONG/{mixture,vocals,drums,bass,other}.flac); OUT/songs.csv lists key,
tempo and instruments. A song depends on --seed, its number, --correlation, --parts and --seconds only:
at another correlation, song 7 keeps its instruments, so that two sets differ in nothing but how much
their parts share. Songs that exist are not made again. Needs FluidSynth with a General MIDI sound font,
and `pip install 'mixit_mss[band]'`."""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss render-songs``."""

    parser = arguments.Parser(
        prog="mixit-mss render-songs", description=DESCRIPTION, formatter_class=arguments.Help
    )
    add = parser.add_argument
    add(
        "--out",
        type=arguments.output_folder,
        default="downloads",
        metavar="DIR",
        help="folder to fill",
    )
    for kind, (count, what) in KINDS.items():
        add(f"--{kind}", type=arguments.whole(0, 1_000_000), default=count, metavar="N", help=what)
    add(
        "--seconds",
        type=arguments.number(2, 600, "of seconds"),
        default=22.0,
        metavar="S",
        help="length of every song",
    )
    add(
        "--seed",
        type=arguments.ranged(limits.SEED),
        default=0,
        help="another seed gives other songs",
    )
    add(
        "--correlation",
        choices=LEVELS,
        default="band",
        help="how much the parts of a song have to do with each other, from nothing to everything: "
        "independent (each part has a style, key, tempo, chords and sections of its own), tempo (all "
        "share style, tempo and sections, but each has its own key and chords), band (they share "
        "the chords, too, as a band does), locked (all of them start their notes together), unison "
        "(and all but the drums play one line, each in its octave), doubled (and on one instrument)",
    )
    add(
        "--parts",
        choices=PARTS_CHOICES,
        default=MIXED,
        help="how many stems play in an unlabelled song: mixed has solos and duos more often than "
        "whole bands, a number has that many in every song; songs with stems always have them all",
    )
    add(
        "--nj",
        type=arguments.whole(1, 1024),
        default=os.cpu_count() or 1,
        metavar="N",
        help="songs made at a time",
    )
    add(
        "--soundfont",
        type=arguments.input_file,
        metavar="SF2",
        help="General MIDI .sf2 file to play instead of the installed one",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Render the missing songs; raises :class:`UserError` for errors the user can fix."""
    args = build_parser().parse_args(argv)
    from mixit_mss.band.songs import make_songs

    make_songs(
        Path(args.out),
        {kind: getattr(args, kind) for kind in KINDS},
        args.seconds,
        args.seed,
        args.nj,
        args.soundfont,
        args.correlation,
        args.parts,
    )


if __name__ == "__main__":
    sys.exit(run(main, "render-songs"))
