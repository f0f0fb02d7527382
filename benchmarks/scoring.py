"""Scoring a song, against museval: ``python -m benchmarks.scoring``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timing import alternate, once, print_table, resident
from mixit_mss.scoring.metrics import SongScores
from mixit_mss.scoring.songs import Task, score_song

SAMPLE_RATE, STEMS = 44100, ("vocals", "drums", "bass", "other")
KINDS = ("reference", "estimate")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scoring",
        description="uSDR and cSDR of a song with four stereo stems, from memory and from files, "
        "against museval on the same arrays. museval needs a minute or two for 4 minutes of music, "
        "and several GB.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=240.0, help="length of the song")
    parser.add_argument("--threads", type=int, default=2, help="for the linear algebra of both")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of ours; the best counts")
    return parser


def random_song(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and references (stem, channel, sample), float32, with a second of silence."""
    rng = np.random.default_rng(0)
    shape = (len(STEMS), 2, int(seconds * SAMPLE_RATE))
    references = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
    estimates = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.03) + references
    references[0, :, SAMPLE_RATE : 2 * SAMPLE_RATE] = 0
    return estimates, references


def score(blocks) -> dict[str, np.ndarray]:
    """All metrics of a song that comes as pairs of blocks."""
    song = SongScores(SAMPLE_RATE)
    for estimates, references in blocks:
        song.add(estimates, references)
    metrics = ("usdr", "usdr_per_channel", "csdr", "framewise_sdr")
    return {metric: getattr(song, metric)() for metric in metrics}


def score_files(folder: Path) -> tuple[pd.DataFrame, float]:
    """The rows of `mixit-mss score` for a song in files, and this process's peak in MiB."""
    files = ({stem: folder / f"{kind}-{stem}.wav" for stem in STEMS} for kind in KINDS)
    return score_song(Task("song", *files)), resident("VmHWM")


def write_files(folder: Path, estimates: np.ndarray, references: np.ndarray) -> None:
    """The song as 16-bit WAV files."""
    import soundfile

    for kind, signals in zip(KINDS, (references, estimates), strict=True):
        for stem, signal in zip(STEMS, signals, strict=True):
            soundfile.write(folder / f"{kind}-{stem}.wav", signal.T, SAMPLE_RATE, "PCM_16")


def museval_sdr(estimates: np.ndarray, references: np.ndarray) -> np.ndarray:
    """museval's SDR (stem, window)."""
    import museval

    swapped = (list(signals.transpose(0, 2, 1)) for signals in (references, estimates))
    return museval.evaluate(*swapped, win=SAMPLE_RATE, hop=SAMPLE_RATE)[0]


def compare(seconds: float, repeats: int) -> None:
    """Seconds per song, ratios, the largest difference, and memory from files."""
    estimates, references = random_song(seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, estimates, references)
        ours = alternate(
            {
                "arrays": lambda: score([(estimates, references)]),
                "files": lambda: score_files(folder),
            },
            repeats,
        )
        with multiprocessing.get_context("spawn").Pool(1) as alone:
            _, memory = alone.apply(score_files, (folder,))
    theirs, expected = once(lambda: museval_sdr(estimates, references))
    found = score([(estimates, references)])["framewise_sdr"]
    same_nan = np.array_equal(np.isnan(found), np.isnan(expected))
    rows = [["museval, SDR (with ISR, SIR, SAR)", f"{theirs:.2f}", ""]]
    for source, label in (("arrays", "arrays"), ("files", "16-bit WAV files, read in blocks")):
        label = f"{label}: uSDR, uSDR per channel, cSDR"
        rows.append([label, f"{ours[source]:.3f}", f"{theirs / ours[source]:.0f}x"])
    title = f"A song of {seconds:.0f} s, {len(STEMS)} stereo stems"
    print_table(title, ["", "seconds", "museval / this"], rows)
    print(f"\nlargest difference to museval: {np.nanmax(abs(found - expected)):.1e} dB")
    print(f"same windows without a score: {'yes' if same_nan else 'NO'}")
    print(f"peak memory of a process that scores the files: {memory:.0f} MiB")


def main(argv: list[str] | None = None) -> None:
    """Run the comparison and print it."""
    argv = sys.argv[1:] if argv is None else argv
    options = build_parser().parse_args(argv)
    limits = dict.fromkeys(THREAD_VARIABLES, str(options.threads))
    if not limits.items() <= os.environ.items():  # they count only before numpy is loaded
        os.environ.update(limits)
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.scoring", *argv])
    print(f"numpy {np.__version__}, {options.threads} threads")
    compare(options.seconds, options.repeats)


if __name__ == "__main__":
    main()
