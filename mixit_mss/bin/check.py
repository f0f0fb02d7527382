"""Before stage 3: check configs, network and songs of a recipe."""

from __future__ import annotations

import argparse
import sys

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.errors import UsageError, UserError
from mixit_mss.failures import say
from mixit_mss.imports import importing

DESCRIPTION = """\
Check the inputs of stages 3 to 6 before days of training: the configs, the
network, and the manifests. All faults are reported at once, one sentence each.
No audio is read; it takes seconds.

  faults    stop a stage: a key that a config does not know, a number out of its
            range, a network that cannot be built or that this machine's memory
            does not hold, fewer outputs than stems, a split without songs
            (validation songs belong in valid/), a stem that is silent in all
            training songs or missing from a song, files of one song that differ
            in length, rate or channels, songs below the network's rate, songs for
            validation or test among the unlabelled ones
  warnings  stop nothing, or only a stage after --stop-stage

run.sh calls this before stage 0 for the configs and the network, and before
stage 3 for the songs, too. The exit status is 0 if there is no fault, else 1.
"""
EXAMPLES = """\
examples:
  mixit-mss check --pretrain conf/pretrain.yaml --model conf/model_small.yaml
      --finetune conf/finetune.yaml --unlabelled manifests/unlabelled
      --labelled manifests/labelled --stems vocals,drums,bass,other
  mixit-mss check --model conf/model_small.yaml --finetune conf/finetune.yaml
      --labelled manifests/labelled --stems lead,backing    # from scratch only
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss check``."""
    parser = arguments.Parser(
        prog="mixit-mss check",
        formatter_class=arguments.Help,
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add(
        "--model",
        type=arguments.any_path,
        required=True,
        metavar="YAML",
        help="of the network",
    )
    add(
        "--labelled",
        type=arguments.any_path,
        metavar="MANIFEST",
        help="songs with stems, such as manifests/labelled; without it only configs and network are "
        "looked at",
    )
    add(
        "--stems",
        type=arguments.stems,
        required=True,
        metavar="A,B,...",
        help="names separated by commas",
    )
    add(
        "--pretrain",
        type=arguments.any_path,
        metavar="YAML",
        help="of the pre-training; leave it out where all training is from scratch",
    )
    add(
        "--unlabelled",
        type=arguments.any_path,
        metavar="MANIFEST",
        help="songs to pre-train on, such as manifests/unlabelled",
    )
    add(
        "--finetune",
        type=arguments.any_path,
        nargs="+",
        default=[],
        metavar="YAML",
        help="of every fine-tuning",
    )
    add(
        "--sample-rate",
        type=arguments.ranged(limits.SAMPLE_RATE),
        metavar="HZ",
        help="at which stage 1 is going to store the songs",
    )
    add(
        "--stage",
        type=arguments.whole(3, 6),
        default=3,
        metavar="N",
        help="the first stage that is still to run; what only those before it need is not looked at "
        "(default: 3)",
    )
    add(
        "--stop-stage",
        type=arguments.whole(3, 6),
        default=6,
        metavar="N",
        help="the last one; what stops a later stage is a warning (default: 6)",
    )
    add(
        "--ngpu",
        type=arguments.ranged(limits.DEVICES),
        default=1,
        metavar="N",
        help="devices that share a batch, on each machine (default: 1)",
    )
    add(
        "--num-nodes",
        type=arguments.ranged(limits.NODES),
        default=1,
        metavar="N",
        help="machines that share a batch (default: 1)",
    )
    add(
        "--elsewhere",
        action="store_true",
        help="training runs on another machine: this one's memory does not matter",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the checks and print what they found."""
    args = build_parser().parse_args(argv)
    if args.labelled and bool(args.pretrain) != bool(args.unlabelled):
        raise UsageError("--pretrain and --unlabelled go together: give both or neither")
    with importing():
        from mixit_mss.checks.recipe import Recipe, findings, in_words
        from mixit_mss.training.hardware import Hardware
    recipe = Recipe(
        model=args.model,
        labelled=args.labelled,
        stems=[name.strip() for name in args.stems.split(",")],
        unlabelled=args.unlabelled,
        pretrain=args.pretrain,
        finetune=args.finetune,
        hardware=Hardware(ngpu=args.ngpu, num_nodes=args.num_nodes),
        here=not args.elsewhere,
        sample_rate=args.sample_rate,
    )
    faults, warnings = in_words(findings(recipe), args.stage, args.stop_stage)
    for warning in warnings:
        print(f"warning: {warning}")
    if len(faults) == 1:
        raise UserError(faults[0])
    if faults:
        for fault in faults:
            say(f"mixit-mss check: {fault}")
        raise UserError(f"{len(faults)} faults, which stop these stages")
    print(
        f"configs{',' if args.labelled else ' and'} network{' and songs' if args.labelled else ''} fit together"
    )


if __name__ == "__main__":
    sys.exit(run(main, "check"))
