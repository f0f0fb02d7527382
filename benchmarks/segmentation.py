"""Stage 1, against ffmpeg alone: ``python -m benchmarks.segmentation``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from benchmarks.timing import alternate_cpu, print_table
from mixit_mss.audio.ffmpeg import find_ffmpeg
from mixit_mss.corpora.folder import unlabelled_songs

RENDERED = Path(__file__).parents[1] / "egs/midi_band/downloads/unlabelled"
RATE = 44100


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.segmentation",
        description="Seconds to prepare songs for training: read, check, hash, find silence, store "
        "as 16-bit FLAC; beside ffmpeg, which only reads and stores them, with as many processes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--songs", type=Path, default=RENDERED, help="folder of songs, of any format")
    add("--files", type=int, default=40, help="at most this many of them")
    add("--join", type=int, default=8, help="so many songs one after another make one file")
    add("--formats", nargs="+", default=["mp3", "flac", "wav"], help="of the files to be prepared")
    add("--nj", type=int, default=os.cpu_count(), help="processes of each")
    add("--repeats", type=int, default=2, help="rounds; the best counts")
    return parser


def make_corpus(songs: list[str], folder: Path, suffix: str, join: int) -> float:
    """Files of ``join`` songs each at 44.1 kHz stereo; returns how many seconds they are.

    The short songs of a miniature corpus would measure how long a process takes to start.
    """
    folder.mkdir()
    groups = [songs[first : first + join] for first in range(0, len(songs), join)]
    for number, group in enumerate(groups):
        inputs = [word for path in group for word in ("-i", path)]
        streams = "".join(
            f"[{i}:a:0]aresample={RATE},aformat=channel_layouts=stereo[a{i}];"
            for i in range(len(group))
        )
        names = "".join(f"[a{i}]" for i in range(len(group)))
        graph = f"{streams}{names}concat=n={len(group)}:v=0:a=1"
        form = ["-b:a", "256k"] if suffix == "mp3" else ["-sample_fmt", "s16"]
        _ffmpeg(*inputs, "-filter_complex", graph, *form, str(folder / f"{number:04d}.{suffix}"))
    return sum(soundfile.info(path).duration for path in folder.iterdir())


def prepare(corpus: Path, out: Path, nj: int) -> None:
    """Our stage 1, from nothing, as a command of its own."""
    shutil.rmtree(out, ignore_errors=True)
    options = ["--kind", "unlabelled", "--valid-fraction", "0", "--nj", str(nj)]
    command = [sys.executable, "-m", "mixit_mss.bin.segment", *options]
    command += ["--input", str(corpus), "--out", str(out)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def transcode(corpus: Path, out: Path, nj: int) -> None:
    """The same files through ``nj`` processes of ffmpeg with one thread each."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()

    def work(path: Path) -> None:
        form = ["-sample_fmt", "s16", "-ar", str(RATE), "-ac", "2", "-threads", "1"]
        _ffmpeg("-threads", "1", "-i", str(path), *form, str(out / f"{path.stem}.flac"))

    with ThreadPoolExecutor(nj) as processes:
        list(processes.map(work, sorted(corpus.iterdir())))


def _ffmpeg(*options: str) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *options]
    subprocess.run(command, check=True)


def compare(options: argparse.Namespace, folder: Path) -> list[list[str]]:
    """A row per format."""
    songs = [record.path for record in unlabelled_songs(options.songs)][: options.files]
    rows = []
    for suffix in options.formats:
        corpus = folder / suffix
        seconds = make_corpus(songs, corpus, suffix, options.join)
        took, cpu = alternate_cpu(
            {
                "ours": lambda corpus=corpus: prepare(corpus, folder / "ours", options.nj),
                "ffmpeg": lambda corpus=corpus: transcode(corpus, folder / "theirs", options.nj),
            },
            options.repeats,
        )
        speeds = [f"{seconds / took[name]:.0f}" for name in ("ours", "ffmpeg")]
        shares = [f"{100 * t['ffmpeg'] / t['ours']:.0f}%" for t in (took, cpu)]
        rows.append([suffix, f"{seconds / 60:.1f}", *speeds, *shares])
    return rows


def main(argv: list[str] | None = None) -> None:
    """Run the comparison and print it."""
    options = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(options, Path(folder))
    header = ["", "minutes of audio", "ours, x real time", "ffmpeg, x real time"]
    header += ["ours / ffmpeg", "by CPU time"]
    print_table(f"Songs to FLAC, {options.nj} processes", header, rows)


if __name__ == "__main__":
    sys.exit(main())
