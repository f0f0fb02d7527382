"""Stage 3: mixture-invariant training on unlabelled songs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.bin.training_options import add_training_options, take_hardware

if TYPE_CHECKING:
    from mixit_mss.training.config import PretrainConfig
    from mixit_mss.training.request import Request


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss pretrain``."""
    parser = arguments.Parser(
        prog="mixit-mss pretrain",
        description="Train a network on sums of two unlabelled songs by mixture-invariant training "
        "(MixIT, paper section 3). To resume a killed run, give the same command again; a finished run "
        "is left as it is.",
        formatter_class=arguments.Help,
    )
    parser.add_argument(
        "--config",
        type=arguments.input_file,
        required=True,
        help="YAML of the training (PretrainConfig)",
    )
    parser.add_argument(
        "--model", type=arguments.input_file, required=True, help="YAML of the network"
    )
    parser.add_argument(
        "--manifest", type=arguments.any_path, required=True, help="such as manifests/unlabelled"
    )
    parser.add_argument(
        "--out",
        type=arguments.output_folder,
        required=True,
        help="experiment folder to write",
    )
    parser.add_argument(
        "--seed",
        type=arguments.ranged(limits.SEED),
        default=0,
        help="of weights and data",
    )
    parser.add_argument(
        "--monitor-stems",
        type=arguments.any_path,
        metavar="MANIFEST",
        help="labelled songs, such as manifests/labelled, on whose validation split to log how well "
        "stems come apart; nothing is chosen by it",
    )
    add_training_options(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train the network and save the model folder."""
    from mixit_mss.training.runs import pretrain

    pretrain(*_request(argv))


def is_done(argv: list[str]) -> bool:
    """Whether the experiment folder is up to date."""
    request, _ = _request(argv)
    return request.identity.is_done(request.folder)


def _request(argv: list[str] | None) -> tuple[Request[PretrainConfig], str | None]:
    options = vars(build_parser().parse_args(argv))
    from mixit_mss.scoring.experiments import command_line
    from mixit_mss.training.runs import pretraining

    hardware = take_hardware(options)
    monitor_stems = options.pop("monitor_stems")
    command = command_line("pretrain", argv)
    return pretraining(**options, hardware=hardware, command=command), monitor_stems


if __name__ == "__main__":
    sys.exit(run(main, "pretrain"))
