"""Lists as long as FMA-full's: ``python -m benchmarks.manifest``."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import once, print_table, resident
from mixit_mss.data.datasets import UnlabelledMixtures, draw_from_tracks
from mixit_mss.data.manifest import make_manifest, read_manifest, write_manifest
from mixit_mss.data.mixing import random_start

RATE, HOP_SECONDS, SEGMENT_SECONDS, CHUNK_SECONDS = 44100, 5, 10, 6.0
DRAWS, MIXTURES = 20_000, 2  # examples, and random segments in each
ROLLUP = Path("/proc/self/smaps_rollup")  # Linux only; elsewhere memory is reported as NaN


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.manifest",
        description="Made-up tables of as many tracks and segments as FMA-full has: time and memory to "
        "read them, time to draw each of an example's two crops before its audio is read, and the "
        "memory that a data-loading worker has for itself after it has used every segment.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--tracks", type=int, default=106_574, help="number of tracks")
    parser.add_argument("--segments", type=int, default=6_000_000, help="number of segments")
    return parser


def write_tables(stem_path: Path, num_tracks: int, num_segments: int) -> None:
    """Tables of songs of different lengths; the audio files do not exist."""
    shares = np.random.default_rng(0).dirichlet(np.full(num_tracks, 2.0))
    bounds = np.rint(np.concatenate([[0], np.cumsum(shares)]) * num_segments).astype(int)
    counts = np.diff(bounds).tolist()
    fixed = {"stem": "mixture", "split": "train", "sample_rate": RATE, "channels": 2}
    rows = [
        {
            **fixed,
            "song": f"{track:06d}",
            "path": str(stem_path.parent / f"audio/{track // 1000:03d}/{track:06d}.flac"),
            "frames": (count * HOP_SECONDS + SEGMENT_SECONDS) * RATE,
            "license": "Attribution-NonCommercial-ShareAlike 3.0 International",
        }
        for track, count in enumerate(counts)
    ]
    hop, length = HOP_SECONDS * RATE, SEGMENT_SECONDS * RATE
    segments = ((np.arange(count, dtype=np.int64) * hop, length) for count in counts)
    write_manifest(stem_path, make_manifest(rows, segments))


def read_alone(stem_path: Path) -> tuple[float, float, float]:
    """Seconds to read the tables, MiB they take, and MiB by which the peak grows meanwhile.

    To be called in a new process, whose peak is that of the imports before.
    """
    before = resident("VmRSS")
    seconds, manifest = once(lambda: read_manifest(stem_path, check_files=False))
    after, peak = resident("VmRSS"), resident("VmHWM")
    assert len(manifest.tracks)
    return seconds, after - before, peak - before


def draw(
    examples: UnlabelledMixtures, index: int, num_mixtures: int = MIXTURES
) -> list[tuple[str, int]]:
    """(path, first sample) of the crops of an example: all that is done before audio is read."""
    pool, generator = examples._pool, np.random.default_rng((0, index))
    crops = []
    for segment in draw_from_tracks(pool.offsets, num_mixtures, generator):
        track = int(pool._track[segment])
        room = int(pool._frames[segment])
        offset = random_start(room, int(pool._tracks.source_frames[track]), generator)
        crops.append((pool._tracks.path(track), int(pool._start[segment]) + offset))
    return crops


def private_memory() -> float:
    """MiB of this process that no other one shares."""
    if not ROLLUP.exists():
        return float("nan")
    lines = (line.split() for line in ROLLUP.read_text().splitlines())
    return sum(int(words[1]) for words in lines if words[0].startswith("Private_")) / 1024


class WorkerMemory(Dataset):
    """Item 0 is what the worker owned before, item 1 after it used every segment and many paths."""

    def __init__(self, examples: UnlabelledMixtures):
        self._examples = examples

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        if index:
            pool = self._examples._pool
            for column in (pool._track, pool._start, pool._frames, pool.offsets):
                column.sum()
            for number in range(DRAWS // 10):
                draw(self._examples, number)
        return torch.tensor(private_memory())


def worker_memory(examples: UnlabelledMixtures, method: str) -> tuple[float, float]:
    """MiB that one worker has for itself, before and after; ``method`` is "fork" or "spawn"."""
    loader = DataLoader(
        WorkerMemory(examples), batch_size=None, num_workers=1, multiprocessing_context=method
    )
    before, after = (float(memory) for memory in loader)
    return before, after


def measure(num_tracks: int, num_segments: int, folder: Path) -> dict[str, float]:
    """Every figure of the benchmark, by name."""
    write_tables(folder / "songs", num_tracks, num_segments)
    write_tables(folder / "few", 10, 100)
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        figures = dict(zip(("read", "size", "peak"), alone.apply(read_alone, (folder / "songs",)),
                           strict=True))  # fmt: skip
    examples, few = (
        UnlabelledMixtures(read_manifest(folder / name, check_files=False), CHUNK_SECONDS)
        for name in ("songs", "few")
    )
    start = time.process_time()
    for index in range(DRAWS):
        draw(examples, index, MIXTURES)
    figures["draw"] = (time.process_time() - start) / DRAWS / MIXTURES
    for method in ("fork", "spawn"):
        many, bare = (worker_memory(dataset, method) for dataset in (examples, few))
        figures[method] = many[1] - bare[1]
    return figures


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print it."""
    options = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.tracks, options.segments, Path(folder))
    arrays = 16 * options.segments / 2**20
    rows = [
        ["read both tables, s", f"{figures['read']:.1f}", "10"],
        ["memory they take, MiB", f"{figures['size']:.0f}", "600"],
        ["peak while they are read, MiB", f"{figures['peak']:.0f}", "600"],
        [
            "draw a crop of a random segment, without its audio, µs",
            f"{figures['draw'] * 1e6:.1f}",
            "20",
        ],
        ["memory of a forked worker for it, MiB", f"{figures['fork']:.1f}", f"{arrays:.0f}"],
        ["memory of a spawned worker for it, MiB", f"{figures['spawn']:.1f}", f"{arrays:.0f}"],
    ]
    title = (
        f"{options.tracks:,} tracks, {options.segments:,} segments; the limit of a worker is a copy"
    )
    print_table(title, ["", "measured", "limit"], rows)


if __name__ == "__main__":
    main()
