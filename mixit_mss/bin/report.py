"""Stage 6: tables, figures and pages of one or several experiments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mixit_mss.bin import arguments
from mixit_mss.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss report``."""
    parser = arguments.Parser(
        prog="mixit-mss report",
        formatter_class=arguments.Help,
        description="Write RESULTS.md: a table row for every experiment (uSDR and cSDR per stem and "
        "average, parameters, steps, seed, commit), the votes for output channels, spectrograms of "
        "a test song, what has no score, and the commands to make it all again. Beside it comes "
        "report.html, one page to read, see and hear without a network: the tables, the scores of "
        "every song, players for the stems, losses, votes, commands; each trained experiment gets "
        "such a page of its own, EXP/report.html. The same results give the same files, byte for "
        "byte.",
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=arguments.input_folder,
        metavar="EXP",
        help="folders with experiment.json and scores.csv, as mixit-mss score --label leaves them",
    )
    parser.add_argument(
        "--experiments",
        nargs="+",
        type=arguments.input_folder,
        default=[],
        metavar="EXP",
        help="more such folders",
    )
    parser.add_argument(
        "--more",
        nargs="+",
        type=arguments.input_folder,
        default=[],
        metavar="EXP",
        help="further ones, each left out with a line if it was scored on other songs or stems than "
        "the first",
    )
    parser.add_argument(
        "--manifests",
        type=arguments.input_folder,
        default="manifests",
        help="folder of the recipe's tables",
    )
    parser.add_argument(
        "--out", type=arguments.output_file, default="RESULTS.md", help="text to write"
    )
    parser.add_argument(
        "--figures",
        type=arguments.output_folder,
        default="figures",
        help="folder for the pictures",
    )
    parser.add_argument("--recipe", type=arguments.text, default=_here(), help="name of the recipe")
    parser.add_argument(
        "--paper-tables",
        nargs="+",
        type=arguments.whole(1, 3),
        default=[],
        metavar="N",
        help="tables of the paper (1, 2, 3) to lay beside the experiments that are labelled like "
        "their rows",
    )
    parser.add_argument(
        "--page",
        type=arguments.output_file,
        help="page to write; report.html beside --out if not given",
    )
    parser.add_argument(
        "--songs",
        type=arguments.whole(0, 100, "of songs"),
        default=2,
        help="test songs to play in a page, from best to worst",
    )
    parser.add_argument(
        "--seconds",
        type=arguments.number(0, 600, "of seconds", above=True),
        help="of every excerpt; 12 if not given, or less where a page would pass 10 MB",
    )
    return parser


def _here() -> str:
    """Name of the working directory, which may have been deleted."""
    try:
        return Path.cwd().name
    except OSError:
        return "recipe"


def main(argv: list[str] | None = None) -> None:
    """Write the report."""
    args = build_parser().parse_args(argv)
    experiments = [*args.folders, *args.experiments]
    if not experiments:
        raise UserError("name the folder of at least one experiment, such as exp/finetune_tiny")
    from mixit_mss.report.build import build_report
    from mixit_mss.report.results import comparable

    if args.more:
        experiments += comparable(args.more, experiments[0])
    pages = build_report(
        args.recipe,
        experiments,
        args.manifests,
        args.out,
        args.figures,
        args.paper_tables,
        args.page,
        args.songs,
        args.seconds,
    )
    print(f"{args.out}: {len(experiments)} experiments")
    for page in pages:
        print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    from mixit_mss.bin.main import run

    sys.exit(run(main, "report"))
