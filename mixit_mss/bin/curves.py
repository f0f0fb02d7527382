"""Plot losses, scores and learning rates of training runs in one figure."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mixit_mss.bin import arguments
from mixit_mss.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss curves``."""
    parser = arguments.Parser(
        prog="mixit-mss curves",
        formatter_class=arguments.Help,
        description="Draw the losses, the validation scores and the learning rate of one or several "
        "trainings over their steps, finished or still running, from the history.csv that each of "
        "them keeps.",
    )
    parser.add_argument(
        "folders", nargs="+", type=arguments.input_folder, metavar="EXP", help="experiment folder"
    )
    parser.add_argument(
        "--out",
        type=arguments.output_file,
        default="curves.png",
        metavar="PNG",
        help="picture to write",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Draw the figure."""
    args = build_parser().parse_args(argv)
    if Path(args.out).suffix.lower() != ".png":
        raise UserError(f"--out {args.out} must end in .png")
    from mixit_mss.report.figures.pictures import draw_curves
    from mixit_mss.report.history import HISTORY, find_history, read_history

    histories = {}
    for folder in args.folders:
        path = find_history(folder)
        if path is None:
            raise UserError(
                f"{Path(folder) / HISTORY} is missing; name a folder of pretrain or finetune, after "
                "its first epoch"
            )
        histories[str(Path(folder))] = read_history(path)
    draw_curves(args.out, histories)
    print(f"{args.out}: {len(histories)} trainings")


if __name__ == "__main__":
    from mixit_mss.bin.main import run

    sys.exit(run(main, "curves"))
