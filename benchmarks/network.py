"""Speed and memory of BS-Locoformer beside a plain implementation: ``python -m benchmarks.network``.

Both networks get the same weights; outputs and gradients are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.plain_network import PlainBSLocoformer
from benchmarks.timing import alternate, peak_growth, print_table, return_freed_memory
from mixit_mss.models.bs_locoformer import SIZES, BSLocoformer
from mixit_mss.models.hub.official import from_official
from mixit_mss.training.memory.step_cost import flop_counter

SAMPLE_RATE, CHANNELS, NUM_SOURCES = 44100, 2, 12


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.network",
        description=f"Forward pass and training step of BS-Locoformer with {NUM_SOURCES} stereo "
        "outputs, batch 1, float32, beside the network as one writes it first: a module per band, "
        "convolutions on transposed copies.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "medium"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[3, 6, 12])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the best one counts")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory table out")
    return parser


def make_pair(size: str) -> tuple[BSLocoformer, PlainBSLocoformer]:
    """Our network and the plain one, with the same weights."""
    torch.manual_seed(0)
    plain = PlainBSLocoformer(NUM_SOURCES, **SIZES[size])
    ours = BSLocoformer.from_size(size, NUM_SOURCES)
    ours.load_state_dict(from_official(plain.state_dict(), ours))
    return ours.eval(), plain.eval()


def random_mixture(seconds: float) -> Tensor:
    """Noise (1, channel, sample)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, CHANNELS, round(seconds * SAMPLE_RATE), generator=generator)


def forward(network: nn.Module, mixture: Tensor) -> Tensor:
    """Inference."""
    with torch.inference_mode():
        return network(mixture)


def step(network: nn.Module, mixture: Tensor) -> None:
    """Forward and backward pass of a training step."""
    network.zero_grad(set_to_none=True)
    network(mixture).square().mean().backward()


def compare(ours: BSLocoformer, plain: PlainBSLocoformer, mixture: Tensor) -> tuple[float, float]:
    """Relative difference of the outputs, and the largest one of any parameter's gradient."""
    expected = forward(plain, mixture)
    output = ((forward(ours, mixture) - expected).norm() / expected.norm()).item()
    for network in (ours, plain):
        step(network, mixture)
    published = {name: p.grad for name, p in plain.named_parameters()}
    gradients = from_official(published, ours)
    worst = max(
        ((p.grad - gradients[name]).norm() / gradients[name].norm()).item()
        for name, p in ours.named_parameters()
    )
    return output, worst


def gemm_peak() -> float:
    """FLOP/s of this machine's best float32 matrix product."""
    a = torch.randn(2048, 2048)
    seconds = alternate({"gemm": lambda: a @ a}, repeats=5)["gemm"]
    return 2 * 2048**3 / seconds


def count_flops(run: Callable, network: nn.Module, mixture: Tensor) -> int:
    """FLOPs of ``run``: matrix products, convolutions and attention."""
    with flop_counter() as counter:
        run(network, mixture)
    return counter.get_total_flops()


def _memory(which: int, size: str, seconds: float, threads: int, pipe) -> None:
    """In a new process: MiB that a training step needs above the process at rest."""
    return_freed_memory()
    torch.set_num_threads(threads)
    pair = make_pair(size)
    network, mixture = pair[which], random_mixture(seconds)
    step(network, random_mixture(0.5))  # gradients and scratch space that stay are not counted
    pipe.send(peak_growth(partial(step, network, mixture)))


def memory_row(label: str, measure: Callable, pair: tuple, *args) -> list[str]:
    """A table's row: what the first of a ``pair`` needs, the second, and their ratio."""
    lean, usual = (weigh(measure, which, *args) for which in pair)
    return [label, f"{lean:.0f}", f"{usual:.0f}", f"{usual / lean:.2f}x"]


def weigh(measure: Callable, *args) -> float:
    """What ``measure(*args, pipe)`` sends from a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=measure, args=(*args, there))
    process.start()
    there.close()
    grown = here.recv()
    process.join()
    return grown


def _blocks_memory(checkpointing: bool, size: str, seconds: float, threads: int, pipe) -> None:
    """In a new process: MiB that the blocks alone need for their gradient."""
    return_freed_memory()
    torch.set_num_threads(threads)
    network = BSLocoformer.from_size(size, NUM_SOURCES)
    network.activation_checkpointing = checkpointing
    bands = sum(group.num_bands for group in network.encoder.groups)

    def run(seconds: float) -> None:
        frames = round(seconds * SAMPLE_RATE) // network.stft.hop
        features = torch.randn(1, frames, bands, SIZES[size]["dim"], requires_grad=True)
        network._separate(features).square().mean().backward()

    run(0.5)
    pipe.send(peak_growth(partial(run, seconds)))


def main(argv: list[str] | None = None) -> None:
    """Compare, time, weigh."""
    args = build_parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    peak = gemm_peak()
    print(f"float32 matrix product, {args.threads} threads: {peak / 1e9:.0f} GFLOP/s")
    times, memory, blocks = [], [], []
    for size in args.sizes:
        ours, plain = make_pair(size)
        output, gradient = compare(ours, plain, random_mixture(1))
        print(f"{size}: outputs differ by {output:.1e}, gradients by at most {gradient:.1e}")
        for seconds in args.seconds:
            mixture = random_mixture(seconds)
            for name, run in (("forward", forward), ("training step", step)):
                contestants = {
                    "ours": partial(run, ours, mixture),
                    "plain": partial(run, plain, mixture),
                }
                best = alternate(contestants, args.repeats)
                flops = count_flops(run, plain, mixture)
                times.append(
                    [
                        f"{size}, {seconds:g} s, {name}",
                        f"{best['ours']:.2f}",
                        f"{best['plain']:.2f}",
                        f"{best['plain'] / best['ours']:.2f}x",
                        f"{flops / 1e9:.0f}",
                        f"{flops / best['ours'] / peak:.0%}",
                        f"{flops / best['plain'] / peak:.0%}",
                    ]
                )
                print(" ", *times[-1][:4], flush=True)
        if not args.no_memory:
            for seconds in args.seconds:
                label = f"{size}, {seconds:g} s"
                memory.append(memory_row(label, _memory, (0, 1), size, seconds, args.threads))
                blocks.append(
                    memory_row(label, _blocks_memory, (True, False), size, seconds, args.threads)
                )
    header = ["", "ours, s", "plain, s", "ratio", "GFLOP", "share of peak", "plain's share"]
    print_table("Time", header, times)
    if memory:
        print_table("Memory of a training step, MiB", ["", "ours", "plain", "ratio"], memory)
        header = ["", "activation checkpointing", "without", "ratio"]
        print_table("Memory of our blocks alone, forward and backward, MiB", header, blocks)


if __name__ == "__main__":
    main()
