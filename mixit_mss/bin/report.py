"""Stage 6: tables and figures of several experiments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss report``."""
    parser = argparse.ArgumentParser(
        prog="mixit-mss report",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Write RESULTS.md: a table row for every experiment (uSDR and cSDR per stem and "
        "average, parameters, steps, seed, commit), the votes for output channels, spectrograms of "
        "a test song, what has no score, and the commands to make it all again. The same results "
        "give the same file, byte for byte.",
    )
    parser.add_argument(
        "--experiments",
        nargs="+",
        required=True,
        metavar="EXP",
        help="folders with experiment.json and scores.csv, as mixit-mss score --label leaves them",
    )
    parser.add_argument("--manifests", default="manifests", help="folder of the recipe's tables")
    parser.add_argument("--out", default="RESULTS.md", help="text to write")
    parser.add_argument("--figures", default="figures", help="folder for the pictures")
    parser.add_argument("--recipe", default=Path.cwd().name, help="name of the recipe")
    parser.add_argument(
        "--paper-tables",
        nargs="+",
        type=int,
        choices=(1, 2, 3),
        default=[],
        metavar="N",
        help="tables of the paper (1, 2, 3) to lay beside the experiments that are labelled like "
        "their rows",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Write the report that the options name."""
    args = build_parser().parse_args(argv)
    from mixit_mss.report.build import build_report

    build_report(
        args.recipe, args.experiments, args.manifests, args.out, args.figures, args.paper_tables
    )
    print(f"{args.out}: {len(args.experiments)} experiments")


if __name__ == "__main__":
    from mixit_mss.bin.main import run

    sys.exit(run(main, "report"))
