"""Time, memory and agreement of the MixIT solvers: ``python -m benchmarks.mixit``.

Against asteroid's enumeration over waveforms, and against least squares on waveforms.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.timing import alternate, once, peak_growth, print_table, return_freed_memory
from mixit_mss.losses import mixit_loss, thresholded_snr

SAMPLE_RATE, SECONDS, CHANNELS, NUM_SOURCES = 44100, 6, 2, 12


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixit",
        description=f"MixIT with {NUM_SOURCES} outputs on {SECONDS} s of stereo, forward and "
        "backward. asteroid's enumeration takes a minute or two; --no-asteroid leaves it out.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the best one counts")
    parser.add_argument("--no-asteroid", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser


def random_batch(batch: int, num_sources: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Outputs (batch, source, channel, sample), and two noisy sums of them as mixtures."""
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, num_sources, CHANNELS, SAMPLE_RATE * SECONDS)
    estimates = torch.randn(shape, generator=generator).to(device)
    halves = estimates[:, ::2].sum(1), estimates[:, 1::2].sum(1)
    mixtures = torch.stack(halves, dim=1)
    mixtures += 0.3 * torch.randn_like(mixtures)
    return estimates.requires_grad_(), mixtures


def step(loss_of, estimates: Tensor, mixtures: Tensor) -> float:
    """Forward and backward pass; the mean loss."""
    estimates.grad = None
    loss = loss_of(estimates, mixtures).mean()
    loss.backward()
    return loss.item()  # waits for a GPU


def exact(estimates: Tensor, mixtures: Tensor) -> Tensor:
    return mixit_loss(estimates, mixtures, "exact")[0]


def least_squares(estimates: Tensor, mixtures: Tensor) -> Tensor:
    return mixit_loss(estimates, mixtures, "least_squares")[0]


def lstsq_on_waveforms(estimates: Tensor, mixtures: Tensor) -> Tensor:
    """Eq. 3 with ``torch.linalg.lstsq`` on the signals themselves."""
    with torch.no_grad():
        weights = torch.linalg.lstsq(estimates.flatten(2).mT, mixtures.flatten(2).mT).solution
        owner = weights.argmax(-1)
    assignment = torch.nn.functional.one_hot(owner, 2).mT.to(estimates)
    remixed = torch.bmm(assignment, estimates.flatten(2)).view_as(mixtures)
    return thresholded_snr(remixed, mixtures).sum(-1)


def compare_solvers(batches: list[int], repeats: int, device: str) -> None:
    """Milliseconds of a training step's loss."""
    rows = []
    for batch in batches:
        signals = random_batch(batch, NUM_SOURCES, device)
        losses = (exact, least_squares, lstsq_on_waveforms)
        contestants = {loss.__name__: partial(step, loss, *signals) for loss in losses}
        best = alternate(contestants, repeats)
        ours, theirs = best["least_squares"], best["lstsq_on_waveforms"]
        times = [f"{1e3 * seconds:.1f}" for seconds in best.values()]
        ratios = [f"{best['exact'] / ours:.2f}x", f"{theirs / ours:.1f}x"]
        rows.append([str(batch), *times, *ratios])
    names = ["exact", "least_squares", "lstsq on waveforms"]
    ratios = ["exact / least_squares", "lstsq / least_squares"]
    print_table(
        f"Forward and backward, N = {NUM_SOURCES}, {SECONDS} s stereo, ms",
        ["batch", *names, *ratios],
        rows,
    )


def compare_memory(batches: list[int], threads: int, device: str) -> None:
    """Peak memory of a step beyond its inputs and the gradient, in copies of the estimates."""
    return_freed_memory()
    torch.set_num_threads(threads)
    rows = []
    for batch in batches:
        signals = random_batch(batch, NUM_SOURCES, device)
        losses = (exact, least_squares, lstsq_on_waveforms)
        copies = [_extra_copies(partial(step, loss, *signals), signals[0]) for loss in losses]
        rows.append([str(batch), *(f"{number:.2f}" for number in copies)])
    names = ["exact", "least_squares", "lstsq on waveforms"]
    title = "Memory beyond inputs and their gradient, in copies of the estimates"
    print_table(title, ["batch", *names], rows)


def _extra_copies(run: Callable, estimates: Tensor) -> float:
    copy = estimates.numel() * estimates.element_size() / 2**20
    run()  # loads what is loaded once
    estimates.grad = None
    if estimates.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20 / copy - 1
    return peak_growth(run) / copy - 1


def compare_with_asteroid(repeats: int) -> None:
    """asteroid's wrapper with gradients at N = 6; at N = 12 without, which it could not hold."""
    from asteroid.losses import MixITLossWrapper

    wrapper = MixITLossWrapper(lambda s, x: thresholded_snr(s, x).sum(-1), reduction="none")

    def enumeration(estimates: Tensor, mixtures: Tensor) -> Tensor:
        return wrapper(estimates, mixtures)[:, 0]

    rows = []
    signals = random_batch(1, 6)
    theirs, their_loss = once(lambda: step(enumeration, *signals))
    ours = alternate({"exact": lambda: step(exact, *signals)}, repeats)["exact"]
    difference = abs(their_loss - step(exact, *signals))
    rows.append(["N = 6, forward and backward", theirs, ours, difference])

    signals = random_batch(1, NUM_SOURCES)
    with torch.no_grad():
        theirs, their_loss = once(lambda: enumeration(*signals))
    ours = alternate({"exact": lambda: step(exact, *signals)}, repeats)["exact"]
    difference = abs(their_loss.item() - step(exact, *signals))
    label = f"N = {NUM_SOURCES}, asteroid forward only, ours with backward"
    rows.append([label, theirs, ours, difference])
    print_table(
        f"asteroid's MixITLossWrapper against exact, {SECONDS} s stereo, batch 1",
        ["", "asteroid, s", "exact, s", "asteroid / exact", "difference of the losses, dB"],
        [[name, f"{a:.2f}", f"{b:.4f}", f"{a / b:.0f}x", f"{d:.1e}"] for name, a, b, d in rows],
    )


def compare_choices(trials: int = 50) -> None:
    """How often the two solvers agree on real music.

    Two mixtures of four stems each, cut from one real song, and outputs that add up to their sum:
    each stem goes to an output of its own, but for a share that leaks to all twelve at random.
    """
    if shutil.which("ffmpeg") is None:
        print("\nNo agreement on real mixtures: reading the excerpt needs ffmpeg.")
        return
    import stempeg

    audio, rate = stempeg.read_stems(stempeg.example_stem_path())
    stems = torch.from_numpy(audio[1:]).mT.float()  # (stem, channel, sample)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for leakage in (0.05, 0.2, 0.4, 0.6):
        batch = [_leaky_example(stems, 2 * rate, leakage, generator) for _ in range(trials)]
        estimates, mixtures = (torch.stack(signals) for signals in zip(*batch, strict=True))
        least, best = mixit_loss(estimates, mixtures, "exact")
        projected, found = mixit_loss(estimates, mixtures, "least_squares")
        same_example = (best == found).all(-1).all(-1).float().mean()
        same_output = (best == found).all(1).float().mean()
        rates = [f"{same_example:.0%}", f"{same_output:.1%}"]
        losses = [f"{least.mean():.2f}", f"{(projected - least).mean():.3f}"]
        rows.append([f"{leakage:.0%}", *rates, *losses])
    print_table(
        f"Agreement of the solvers on real mixtures, {trials} examples of 2 s",
        ["leakage", "same assignment", "same output", "exact loss, dB", "least_squares above, dB"],
        rows,
    )


def _leaky_example(
    stems: Tensor, samples: int, leakage: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Outputs (12, channel, sample) and mixtures (2, channel, sample); gains within 5 dB."""
    starts = torch.randperm(stems.shape[-1] // samples, generator=generator)[:2] * samples
    gains = 10 ** ((torch.rand(2, generator=generator) * 10 - 5) / 20)
    parts = [
        gain * stems[..., start : start + samples]
        for gain, start in zip(gains, starts.tolist(), strict=True)
    ]
    mixtures = torch.stack([part.sum(0) for part in parts])
    shares = torch.rand(8, NUM_SOURCES, generator=generator) ** 4  # a few outputs get most of it
    shares = leakage * shares / shares.sum(1, keepdim=True)
    shares[range(8), range(8)] += 1 - leakage
    return torch.einsum("kn,kcs->ncs", shares, torch.cat(parts)), mixtures


def main(argv: list[str] | None = None) -> None:
    """Run the comparisons and print their tables."""
    options = build_parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads")
    compare_solvers(options.batches, options.repeats, options.device)
    compare_choices()
    if not options.no_asteroid:
        compare_with_asteroid(options.repeats)
    arguments = (options.batches, options.threads, options.device)
    alone = multiprocessing.get_context("spawn").Process(target=compare_memory, args=arguments)
    alone.start()
    alone.join()


if __name__ == "__main__":
    main()
