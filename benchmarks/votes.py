"""Voting for output channels, against waveforms and all permutations: ``python -m benchmarks.votes``."""

from __future__ import annotations

import argparse
import sys
from itertools import cycle, permutations

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import alternate, print_table
from mixit_mss.selection.channel_votes import best_assignment, count_votes

SAMPLE_RATE = 44100
CHUNKS_OF_A_CORPUS = 50_000


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.votes",
        description="Votes of one chunk, beyond the network's own time: ours from inner products, "
        "beside SNRs of waveforms and the best of all permutations.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--outputs", type=int, default=12, help="of the network")
    parser.add_argument("--stems", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a chunk, stereo")
    parser.add_argument("--chunks", type=int, default=20, help="counted per round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the best one counts")
    return parser


def try_all(estimates: Tensor, references: Tensor) -> tuple[int, ...]:
    """The outputs of the permutation with the highest total SNR, from waveforms."""
    error = (estimates[:, None] - references[None]).square().sum((-2, -1))
    snr = (10 * torch.log10(references.square().sum((-2, -1)) / error)).numpy()
    orders = np.array(list(permutations(range(len(estimates)), len(references))))
    total = snr[orders, np.arange(len(references))].sum(-1)
    return tuple(orders[total.argmax()].tolist())


def main(argv: list[str] | None = None) -> None:
    """Compare the votes, then time them."""
    options = build_parser().parse_args(sys.argv[1:] if argv is None else argv)
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    samples = round(options.seconds * SAMPLE_RATE)

    def draw(rows: int) -> Tensor:
        return torch.randn(rows, 2, samples, generator=generator)

    # more than a cache holds, as a network's outputs are
    pool = cycle([(draw(options.outputs), draw(options.stems)) for _ in range(5)])
    pair = next(pool)
    order = try_all(*pair)
    votes = count_votes([pair])
    if not all(votes[output, stem] == 1 for stem, output in enumerate(order)):
        raise SystemExit("the two ways do not agree")

    scores = torch.randn(options.outputs, options.stems, generator=generator).numpy()
    best = alternate(
        {
            "ours": lambda: count_votes(next(pool) for _ in range(options.chunks)),
            "assignment": lambda: [best_assignment(scores) for _ in range(options.chunks)],
            "all": lambda: try_all(*next(pool)),
        },
        options.repeats,
    )
    ours, all_of_them = best["ours"] / options.chunks, best["all"]
    rows = [
        ["waveforms, all permutations", all_of_them],
        ["ours", ours],
        ["of which the assignment", best["assignment"] / options.chunks],
    ]
    print_table(
        f"{options.outputs} outputs, {options.stems} stems, {options.seconds:g} s stereo",
        ["", "ms per chunk", f"s for {CHUNKS_OF_A_CORPUS:,} chunks", "ratio"],
        [
            [
                name,
                f"{1e3 * took:.2f}",
                f"{CHUNKS_OF_A_CORPUS * took:.0f}",
                f"{all_of_them / took:.0f}x",
            ]
            for name, took in rows
        ],
    )


if __name__ == "__main__":
    main()
