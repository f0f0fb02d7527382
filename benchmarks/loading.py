"""Random crops from audio files: ``python -m benchmarks.loading``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.timing import print_table
from mixit_mss import audio
from mixit_mss.audio.ffmpeg import find_ffmpeg
from mixit_mss.corpora.folder import unlabelled_songs

RATE = 44100
FORMATS = ("flac", "wav", "mp3")


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loading",
        description="Random stereo crops from FLAC, WAV and MP3 files on one core: ours, soundfile "
        "alone, and asteroid's MUSDB18Dataset, which opens one file per source and crop. Every crop "
        "is read by all of them in turn; the median of the processor's time counts.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--songs", type=Path, help="folder of songs to cut the files from; noise if none is given")
    add("--seconds", type=float, default=6.0, help="length of a crop")
    add("--song-seconds", type=float, default=240.0, help="length of a file")
    add("--files", type=int, default=4, help="number of files of each format")
    add("--crops", type=int, default=200, help="crops of each format")
    return parser


def make_files(folder: Path, songs: Path | None, count: int, seconds: float) -> None:
    """``folder/train/<song>/mixture.{wav,flac,mp3}``, 44.1 kHz stereo, the same audio in each."""
    sources = [Path(record.path) for record in unlabelled_songs(songs)] if songs else []
    for number in range(count):
        song = folder / f"train/{number}"
        song.mkdir(parents=True)
        soundfile.write(song / "mixture.wav", _music(sources, number, seconds), RATE, "PCM_16")
        for suffix in ("flac", "mp3"):
            options = ["-b:a", "256k"] if suffix == "mp3" else []
            command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", str(song / "mixture.wav")]
            subprocess.run([*command, *options, str(song / f"mixture.{suffix}")], check=True)


def _music(sources: list[Path], number: int, seconds: float) -> np.ndarray:
    """(sample, channel): songs one after another, or noise."""
    frames = int(seconds * RATE)
    if not sources:
        return np.random.default_rng(number).uniform(-0.1, 0.1, (frames, 2)).astype(np.float32)
    parts, have = [], 0
    while have < frames:
        waveform, rate = audio.read(sources[(number + len(parts)) % len(sources)])
        waveform = audio.to_channels(audio.resample(waveform, rate, RATE), 2)
        parts.append(waveform.T)
        have += waveform.shape[1]
    return np.concatenate(parts)[:frames]


def readers(folder: Path, suffix: str, seconds: float) -> dict[str, Callable[[int], object]]:
    """Ways to read a random crop, by name; a reader draws the same crop for the same number."""
    paths = sorted(str(path) for path in folder.glob(f"train/*/mixture.{suffix}"))
    frames = int(seconds * RATE)
    room = {path: soundfile.info(path).frames - frames for path in paths}

    def crop(number: int) -> tuple[str, int]:
        generator = random.Random(number)
        path = generator.choice(paths)
        return path, generator.randrange(room[path])

    def ours(number: int) -> np.ndarray:
        path, start = crop(number)
        return audio.read(path, start, frames)[0]

    def alone(number: int) -> np.ndarray:
        path, start = crop(number)
        return soundfile.read(path, frames, start, dtype="float32", always_2d=True)[0]

    found = {"ours": ours, "soundfile alone": alone}
    theirs = _asteroid(folder, suffix, seconds, len(paths))
    return {**found, "asteroid": theirs} if theirs else found


def _asteroid(
    folder: Path, suffix: str, seconds: float, num_songs: int
) -> Callable[[int], object] | None:
    """A random crop by asteroid's dataset of songs, with one source; None without asteroid.

    Its module is loaded alone, because the package around it needs librosa.
    """
    package = importlib.util.find_spec("asteroid")
    if package is None:
        return None
    path = Path(package.origin).parent / "data/musdb18_dataset.py"
    specification = importlib.util.spec_from_file_location("musdb18_dataset", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        songs = module.MUSDB18Dataset(
            str(folder), ["mixture"], suffix=f".{suffix}", segment=seconds, random_segments=True
        )

    def read(number: int) -> object:
        random.seed(number)
        return songs[number % num_songs]

    return read


def median_seconds(
    contestants: dict[str, Callable[[int], object]], crops: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median CPU seconds (user and system) and wall seconds of each reader, crop by crop in turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for number in range(-3, crops):
        for name, read in contestants.items():
            start = time.process_time(), time.perf_counter()
            read(number + 3)
            if number >= 0:
                taken[name].append((time.process_time() - start[0], time.perf_counter() - start[1]))
    medians = {name: np.median(pairs, axis=0) for name, pairs in taken.items()}
    return tuple({name: float(pair[i]) for name, pair in medians.items()} for i in (0, 1))


def table_rows(folder: Path, seconds: float, crops: int) -> Iterator[list[str]]:
    """A row per format."""
    for suffix in FORMATS:
        took, wall = median_seconds(readers(folder, suffix, seconds), crops)
        rates = {name: 1 / value for name, value in took.items()}
        theirs = rates.get("asteroid")
        yield [
            suffix,
            f"{1000 * took['ours']:.2f}",
            f"{1000 * wall['ours']:.2f}",
            f"{rates['ours']:.0f}",
            f"{rates['soundfile alone']:.0f}",
            f"{theirs:.0f}" if theirs else "",
            f"{100 * rates['ours'] / rates['soundfile alone']:.0f}%",
            f"{rates['ours'] / theirs:.2f}x" if theirs else "",
        ]


def main(argv: list[str] | None = None) -> None:
    """Run the comparison and print it."""
    options = build_parser().parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    folder = Path(tempfile.mkdtemp())
    try:
        make_files(folder, options.songs, options.files, options.song_seconds)
        rows = list(table_rows(folder, options.seconds, options.crops))
    finally:
        shutil.rmtree(folder)
    header = ["", "ours, ms", "by the clock", "ours, 1/s", "soundfile alone, 1/s", "asteroid, 1/s"]
    print(f"numpy {np.__version__}, libsndfile {soundfile.__libsndfile_version__}, one core")
    title = f"Random {options.seconds:g}-s stereo crops per second and core"
    print_table(title, [*header, "ours / soundfile", "ours / asteroid"], rows)


if __name__ == "__main__":
    sys.exit(main())
