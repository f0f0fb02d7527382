"""Pre-training and fine-tuning as functions from files to an experiment folder.

An experiment folder holds ``model/`` (a model folder), ``experiment.json`` (what the results table
says of it), ``checkpoints/`` and ``logs/``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from mixit_mss.data.datasets import (
    AudioForm,
    LabelledChunks,
    LabelledStems,
    UnlabelledMixtures,
    ValidationMixtures,
)
from mixit_mss.data.manifest import Manifest, manifest_paths, read_manifest
from mixit_mss.errors import UserError
from mixit_mss.evaluation.experiments import current_commit, write_experiment
from mixit_mss.files import fingerprint, is_done, mark_done
from mixit_mss.models import Network, build_model
from mixit_mss.models.hub import load_model, save_model
from mixit_mss.training.batch_size import batch_at_once
from mixit_mss.training.config import (
    FinetuneConfig,
    PretrainConfig,
    load_config,
    read_yaml,
)
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.loaders import Datasets
from mixit_mss.training.monitor import StemMonitor
from mixit_mss.training.record import write_run
from mixit_mss.training.systems import MixITSystem, SupervisedSystem, freeze_separator
from mixit_mss.training.trainer import train


def pretrain(
    config: str,
    model: str,
    manifest: str,
    out: str,
    *,
    seed: int = 0,
    hardware: Hardware | None = None,
    monitor_stems: str | None = None,
    command: str = "",
) -> None:
    """Train the network of the YAML file ``model`` on unlabelled songs into folder ``out``.

    Args:
        config: YAML file of the training.
        model: YAML file of the network.
        manifest: of the songs.
        out: the experiment's folder.
        seed: of weights and data.
        hardware: the devices; one by default.
        monitor_stems: a manifest of labelled songs, on whose validation split the separation is
            measured as training goes on; it changes nothing of the result.
        command: noted with the result as what made it.

    Raises:
        UserError: for a config, manifest or network that cannot be.
    """
    settings = load_config(config, PretrainConfig)
    network = read_yaml(model)
    options = {"config": _identity(settings), "model": network, "seed": seed}
    identity = fingerprint(options, manifest_paths(manifest))
    folder, hardware = Path(out), hardware or Hardware()
    if _finished(folder, identity):
        return
    hardware.share(settings.run.batch_size)
    pl.seed_everything(seed, verbose=False)
    net = _build(model, network, num_sources=settings.num_outputs)
    songs = read_manifest(manifest)
    run = settings.run
    form, gain = _form(net), settings.mom_gain_db
    train_songs, valid_songs = songs.select(split="train"), songs.select(split="valid")
    length, count = run.chunk_seconds, run.validation_chunks
    datasets = Datasets(
        UnlabelledMixtures(train_songs, length, gain_db=gain, seed=seed, **form),
        ValidationMixtures(valid_songs, count, length, gain_db=gain, seed=seed, **form),
    )
    monitor = []
    if monitor_stems:
        labelled = read_manifest(monitor_stems).select(split="valid")
        stems = [stem for stem in labelled.stems() if stem != "mixture"]
        monitor.append(StemMonitor(LabelledChunks(labelled, stems, run.chunk_seconds, **form)))
    write_run(folder, command, network, settings.model_dump(mode="json"))
    steps = train(
        MixITSystem,
        net,
        datasets,
        settings,
        folder,
        identity=identity,
        seed=seed,
        hardware=hardware,
        batch_per_device=batch_at_once(folder, hardware, settings, config=config, model=model),
        more_callbacks=monitor,
    )
    if steps is not None:
        _save(folder, net, songs, config, steps, seed, command, identity)


def finetune(
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
) -> None:
    """Train on stems into folder ``out``.

    Args:
        config: YAML file of the training.
        manifest: of the songs.
        out: the experiment's folder.
        init: model folder to start from; or
        model: YAML file of a network to train from scratch.
        trainable: ``all``, or ``encoder_decoder`` to freeze the separator.
        seed: of weights and data.
        hardware: the devices; one by default.
        command: noted with the result as what made it.

    Raises:
        UserError: for a config, manifest or network that cannot be.
    """
    settings = load_config(config, FinetuneConfig)
    network = read_yaml(model) if model else None
    options = {
        "config": _identity(settings),
        "model": network,
        "trainable": trainable,
        "seed": seed,
    }
    start = [Path(init) / "model.safetensors"] if init else []
    identity = fingerprint(options, [*manifest_paths(manifest), *start])
    folder, hardware = Path(out), hardware or Hardware()
    if _finished(folder, identity):
        return
    hardware.share(settings.run.batch_size)
    pl.seed_everything(seed, verbose=False)
    songs = read_manifest(manifest)
    if init:
        if model is not None:
            raise UserError("give --init or --model, not both")
        net = load_model(init).train()
        if net.stems is None:
            raise UserError(f"{init}: its outputs have no stems; choose some by select-channels")
        stems = list(net.stems)
    else:
        if model is None or network is None:
            raise UserError("give --init or --model")
        stems = [stem for stem in songs.stems() if stem != "mixture"]
        net = _build(model, network, num_sources=len(stems), stems=stems)
    if trainable == "encoder_decoder":
        freeze_separator(net)
    form, length = _form(net), settings.run.chunk_seconds
    train_songs, valid_songs = songs.select(split="train"), songs.select(split="valid")
    mixing = settings.mixing.model_dump()
    datasets = Datasets(
        LabelledStems(train_songs, stems, length, seed=seed, **mixing, **form),
        LabelledChunks(valid_songs, stems, length, **form),
    )
    step = {"config": config, "model": model, "init": init, "trainable": trainable}
    write_run(folder, command, network or {"init": str(init)}, settings.model_dump(mode="json"))
    steps = train(
        SupervisedSystem,
        net,
        datasets,
        settings,
        folder,
        identity=identity,
        seed=seed,
        hardware=hardware,
        batch_per_device=batch_at_once(folder, hardware, settings, **step, manifest=songs),
    )
    if steps is not None:
        _save(folder, net, songs, config, steps, seed, command, identity)


def _identity(settings: PretrainConfig | FinetuneConfig) -> dict:
    return {**settings.model_dump(mode="json"), "run": settings.run.identity()}


def _finished(folder: Path, identity: dict) -> bool:
    if is_done(folder, identity):
        print(f"{folder}: nothing changed, nothing to do")
        return True
    return False


def _form(net: Network) -> AudioForm:
    return {"sample_rate": net.sample_rate, "num_channels": net.num_channels}


def _build(source: str, network: dict, **more: Any) -> Network:
    try:
        return build_model(**network, **more)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: {error}") from error


def _save(
    folder: Path,
    net: Network,
    songs: Manifest,
    config: str,
    steps: int,
    seed: int,
    command: str,
    identity: dict,
) -> None:
    licences = sorted({str(licence) for licence in songs.tracks["license"] if str(licence)})
    origin = {"steps": steps, "seed": seed, "commit": current_commit(), "command": command}
    trained_on = {"songs": songs.tracks["song"].nunique(), "licences": licences}
    save_model(net, folder / "model", {**origin, "training_data": trained_on})
    parameters = net.num_parameters
    write_experiment(folder, parameters=parameters, config=str(config), **origin)
    mark_done(folder, identity)
    print(f"{folder / 'model'}: {steps} steps, {parameters:,} parameters")
