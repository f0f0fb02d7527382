"""What the training loop costs beyond its parts: ``python -m benchmarks.training``."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from torch.utils.data import DataLoader

from benchmarks.timing import print_table
from mixit_mss.data.datasets import EpochSampler, UnlabelledMixtures, ValidationMixtures
from mixit_mss.data.manifest import make_manifest
from mixit_mss.models import build_model
from mixit_mss.training.config import PretrainConfig, load_config, read_yaml
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.loaders import Datasets
from mixit_mss.training.systems import MixITSystem
from mixit_mss.training.trainer import train

CONF = Path(__file__).parents[1] / "egs/midi_band/conf"
SONGS, SONG_SECONDS = 12, 20


def build_parser() -> argparse.ArgumentParser:
    """Options of the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description="MixIT steps of the training loop, with checkpoints, logs and a look at every "
        "gradient, beside the sum of what a step is made of: data, forward pass with loss, backward "
        "pass, optimiser with clipping. Data is read in the same process, so nothing is hidden.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--config", default=str(CONF / "pretrain.yaml"))
    parser.add_argument("--model", default=str(CONF / "model_tiny.yaml"))
    parser.add_argument("--steps", type=int, default=20, help="per epoch")
    parser.add_argument("--epochs", type=int, default=4, help="rounds; the best one counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser


def make_songs(folder: Path, rate: int) -> list[dict]:
    """Noise as 16-bit WAV, and the rows of its manifest."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(SONGS):
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * generator.standard_normal((SONG_SECONDS * rate, 2)), rate)
        row = {"song": str(number), "stem": "mixture", "path": str(path), "sample_rate": rate}
        more = {"frames": SONG_SECONDS * rate, "channels": 2, "license": "", "split": "train"}
        rows.append({**row, **more})
    return rows


def measure_parts(net, dataset, config, device: str) -> dict[str, float]:
    """Seconds of each part of ``steps_per_epoch`` steps, written out by hand."""
    run = config.run
    system = MixITSystem(net, None, None, None, {}, config.loss.model_dump())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True)
    sampler = EpochSampler(run.steps_per_epoch * run.batch_size)
    batches = iter(DataLoader(dataset, run.batch_size, sampler=sampler))
    spent = dict.fromkeys(("data", "forward and loss", "backward", "clip and optimiser"), 0.0)
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        if device == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        spent[name] += now - clock
        clock = now

    for _ in range(run.steps_per_epoch):
        batch = next(batches).to(device)
        lap("data")
        loss = system.common_step(batch, 0)
        lap("forward and loss")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        lap("backward")
        torch.nn.utils.clip_grad_norm_(net.parameters(), config.optimizer.clip_norm)
        optimizer.step()
        lap("clip and optimiser")
    return spent


def main(argv: list[str] | None = None) -> None:
    """Time the parts before and after the loop; the best of each counts."""
    args = build_parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    config = load_config(args.config, PretrainConfig)
    changes = {"epochs": args.epochs, "steps_per_epoch": args.steps, "num_workers": 0}
    changes |= {"validate_every_epochs": args.epochs + 1, "precision": "32-true"}
    config = config.model_copy(update={"run": config.run.model_copy(update=changes)})
    network = read_yaml(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        net = build_model(**network, num_sources=config.num_outputs)
        rows = make_songs(folder, net.sample_rate)
        segments = (np.array([0]), SONG_SECONDS * net.sample_rate)
        manifest = make_manifest(rows, [segments] * len(rows), "noise")
        shared = {"sample_rate": net.sample_rate, "num_channels": net.num_channels}
        dataset = UnlabelledMixtures(manifest, config.run.chunk_seconds, **shared)
        valid = ValidationMixtures(manifest, 1, config.run.chunk_seconds, **shared)
        net.to(args.device)
        rounds = [measure_parts(net, dataset, config, args.device) for _ in range(2)]
        train(
            MixITSystem,
            net,
            Datasets(dataset, valid),
            config,
            folder / "exp",
            identity={},
            hardware=Hardware(device=args.device, batch_per_device=config.run.batch_size),
        )
        net.to(args.device)
        rounds += [measure_parts(net, dataset, config, args.device) for _ in range(2)]
        loop = pd.read_csv(folder / "exp/history.csv")["seconds"].min()
    best = min(rounds, key=lambda parts: sum(parts.values()))
    parts = sum(best.values())
    print_table(
        f"{args.steps} steps of {config.run.batch_size} examples",
        ["", "s", "share"],
        [
            *([name, f"{took:.3f}", f"{took / parts:.1%}"] for name, took in best.items()),
            ["sum of the parts", f"{parts:.3f}", "100 %"],
            ["the loop", f"{loop:.3f}", f"{loop / parts:.1%}"],
        ],
    )


if __name__ == "__main__":
    main()
