"""What separating a song costs: time beside other toolkits, and memory over its length.

``python -m benchmarks.separation``
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from benchmarks.network import weigh
from benchmarks.timing import alternate, print_table, resident
from mixit_mss.models.bs_locoformer import SIZES, BSLocoformer
from mixit_mss.separation.overlap_add import separate
from mixit_mss.separation.request import Options
from mixit_mss.separation.songs import Song
from mixit_mss.separation.stream import separate_song

RATE, STEMS = 44100, ("vocals", "drums", "bass", "other")
TINY = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 1, "num_groups": 1}
# The published htdemucs has 512 channels between encoder and decoder, and chunks of 7.8 s.
HTDEMUCS = {"bottom_channels": 512, "segment": 7.8}
HELP = """\
Real-time factor (seconds of computing per second of song, on the CPU) of BS-Locoformer in the
paper's sizes, beside htdemucs and BS-RoFormer, all with four stereo stems and random weights, in
turns in one process; and the peak memory of separating files of several lengths from disk to disk.

htdemucs runs by its own toolkit with its own chunks (7.8 s, a quarter overlapping); BS-RoFormer, of
which the package is the network alone, runs by ours, with the dimension and number of blocks of our
network of the same size and no hyper-connections. A toolkit that is not installed is left out:

  pip install demucs BS-RoFormer     (best into an environment of its own)"""


class Counting(nn.Module):
    """A network that counts the seconds of mixture it was given."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, mixture: Tensor, *args, **options) -> Tensor:
        self.seconds += mixture.shape[0] * mixture.shape[-1] / RATE
        return self.network(mixture, *args, **options)


class WholeHops(nn.Module):
    """BS-RoFormer for mixtures of any length: it gives back whole STFT hops only."""

    hop = 512

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, mixture: Tensor) -> Tensor:
        length = mixture.shape[-1]
        padded = nn.functional.pad(mixture, (0, -length % self.hop))
        return self.network(padded)[..., :length]


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""

    class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        pass

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.separation", description=HELP, formatter_class=Formatter
    )
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--beside", nargs="*", choices=OTHERS, default=list(OTHERS))
    parser.add_argument(
        "--seconds", type=float, default=24, help="length of the song that is timed"
    )
    parser.add_argument("--chunk-seconds", type=float, default=12, help="of ours and BS-RoFormer")
    parser.add_argument("--hop-seconds", type=float, default=6, help="of ours and BS-RoFormer")
    parser.add_argument("--batch-size", type=int, default=1, help="of ours and BS-RoFormer")
    parser.add_argument("--repeats", type=int, default=1, help="rounds; the best one counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-time", action="store_true", help="leave the time table out")
    parser.add_argument(
        "--lengths",
        type=float,
        nargs="*",
        default=[180, 1800, 10800],
        help="seconds of the files whose memory is measured; none leaves the table out",
    )
    parser.add_argument("--song-rate", type=int, default=48000, help="Hz of these files")
    parser.add_argument("--format", default="flac16", help="of the stems that are written")
    parser.add_argument(
        "--scratch", help="folder for these files and their stems; hours need some GB"
    )
    return parser


def ours(size: str, args: argparse.Namespace) -> tuple[Counting, Callable]:
    """BS-Locoformer and how it separates a song (channel, sample)."""
    model = Counting(BSLocoformer.from_size(size, len(STEMS)).eval())
    return model, _in_our_chunks(model, args)


def roformer(size: str, args: argparse.Namespace) -> tuple[Counting, Callable]:
    """BS-RoFormer with the dimension and depth of our ``size``."""
    from bs_roformer import BSRoformer

    network = BSRoformer(
        dim=SIZES[size]["dim"],
        depth=SIZES[size]["num_blocks"],
        stereo=True,
        num_stems=len(STEMS),
        time_transformer_depth=1,
        freq_transformer_depth=1,
        num_residual_streams=1,
        stft_window_fn=torch.hann_window,
    )
    model = Counting(WholeHops(network.eval()))
    return model, _in_our_chunks(model, args)


def demucs(size: str, args: argparse.Namespace) -> tuple[Counting, Callable]:
    """htdemucs, which has one size, by its own toolkit; the model is wrapped inside."""
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    network = HTDemucs(list(STEMS), samplerate=RATE, **HTDEMUCS).eval()
    model = Counting(nn.Identity())
    forward = network.forward

    def counted(mixture: Tensor) -> Tensor:
        model.seconds += mixture.shape[0] * mixture.shape[-1] / RATE
        return forward(mixture)

    network.forward = counted
    model.network = network
    return model, lambda song: apply_model(network, song[None], shifts=0, overlap=0.25)[0]


OTHERS = {"demucs": demucs, "bs_roformer": roformer}


def _in_our_chunks(model: Counting, args: argparse.Namespace) -> Callable[[Tensor], Tensor]:
    model.sample_rate = RATE
    return lambda song: separate(model, song, args.chunk_seconds, args.hop_seconds, args.batch_size)


def contestants(args: argparse.Namespace) -> dict[str, tuple[Counting, Callable]]:
    """Every network that was asked for and whose toolkit is installed, by name."""
    wanted = [(f"ours, {size}", ours, size) for size in args.sizes]
    if "demucs" in args.beside:
        wanted.append(("htdemucs", demucs, ""))
    if "bs_roformer" in args.beside:
        wanted += [(f"BS-RoFormer, {size}", roformer, size) for size in args.sizes]
    made = {}
    for name, make, size in wanted:
        try:
            made[name] = make(size, args)
        except ImportError as error:
            print(f"{name} is left out: {error}; see --help")
    return made


def time_table(args: argparse.Namespace) -> None:
    """Print the real-time factors."""
    song = torch.from_numpy(song_block(args.seconds, RATE))
    made = contestants(args)

    def run(separate_it: Callable) -> Callable[[], None]:
        def separate_song() -> None:
            with torch.inference_mode():
                estimates = separate_it(song)
            assert estimates.shape == (len(STEMS), *song.shape), estimates.shape

        return separate_song

    best = alternate({name: run(how) for name, (_, how) in made.items()}, args.repeats)
    rows = []
    for name, (model, _) in made.items():
        given = model.seconds / (args.repeats + 1)  # the first round is not timed
        rows.append(
            [
                name,
                f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}",
                f"{best[name] / args.seconds:.2f}",
                f"{given / args.seconds:.2f}",
                f"{best[name] / given:.2f}",
            ]
        )
    header = ["", "parameters, M", "s per s of song", "times over", "s per s given to the network"]
    print_table(f"{args.seconds:g} s of song, {args.threads} threads, float32", header, rows)


def song_block(seconds: float, rate: int) -> np.ndarray:
    """Tones with some noise, (channel, sample) float32."""
    generator = np.random.default_rng(0)
    clock = np.arange(round(seconds * rate)) / rate
    tones = [0.2 * np.sin(2 * np.pi * pitch * clock) for pitch in (220, 331)]
    return (np.stack(tones) + 1e-4 * generator.standard_normal((2, len(clock)))).astype(np.float32)


def write_song(path: Path, seconds: float, rate: int) -> None:
    """A song of any length, a minute repeated."""
    block = song_block(60, rate).T
    left = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as file:
        while left > 0:
            file.write(block[:left])
            left -= len(block)


def _separate_file(song: str, out: str, options: Options, threads: int, pipe) -> None:
    """In a new process: MiB at rest and at the peak, of all ffmpegs, and seconds."""
    torch.set_num_threads(threads)
    model = BSLocoformer(len(STEMS), stems=STEMS, **TINY).eval()
    at_rest, programs = resident("VmRSS"), [0.0]
    start = time.perf_counter()
    separate_song(
        model,
        Song("song", (Path(song),)),
        Path(out),
        options,
        lambda samples, total: programs.append(children_resident()),
    )
    seconds = time.perf_counter() - start
    pipe.send((at_rest, resident("VmHWM"), max(programs), seconds))


def children_resident() -> float:
    """MiB that the programs which this process started hold now."""
    total = 0.0
    for task in Path("/proc/self/task").glob("*/children"):
        for process in task.read_text().split():
            try:
                status = Path(f"/proc/{process}/status").read_text()
            except OSError:  # it ended just now
                continue
            lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            total += int(lines.get("VmRSS", "0 kB").split()[0]) / 1024
    return total


def memory_table(args: argparse.Namespace) -> None:
    """Print the peak memory for every length, from disk to disk."""
    options = Options(
        chunk_seconds=args.chunk_seconds,
        hop_seconds=args.hop_seconds,
        batch_size=args.batch_size,
        audio_format=args.format,
    )
    rows = []
    for seconds in args.lengths:
        with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
            song = Path(folder) / "song.flac"
            write_song(song, seconds, args.song_rate)
            measured = weigh(_separate_file, str(song), folder, options, args.threads)
            stem = next(Path(folder).glob("vocals.*"))
            assert soundfile.info(stem).frames == soundfile.info(song).frames
        at_rest, peak, children, took = measured
        whole = seconds * args.song_rate * 2 * 4 * (1 + len(STEMS)) / 2**20
        rows.append(
            [
                f"{seconds / 60:g} min",
                f"{whole:.0f}",
                f"{at_rest:.0f}",
                f"{peak:.0f}",
                f"{children:.0f}",
                f"{took / seconds:.3f}",
            ]
        )
        print(" ", *rows[-1], flush=True)
    print_table(
        f"Memory, MiB: a tiny network, {args.song_rate} Hz stereo in, {len(STEMS)} stems out as "
        f"{args.format}",
        ["", "song and stems as float", "at rest", "peak", "all ffmpegs", "s per s of song"],
        rows,
    )


def main(argv: list[str] | None = None) -> None:
    """Time, then weigh."""
    args = build_parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # of the others' use of deprecated functions
    if not args.no_time:
        time_table(args)
    if args.lengths:
        memory_table(args)


if __name__ == "__main__":
    main()
