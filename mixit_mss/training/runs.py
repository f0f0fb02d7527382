"""Stages 3 and 5: from config and manifest to an experiment folder with a model."""

from __future__ import annotations

import json
from pathlib import Path

from mixit_mss.data.manifest import read_manifest
from mixit_mss.files import CONFIG, WEIGHTS
from mixit_mss.imports import importing
from mixit_mss.stamps import Fingerprint
from mixit_mss.training.config import FinetuneConfig, PretrainConfig, load_config, read_yaml
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.request import Request


def pretraining(
    config: str,
    model: str,
    manifest: str,
    out: str,
    *,
    seed: int = 0,
    hardware: Hardware | None = None,
    command: str = "",
) -> Request[PretrainConfig]:
    """Request to pre-train a network on unlabelled songs, read and checked without torch.

    Args:
        config: YAML file of the training.
        model: YAML file of the network.
        manifest: of the songs.
        out: the experiment's folder.
        seed: of weights and data.
        hardware: the devices; one by default.
        command: command line, recorded with the result.

    Raises:
        UserError: the config, manifest or network is invalid.
    """
    settings = load_config(config, PretrainConfig)
    network = read_yaml(model)
    options = {"config": _identity(settings), "model": network, "seed": seed}
    return Request(
        config,
        settings,
        model,
        network,
        manifest,
        Path(out),
        Fingerprint("pretrain", options, contents=_songs(manifest)),
        seed=seed,
        hardware=hardware or Hardware(),
        command=command,
    )


def pretrain(request: Request[PretrainConfig], monitor_stems: str | None = None) -> None:
    """Stage 3: pre-train with MixIT, unless that is done.

    Args:
        request: of :func:`pretraining`.
        monitor_stems: manifest of labelled songs; training measures the separation of their
            validation split, without effect on the result.
    """
    if not request.is_finished():
        with importing():
            from mixit_mss.training import fitting
        fitting.pretrain(request, monitor_stems)


def finetuning(
    config: str,
    manifest: str,
    out: str,
    *,
    init: str | None = None,
    model: str | None = None,
    trainable: str = "all",
    seed: int = 0,
    hardware: Hardware | None = None,
    command: str = "",
) -> Request[FinetuneConfig]:
    """Request to train on stems, read and checked without torch.

    Args:
        config: YAML file of the training.
        manifest: of the songs.
        out: the experiment's folder.
        init: model folder to start from; or
        model: YAML file of a network to train from scratch.
        trainable: ``all``, or ``encoder_decoder`` to freeze the separator.
        seed: of weights and data.
        hardware: the devices; one by default.
        command: command line, recorded with the result.

    Raises:
        UserError: the config, manifest or network is invalid.
    """
    settings = load_config(config, FinetuneConfig)
    network = read_yaml(model) if model else None
    options = {
        "config": _identity(settings),
        "model": network,
        "trainable": trainable,
        "seed": seed,
        "init": _network_of(init) if init else None,
    }
    start = {WEIGHTS: Path(init) / WEIGHTS} if init else {}
    return Request(
        config,
        settings,
        model,
        network,
        manifest,
        Path(out),
        Fingerprint("finetune", options, start, _songs(manifest)),
        init=init,
        trainable=trainable,
        seed=seed,
        hardware=hardware or Hardware(),
        command=command,
    )


def finetune(request: Request[FinetuneConfig]) -> None:
    """Stage 5: train on stems, unless that is done.

    Args:
        request: of :func:`finetuning`.
    """
    if not request.is_finished():
        with importing():
            from mixit_mss.training import fitting
        fitting.finetune(request)


def _songs(manifest: str) -> dict[str, str]:
    """Digest of the songs that a training reads: all but test songs."""
    return {"songs": read_manifest(manifest, check_files=False).digest("train", "valid")}


def _network_of(folder: str) -> object:
    """The network of a model folder, read without torch; errors are reported when it is opened."""
    try:
        return json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _identity(settings: PretrainConfig | FinetuneConfig) -> dict:
    return {**settings.model_dump(mode="json"), "run": settings.run.identity()}
