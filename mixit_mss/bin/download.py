"""Stage 0: download a public corpus and verify its checksums."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.machine import processes

DESCRIPTION = """\
Fetch a corpus into --out: its archives OUT/NAME.zip, verified by their published checksums, and the
files in them, OUT/NAME/. The transfer uses several connections, goes on at the byte where it was cut,
and the same command goes on after a kill at any time. Room on the disk is looked at first; it takes
the archive and its files. When all is there the command says so and does nothing."""

FMA = """\
The Free Music Archive dataset: fma_metadata/ with the table of tracks, and fma_SUBSET/ with the MP3
files. Subsets are nested.

  small    8,000 clips of 30 s     7.2 GiB
  medium   25,000 clips of 30 s    22 GiB
  large    106,574 clips of 30 s   93 GiB
  full     106,574 whole songs     879 GiB

Every file is compared with the checksum that the corpus lists for it; the bad ones are listed in
OUT/fma_SUBSET_bad_files.csv and stop nothing.

"""

MUSDB = """\
MUSDB18-HQ: 150 songs with their stems, 21 GiB, in OUT/musdb18hq/{train,test}/<song>/<stem>.wav.

"""


def build_parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    parser = arguments.Parser(
        prog="mixit-mss download",
        description=DESCRIPTION,
        formatter_class=arguments.Help,
    )
    corpora = parser.add_subparsers(dest="corpus", required=True, metavar="CORPUS")
    form = arguments.Help
    fma = corpora.add_parser(
        "fma", help="unlabelled songs", description=FMA + DESCRIPTION, formatter_class=form
    )
    fma.add_argument(
        "--subset",
        choices=["small", "medium", "large", "full"],
        default="small",
        help="see above (default: small)",
    )
    musdb = corpora.add_parser(
        "musdb18hq",
        help="songs with stems",
        description=MUSDB + DESCRIPTION,
        formatter_class=form,
    )
    for corpus, option, needs in (
        (fma, "--fma-dir", "fma_metadata/ and fma_SUBSET/, or a larger subset of clips"),
        (musdb, "--musdb-dir", "train/ and test/"),
    ):
        corpus.add_argument(
            option,
            dest="existing",
            type=arguments.existing_folder,
            default="",
            metavar="DIR",
            help=f"fetch nothing: use a copy that is on disk, and name what it lacks of {needs}",
        )
        _add_common(corpus)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--out",
        type=arguments.output_folder,
        default="downloads",
        metavar="DIR",
        help="folder to fetch to (default: downloads)",
    )
    add(
        "--base-url",
        type=arguments.url,
        metavar="URL",
        help="folder of a mirror that has the archives by their names",
    )
    add(
        "--archives",
        type=arguments.input_file,
        metavar="CSV",
        help="sizes and checksums to go by in place of the published ones, for a corpus that was "
        "packed anew: columns archive, bytes, extracted_bytes, sha256",
    )
    add(
        "--connections",
        type=arguments.whole(1, 64, why="servers refuse more"),
        default=4,
        metavar="N",
        help="connections at a time, where the server allows byte ranges (default: 4)",
    )
    add(
        "--nj",
        type=arguments.ranged(limits.PROCESSES),
        default=2,
        metavar="N",
        help="files extracted at a time (default: 2)",
    )
    add(
        "--remove-archive",
        action="store_true",
        help="delete the archives once their files are there",
    )


def main(argv: list[str] | None = None, archives: Mapping | None = None) -> None:
    """Run the stage; raises :class:`UserError` for errors the user can fix.

    Args:
        argv: the command line.
        archives: archives to use instead of the published ones, by the keys of ``fma.ARCHIVES``
            and ``musdb18hq``.
    """
    options = build_parser().parse_args(argv)
    options.nj = processes(options.nj, "--nj")
    from mixit_mss.corpora import fma, musdb18hq

    archives = archives or {**fma.ARCHIVES, "musdb18hq": musdb18hq.ARCHIVE}
    if options.corpus == "fma":
        _show_once(fma.NOTICE, options)
        if options.existing:
            print(fma.check_layout(options.existing, options.subset))
        else:
            _obtain({key: archives[key] for key in ("metadata", options.subset)}, options)
    else:
        _show_once(musdb18hq.NOTICE, options)
        if options.existing:
            print(musdb18hq.check_layout(options.existing))
        else:
            _obtain({"musdb18hq": archives["musdb18hq"]}, options)


def _obtain(known: Mapping, options: argparse.Namespace) -> None:
    from mixit_mss.fetch.archives import check_space, listed_archives, obtain
    from mixit_mss.fetch.download import Transfer

    if options.archives:
        known = listed_archives(options.archives, known)
    archives = list(known.values())
    if options.base_url:
        archives = [archive.at(options.base_url) for archive in archives]
    check_space(archives, options.out)
    for archive in archives:
        transfer = Transfer(connections=options.connections)
        print(
            obtain(archive, options.out, transfer, options.nj, options.remove_archive), flush=True
        )


def _show_once(notice: str, options: argparse.Namespace) -> None:
    """Print a corpus's licence once: a copy in the folder marks it as shown."""
    from mixit_mss.disk import disk_errors
    from mixit_mss.files import write_text

    path = Path(options.out) / f"LICENSE_{options.corpus}.txt"
    if not path.is_file():
        print(notice, flush=True)
        with disk_errors(path):
            write_text(path, notice)


if __name__ == "__main__":
    sys.exit(run(main, "download"))
