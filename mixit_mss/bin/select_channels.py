"""Stage 4: select an output channel for each stem by vote."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.errors import UserError
from mixit_mss.imports import importing

if TYPE_CHECKING:
    from mixit_mss.data.manifest import Manifest
    from mixit_mss.stamps import Fingerprint


def build_parser() -> argparse.ArgumentParser:
    """The command line of ``mixit-mss select-channels``."""
    parser = arguments.Parser(
        prog="mixit-mss select-channels",
        description="Let the validation songs' stems vote for the outputs of a network that was "
        "pre-trained without labels, one vote per chunk, and write a network with the winners only "
        "(paper section 4.3). Writes the votes beside it as votes.csv.",
        formatter_class=arguments.Help,
    )
    parser.add_argument(
        "--model",
        type=arguments.input_folder,
        required=True,
        help="model folder of the pre-trained network",
    )
    parser.add_argument(
        "--manifest", type=arguments.any_path, required=True, help="such as manifests/labelled"
    )
    parser.add_argument(
        "--stems",
        type=arguments.stems,
        required=True,
        help="names separated by commas, in order",
    )
    parser.add_argument(
        "--out", type=arguments.output_folder, required=True, help="model folder to write"
    )
    parser.add_argument("--split", type=arguments.filled, default="valid", help="which songs vote")
    parser.add_argument(
        "--chunk-seconds",
        type=arguments.ranged(limits.CHUNK_SECONDS),
        default=6.0,
        help="length of a chunk",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Vote and save the model folder."""
    args = build_parser().parse_args(argv)
    from mixit_mss.files import MODEL_FILES, sweep

    request, songs = _request(args)
    if request.is_done(args.out):
        print(f"{args.out}: nothing changed, nothing to do")
        return
    with importing():
        from mixit_mss.models.hub import load_model, read_card, save_model
        from mixit_mss.scoring.experiments import (
            command_line,
            current_commit,
            write_experiment,
        )
        from mixit_mss.selection.select import VOTES, describe, select, vote, write_votes
        from mixit_mss.separation.songs import below_rate

    card = read_card(args.model)
    model = load_model(args.model)
    stems = _stems(args)
    voters = songs.select(split=args.split)
    if note := below_rate(voters, model.sample_rate):
        print(note)
    votes = vote(model, voters, stems, args.chunk_seconds)
    selected, choice = select(model, votes, stems)
    print(describe(votes, stems, choice))
    origin = {"steps": card.get("steps"), "seed": card.get("seed")}
    origin |= {"commit": current_commit(), "command": command_line("select-channels", argv)}
    sweep(args.out)
    save_model(selected, args.out, {**origin, "training_data": card.get("training_data")})
    write_votes(Path(args.out) / VOTES, votes, stems, choice)
    write_experiment(
        args.out, parameters=selected.num_parameters, config=card.get("config"), **origin
    )
    request.mark_done(args.out, [Path(args.out) / name for name in (*MODEL_FILES, VOTES)])


def is_done(argv: list[str]) -> bool:
    """Whether the model folder is up to date."""
    args = build_parser().parse_args(argv)
    return _request(args)[0].is_done(args.out)


def _request(args: argparse.Namespace) -> tuple[Fingerprint, Manifest]:
    from mixit_mss.data.manifest import read_manifest
    from mixit_mss.files import CONFIG, WEIGHTS
    from mixit_mss.stamps import Fingerprint

    if os.path.realpath(args.out) == os.path.realpath(args.model):
        raise UserError(f"--out {args.out} is --model itself, which would be lost; name another")
    for name in (CONFIG, WEIGHTS):
        if not (Path(args.model) / name).is_file():
            raise UserError(f"{args.model} is no model folder: it holds no {name}")
    songs = read_manifest(args.manifest)
    request = Fingerprint(
        "select-channels",
        {"stems": _stems(args), "chunk_seconds": args.chunk_seconds, "split": args.split},
        {name: Path(args.model) / name for name in (WEIGHTS, CONFIG)},
        {"songs": songs.digest(args.split)},
    )
    return request, songs


def _stems(args: argparse.Namespace) -> list[str]:
    return [name.strip() for name in args.stems.split(",")]


if __name__ == "__main__":
    sys.exit(run(main, "select-channels"))
