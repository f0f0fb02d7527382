"""Stage 2: write the manifests that training and scoring read."""

from __future__ import annotations

import argparse
import sys

from mixit_mss.bin import arguments
from mixit_mss.bin.main import run

DESCRIPTION = """\
Join prepared corpora (the output of `mixit-mss segment`) into the two manifests that all later stages
read: OUT/unlabelled.tracks.csv and .segments.csv for pre-training, OUT/labelled.* for fine-tuning and
scoring. The header of every file is compared with the tables, and no song may be in two splits. If no
table has changed, nothing is done."""


def build_parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    parser = arguments.Parser(
        prog="mixit-mss make-manifests",
        description=DESCRIPTION,
        formatter_class=arguments.Help,
    )
    add = parser.add_argument
    for kind in ("unlabelled", "labelled"):
        add(
            f"--{kind}",
            nargs="+",
            type=arguments.input_folder,
            default=[],
            metavar="DIR",
            help=f"folders of {kind} corpora, for instance data/{kind}",
        )
    add(
        "--out",
        type=arguments.output_folder,
        required=True,
        metavar="DIR",
        help="folder to write, for instance manifests",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the stage; raises :class:`UserError` for errors the user can fix."""
    options = build_parser().parse_args(argv)
    from mixit_mss.preparation.joining import join_corpora

    corpora = {"unlabelled": options.unlabelled, "labelled": options.labelled}
    print(join_corpora(corpora, options.out))


if __name__ == "__main__":
    sys.exit(run(main, "make-manifests"))
