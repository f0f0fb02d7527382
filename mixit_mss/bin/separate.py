"""Separate songs into stems with a trained model."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Iterator

from mixit_mss.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss separate``."""
    parser = argparse.ArgumentParser(
        prog="mixit-mss separate",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Separate songs into stems, written to OUT/<song>/<stem>.wav at each song's own "
        "sample rate, channel count and exact length. Any audio that ffmpeg reads will do. Long "
        "songs are separated in overlapping chunks and streamed, so memory does not grow with their "
        "length. Songs that are already done with the same model and options are left alone; a song "
        "that cannot be read is reported and the rest go on (exit status 1).",
    )
    parser.add_argument("songs", nargs="*", metavar="SONG", help="audio file, or folder of them")
    parser.add_argument(
        "--manifest", help="take mixtures from this table, such as manifests/labelled"
    )
    parser.add_argument("--split", default="test", help="which songs of --manifest")
    parser.add_argument("--model", required=True, metavar="FOLDER", help="model folder")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the stems go")
    parser.add_argument("--stems", metavar="A,B", help="only these stems, such as vocals,drums")
    parser.add_argument(
        "--all-channels",
        action="store_true",
        help="write every output of the network, named or not, as channel_00, channel_01, ...",
    )
    parser.add_argument("--chunk-seconds", type=float, default=12.0, help="length of a chunk")
    parser.add_argument("--hop-seconds", type=float, default=6.0, help="step between chunks")
    parser.add_argument("--batch-size", type=int, default=1, help="chunks separated at once")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--format", choices=("wav", "flac"), default="wav", help="wav: 32-bit float; flac: 24-bit"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Separate what the options name; raise UserError naming the songs that failed."""
    args = build_parser().parse_args(argv)
    if bool(args.songs) == bool(args.manifest):
        raise UserError("give either songs (files or folders) or --manifest, and not both")
    from mixit_mss.data.manifest import read_manifest
    from mixit_mss.evaluation.separation import Options, separate_files
    from mixit_mss.evaluation.songs import find_songs, manifest_songs

    options = Options(
        stems=tuple(args.stems.split(",")) if args.stems else None,
        all_channels=args.all_channels,
        chunk_seconds=args.chunk_seconds,
        hop_seconds=args.hop_seconds,
        batch_size=args.batch_size,
        audio_format=args.format,
    )
    if args.manifest:
        songs = manifest_songs(read_manifest(args.manifest), args.split)
    else:
        songs = find_songs(args.songs)
    with _terminated_like_interrupted():
        outcomes = separate_files(songs, args.model, args.out, options, args.device)
    counts = Counter(outcome.status for outcome in outcomes)
    failed = [outcome.song for outcome in outcomes if outcome.status == "failed"]
    print(f"{args.out}: " + ", ".join(f"{counts[status]} {status}" for status in sorted(counts)))
    if failed:
        raise UserError(f"{len(failed)} of {len(outcomes)} songs failed: {', '.join(failed)}")


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that the song at work leaves no half files."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    from mixit_mss.bin.main import run

    sys.exit(run(main, "separate"))
