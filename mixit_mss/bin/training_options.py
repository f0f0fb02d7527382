"""Options shared by both trainings: devices, batch per device, checkpoint interval."""

from __future__ import annotations

import argparse

from mixit_mss import limits
from mixit_mss.bin import arguments

NAMES = (
    "device",
    "ngpu",
    "num_nodes",
    "batch_per_device",
    "find_batch",
    "checkpoint_minutes",
    "wandb",
)


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add options that do not change which examples a step sees; all may change on resume."""
    group = parser.add_argument_group("devices")
    add = group.add_argument
    add(
        "--device",
        choices=("auto", "cuda", "cpu"),
        default="auto",
        help="auto: GPUs if there are any",
    )
    add(
        "--ngpu",
        type=arguments.ranged(limits.DEVICES),
        default=1,
        metavar="N",
        help="GPUs per node; with --device cpu, processes on the CPU",
    )
    add(
        "--num-nodes",
        type=arguments.ranged(limits.NODES),
        default=1,
        metavar="N",
        help="machines, each with --ngpu GPUs",
    )
    add(
        "--batch-per-device",
        type=arguments.ranged(limits.BATCH_SIZE),
        metavar="N",
        help="examples per device in one forward pass; gradients are accumulated up to run.batch_size "
        "(default: found by trial on a GPU, all at once on a CPU)",
    )
    add(
        "--find-batch",
        action="store_true",
        help="find the largest batch per device by trial on a CPU, too",
    )
    add(
        "--checkpoint-minutes",
        type=arguments.number(0, 1440, "of minutes"),
        default=10.0,
        metavar="M",
        help="minutes between checkpoints; SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and Ctrl-C save at once",
    )
    add("--wandb", action="store_true", help="also log to Weights & Biases, if it is installed")


def take_hardware(options: dict):
    """Remove these options from ``options``; returns a `mixit_mss.training.hardware.Hardware`."""
    from mixit_mss.training.hardware import Hardware

    return Hardware(**{name: options.pop(name) for name in NAMES})
