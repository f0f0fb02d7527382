"""Stage 5: supervised training on stems."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.bin.training_options import add_training_options, take_hardware

if TYPE_CHECKING:
    from mixit_mss.training.config import FinetuneConfig
    from mixit_mss.training.request import Request


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss finetune``."""
    parser = arguments.Parser(
        prog="mixit-mss finetune",
        description="Train a network on stems with dynamic mixing (paper section 4.3), from a "
        "pre-trained network with selected outputs (--init FOLDER) or from scratch (--model YAML). To "
        "resume a killed run, give the same command again; a finished run is left as it is.",
        formatter_class=arguments.Help,
    )
    parser.add_argument(
        "--config",
        type=arguments.input_file,
        required=True,
        help="YAML of the training (FinetuneConfig)",
    )
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--init",
        type=arguments.input_folder,
        help="model folder to start from; its outputs are named after the stems",
    )
    start.add_argument(
        "--model", type=arguments.input_file, help="YAML of the network to train from scratch"
    )
    parser.add_argument(
        "--manifest", type=arguments.any_path, required=True, help="such as manifests/labelled"
    )
    parser.add_argument(
        "--out",
        type=arguments.output_folder,
        required=True,
        help="experiment folder to write",
    )
    parser.add_argument(
        "--trainable",
        choices=("all", "encoder_decoder"),
        default="all",
        help="encoder_decoder freezes the separator (paper section 4.5)",
    )
    parser.add_argument(
        "--seed",
        type=arguments.ranged(limits.SEED),
        default=0,
        help="of weights and data",
    )
    add_training_options(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train the network and save the model folder."""
    from mixit_mss.training.runs import finetune

    finetune(_request(argv))


def is_done(argv: list[str]) -> bool:
    """Whether the experiment folder is up to date."""
    request = _request(argv)
    return request.identity.is_done(request.folder)


def _request(argv: list[str] | None) -> Request[FinetuneConfig]:
    options = vars(build_parser().parse_args(argv))
    from mixit_mss.scoring.experiments import command_line
    from mixit_mss.training.runs import finetuning

    hardware = take_hardware(options)
    return finetuning(**options, hardware=hardware, command=command_line("finetune", argv))


if __name__ == "__main__":
    sys.exit(run(main, "finetune"))
