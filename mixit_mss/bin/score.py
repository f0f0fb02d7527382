"""Stage 6: scores of estimates against references."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.errors import UserError
from mixit_mss.machine import processes

if TYPE_CHECKING:
    from mixit_mss.scoring.songs import Task


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss score``."""
    parser = arguments.Parser(
        prog="mixit-mss score",
        formatter_class=arguments.Help,
        description="Score separated songs in dB: uSDR (song-level SNR), the same per channel, and "
        "cSDR (museval's SDR, median over 1-s windows). Either all songs of a manifest's split, "
        "with estimates in ESTIMATES/<song>/<stem>.wav, or one song, with --references FOLDER. "
        "A stem that is silent throughout has no score; it is named and left out of the summary.",
    )
    songs = parser.add_mutually_exclusive_group(required=True)
    songs.add_argument(
        "--manifest",
        type=arguments.any_path,
        help="table of songs, such as manifests/labelled",
    )
    songs.add_argument(
        "--references",
        type=arguments.input_folder,
        metavar="FOLDER",
        help="one song's stems as files",
    )
    parser.add_argument(
        "--split", type=arguments.filled, default="test", help="which songs of --manifest"
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "--estimates",
        type=arguments.input_folder,
        metavar="FOLDER",
        help="what mixit-mss separate wrote",
    )
    given.add_argument(
        "--oracle",
        choices=("mixture", "irm"),
        help="score the mixture as every stem's estimate, or the ideal ratio mask",
    )
    parser.add_argument(
        "--stems",
        type=arguments.stems,
        metavar="A,B,...",
        help="score only these, such as vocals if nothing else was estimated (default: all stems of the "
        "songs)",
    )
    parser.add_argument(
        "--out",
        type=arguments.output_file,
        metavar="CSV",
        help="table to write, a row per song and stem",
    )
    parser.add_argument(
        "--label", type=arguments.text, help="title of this row of the results; needs --out"
    )
    parser.add_argument(
        "--order",
        type=arguments.whole(-1000000, 1000000),
        default=0,
        help="place of this row in the results",
    )
    parser.add_argument(
        "--full-bsseval", action="store_true", help="also museval's SDR, ISR, SIR, SAR: slow"
    )
    parser.add_argument(
        "--nj", type=arguments.ranged(limits.PROCESSES), default=1, help="songs at a time"
    )
    parser.add_argument(
        "--shard",
        type=arguments.shard,
        metavar="K/N",
        help="only the K-th of N shares of the songs, and no table yet: N of these commands can run "
        "at once, on one machine or on several; then the command without --shard writes the table",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Score the songs, print a summary and write the table."""
    args = _arguments(argv)
    args.nj = processes(args.nj, "--nj")
    from mixit_mss.files import sweep
    from mixit_mss.parallel import parse_shard
    from mixit_mss.scoring import songs as scoring

    shard = parse_shard(args.shard) if args.shard else None
    tasks = _tasks(args)
    # scores of each song, so that a killed or changed run scores no song twice
    parts = _parts(args)
    if shard:
        tasks = shard.of(tasks)
        if tasks:
            scoring.score_songs(tasks, args.nj, parts)
        print(f"{args.out}: shard {shard}, songs scored: {len(tasks)}")
        return
    if parts and _is_done(args, tasks, parts):
        print(f"{args.out}: nothing changed, nothing to do")
        return
    if parts:
        sweep(parts.parent)  # left by killed processes
    scores = scoring.score_songs(tasks, args.nj, parts)
    print(scoring.summary_text(scores))
    if args.stems:
        print(f"scored: {args.stems}, and no other stem; the average is over these")
    if parts:
        scoring.write_scores(args.out, scores)
        if args.label:
            _write_facts(args, argv)
        scoring.forget_others(tasks, parts)
        print(f"{args.out}: songs scored: {len(tasks)}")


def is_done(argv: list[str]) -> bool:
    """Whether the table is up to date."""
    args = _arguments(argv)
    parts = _parts(args)
    return parts is not None and _is_done(args, _tasks(args), parts)


def _parts(args: argparse.Namespace) -> Path | None:
    return Path(args.out).with_name(f".{Path(args.out).stem}") if args.out else None


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    args = build_parser().parse_args(argv)
    if args.references and args.oracle:
        raise UserError("--oracle needs --manifest, which says where the mixtures are")
    if args.label and not args.out:
        raise UserError("--label needs --out, beside which the row's facts are written")
    if args.shard and not (args.manifest and args.out):
        raise UserError("--shard needs --manifest, whose songs it shares out, and --out")
    return args


def _tasks(args: argparse.Namespace) -> list[Task]:
    """One task per song."""
    from mixit_mss.data.manifest import read_manifest
    from mixit_mss.scoring import songs as scoring

    stems = [name.strip() for name in args.stems.split(",")] if args.stems else None
    more = {"full_bsseval": args.full_bsseval, "stems": stems}
    if not args.manifest:
        return [scoring.folder_task(args.references, args.estimates, **more)]
    manifest = read_manifest(args.manifest)
    return scoring.manifest_tasks(manifest, args.split, args.estimates, args.oracle, **more)


def _is_done(args: argparse.Namespace, tasks: list[Task], parts: Path) -> bool:
    """Whether the table and the facts of its row are up to date."""
    import pandas as pd

    from mixit_mss.scoring import songs as scoring
    from mixit_mss.scoring.experiments import has_row

    known = scoring.known_scores(tasks, parts)
    if len(known) < len(tasks):
        return False
    if args.label and not has_row(Path(args.out).parent, args.label, args.order):
        return False
    scores = pd.concat([known[song] for song in sorted(known)], ignore_index=True)
    try:
        return Path(args.out).read_text(encoding="utf-8") == scoring.scores_text(scores)
    except (OSError, ValueError):
        return False


def _write_facts(args: argparse.Namespace, argv: list[str] | None) -> None:
    """Complete ``experiment.json``: keep how a model was trained; add the facts of an oracle."""
    from mixit_mss.scoring.experiments import (
        FILE,
        command_line,
        current_commit,
        write_experiment,
    )

    folder = Path(args.out).parent
    facts = {"label": args.label, "order": args.order}
    if args.oracle or not (folder / FILE).exists():
        facts |= {"command": command_line("score", argv), "commit": current_commit()}
    write_experiment(folder, **facts)


if __name__ == "__main__":
    from mixit_mss.bin.main import run

    sys.exit(run(main, "score"))
