"""Separate songs into stems with a trained model."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import run
from mixit_mss.errors import UserError

if TYPE_CHECKING:
    from mixit_mss.separation.request import Options

FORMATS = ("wav", "wav24", "wav16", "flac", "flac16", "mp3")
EXAMPLES = """examples:
  mixit-mss separate song.mp3 --model FOLDER --out separated
  mixit-mss separate 'album/*.flac' --model FOLDER --out separated --two-stems vocals --format mp3
  mixit-mss separate my_songs --model pretrained --out separated --all-channels
  curl -s URL | mixit-mss separate - --model FOLDER --stems drums --out - > drums.wav
"""


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss separate``."""
    parser = arguments.Parser(
        prog="mixit-mss separate",
        formatter_class=arguments.Help,
        description="""\
Separate songs into stems, written to OUT/<song>/<stem>.wav at each song's own
sample rate, channel count and exact length, with its tags. Any audio that
ffmpeg reads will do. Long songs are separated in overlapping chunks and
streamed, so memory does not grow with their length. Songs that are already
done with the same model and options are left alone; a song that cannot be read
is reported and the rest go on (exit status 1). Estimates are never rescaled:
samples beyond full scale are kept in float WAV, and reported where they clip.

Only stems that this command wrote before, which the stamp .done.json beside them
lists, are overwritten. No other file is changed or removed: other stems, formats
and notes in a song's folder stay, and a song whose stem would replace a file of
yours is reported.

A song is named after its file without the suffix; after its folder if the file is
called "mixture"; below a folder that was given, after its path in it. Songs of the
same name keep their suffix or get their folder's name in front. Stems that this
command wrote to OUT are not separated again. In the names of files and folders,
%2E stands for a leading dot, %0A for a line feed and so on; names longer than 196
bytes are cut.""",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "songs",
        nargs="*",
        type=arguments.song,
        metavar="SONG",
        help="audio file, folder of them, pattern such as 'album/*.mp3', or - for standard input",
    )
    parser.add_argument(
        "--manifest",
        type=arguments.any_path,
        help="take mixtures from this table, such as manifests/labelled",
    )
    parser.add_argument(
        "--split", type=arguments.filled, default="test", help="which songs of --manifest"
    )
    parser.add_argument(
        "--shard",
        type=arguments.shard,
        metavar="K/N",
        help="only the K-th of N shares of its songs: N of these commands can run at once, on one "
        "machine or on several",
    )
    parser.add_argument(
        "--model",
        type=arguments.model,
        required=True,
        metavar="FOLDER",
        help="model folder, hf:USER/NAME on the Hugging Face hub, or official:NAME for weights that "
        "the paper's authors published (`mixit-mss import-official list` lists them)",
    )
    parser.add_argument(
        "--out",
        type=arguments.output_folder_or_pipe,
        required=True,
        metavar="DIR",
        help="where the stems go; - sends one stem of one song to standard output when it is done",
    )
    parser.add_argument(
        "--stems",
        type=arguments.stems,
        metavar="A,B",
        help="only these stems, such as vocals,drums",
    )
    parser.add_argument(
        "--two-stems",
        type=arguments.stem,
        metavar="STEM",
        help="this stem, such as vocals, and no_vocals: the mixture minus it",
    )
    parser.add_argument(
        "--all-channels",
        action="store_true",
        help="write every output of the network, named or not, as channel_00, channel_01, ...",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="wav",
        help="wav: 32-bit float, never clips; wav24, wav16; flac: 24-bit; flac16; mp3: 320 kbit/s",
    )
    parser.add_argument(
        "--audio-stream",
        type=arguments.ranged(limits.AUDIO_STREAM),
        metavar="N",
        help="which audio stream of a video, counted from 1 (default: the one marked as default, else the "
        "one with the most channels; it is reported)",
    )
    parser.add_argument(
        "--chunk-seconds",
        type=arguments.ranged(limits.CHUNK_SECONDS),
        default=12.0,
        help="length of a chunk",
    )
    parser.add_argument(
        "--hop-seconds",
        type=arguments.ranged(limits.CHUNK_SECONDS),
        default=6.0,
        help="step between chunks",
    )
    parser.add_argument(
        "--window",
        choices=("flat", "fade"),
        default="flat",
        help="flat: the mean of overlapping chunks, as in the paper; fade: crossfade",
    )
    parser.add_argument(
        "--shifts",
        type=arguments.ranged(limits.SHIFTS),
        default=1,
        help="average the estimates over this many small delays of the song; takes as many times as long",
    )
    parser.add_argument(
        "--batch-size",
        type=arguments.ranged(limits.CHUNKS_AT_ONCE),
        default=1,
        help="chunks separated at once",
    )
    parser.add_argument(
        "--device", type=arguments.device, default="auto", help="auto, cpu, cuda, cuda:1, mps"
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="16-bit mixed precision: faster on GPUs, with errors about 50 dB below the estimates",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Separate the songs; raises UserError that names the songs that failed."""
    args = build_parser().parse_args(argv)
    if bool(args.songs) == bool(args.manifest):
        raise UserError("give either songs (files or folders) or --manifest, and not both")
    if args.shard and not args.manifest:
        raise UserError("--shard needs --manifest, whose songs it shares out")
    from mixit_mss.separation import pipes
    from mixit_mss.separation.separator import separate_files

    options = _options(args)
    to_standard_output = args.out == pipes.STANDARD
    with contextlib.ExitStack() as stack:
        stack.enter_context(_terminated_like_interrupted())
        songs = _songs(args, stack.enter_context(pipes.stored_input(args.songs)))
        out = Path(args.out)
        if to_standard_output:
            pipes.check_output(options, songs)
            out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        outcomes = separate_files(songs, args.model, out, options, args.device)
        failed = [outcome.song for outcome in outcomes if outcome.status == "failed"]
        if to_standard_output and not failed:
            pipes.put_out(out)
    if not to_standard_output:
        counts = Counter(outcome.status for outcome in outcomes)
        counted = ", ".join(f"{counts[status]} {status}" for status in sorted(counts))
        print(f"{args.out}: {counted}")
    if failed:
        from mixit_mss.names import printable

        names = printable(", ".join(failed))
        raise UserError(f"{len(failed)} of {len(outcomes)} songs failed: {names}")


def is_done(argv: list[str]) -> bool:
    """Whether all songs are already separated."""
    from mixit_mss.names import place
    from mixit_mss.separation import request

    args = build_parser().parse_args(argv)
    options, songs = _options(args), _songs(args, args.songs)
    return all(
        request.is_done(place(args.out, song.name), song, args.model, options) for song in songs
    )


def _options(args: argparse.Namespace) -> Options:
    from mixit_mss.separation.request import Options

    return Options(
        stems=tuple(name.strip() for name in args.stems.split(",")) if args.stems else None,
        two_stems=args.two_stems,
        all_channels=args.all_channels,
        chunk_seconds=args.chunk_seconds,
        hop_seconds=args.hop_seconds,
        batch_size=args.batch_size,
        shifts=args.shifts,
        window=args.window,
        half=args.half,
        audio_format=args.format,
        audio_stream=args.audio_stream,
    )


def _songs(args: argparse.Namespace, paths: list[str]) -> list:
    """The songs of the manifest's split, or those given as arguments."""
    from mixit_mss.separation.pipes import STANDARD
    from mixit_mss.separation.songs import list_songs, manifest_songs

    if not args.manifest:
        listing = list_songs(paths, None if args.out == STANDARD else args.out)
        if listing.left_out and sys.stderr is not None:
            print(listing.left_out, file=sys.stderr)
        return listing.songs
    from mixit_mss.data.manifest import read_manifest
    from mixit_mss.parallel import parse_shard

    songs = manifest_songs(read_manifest(args.manifest, check_files=False), args.split)
    return parse_shard(args.shard).of(songs) if args.shard else songs


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Unwind on SIGTERM and SIGHUP as on Ctrl-C, so that no partial files are left."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # under nohup SIGHUP is ignored, and the work must continue
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(run(main, "separate"))
