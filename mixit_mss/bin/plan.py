"""Estimate the cost of a training run before it starts."""

from __future__ import annotations

import argparse
import json
import sys

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run

CORPORA = ("fma_small", "fma_medium", "fma_large", "fma_full", "musdb18hq")


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss plan``."""
    parser = arguments.Parser(
        prog="mixit-mss plan",
        description="Say what a pre-training or fine-tuning run will cost before it starts: "
        "parameters, FLOPs per step, memory per device, steps, hours of audio, GPU-hours and days, "
        "and disk for the corpus. Nothing is trained; one step is taken on this machine to weigh "
        "its memory, unless --no-dry-run is given.",
        formatter_class=arguments.Help,
    )
    parser.add_argument(
        "--config", type=arguments.input_file, required=True, help="YAML of the training"
    )
    parser.add_argument(
        "--stage",
        choices=("pretrain", "finetune"),
        help="what the config is for, where its keys do not tell",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--model",
        type=arguments.any_path,
        default="medium",
        help="YAML of the network, or the paper's small, medium or large",
    )
    start.add_argument(
        "--init", type=arguments.input_folder, help="fine-tuning: model folder to start from"
    )
    parser.add_argument(
        "--stems",
        type=arguments.stems,
        default="vocals,drums,bass,other",
        metavar="A,B,...",
        help="fine-tuning: names of the stems, where neither --init nor --manifest tells",
    )
    parser.add_argument(
        "--trainable",
        choices=("all", "encoder_decoder"),
        default="all",
        help="fine-tuning: encoder_decoder freezes the separator (paper section 4.5)",
    )
    parser.add_argument(
        "--ngpu",
        type=arguments.ranged(limits.DEVICES),
        default=1,
        help="devices that share the batch",
    )
    parser.add_argument(
        "--tflops",
        type=arguments.number(0, 1e6, above=True),
        default=100.0,
        help="TFLOP/s that one device sustains; 100 is a third of an A100's bfloat16 peak",
    )
    parser.add_argument("--no-dry-run", action="store_true", help="estimate the memory instead")
    corpus = parser.add_mutually_exclusive_group()
    corpus.add_argument(
        "--manifest",
        type=arguments.any_path,
        help="such as manifests/labelled: what its audio files take",
    )
    corpus.add_argument("--corpus", choices=CORPORA, help="what its archive takes")
    parser.add_argument("--json", action="store_true", help="print JSON, sizes in bytes")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Estimate the cost and print it."""
    args = build_parser().parse_args(argv)
    from mixit_mss.cost import plan as planning
    from mixit_mss.data.manifest import read_manifest
    from mixit_mss.training.memory.step import training_step

    manifest = read_manifest(args.manifest) if args.manifest else None
    step = training_step(
        args.config,
        stage=args.stage,
        model=args.model,
        init=args.init,
        stems=args.stems.split(","),
        manifest=manifest,
        trainable=args.trainable,
    )
    disk = planning.files_on_disk(manifest) if manifest else None
    if args.corpus:
        disk = planning.archive_on_disk(args.corpus)
    plan = planning.make_plan(
        step, ngpu=args.ngpu, tflops=args.tflops, dry_run=not args.no_dry_run, disk=disk
    )
    print(json.dumps(planning.as_dict(plan), indent=2) if args.json else planning.table(plan))


if __name__ == "__main__":
    sys.exit(run(main, "plan"))
