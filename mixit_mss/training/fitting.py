"""Run a training: build data and network, train, save the model folder.

An experiment folder holds ``model/`` (a model folder), ``experiment.json`` (its facts for the
results table), ``checkpoints/`` and ``logs/``.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from mixit_mss.data.datasets import (
    AudioForm,
    LabelledChunks,
    LabelledStems,
    UnlabelledMixtures,
    ValidationMixtures,
)
from mixit_mss.data.manifest import Manifest, read_manifest
from mixit_mss.errors import UserError
from mixit_mss.files import MODEL_FILES, sweep
from mixit_mss.models import Network, build_model, skeleton
from mixit_mss.models.hub import load_model, save_model
from mixit_mss.scoring.experiments import current_commit, write_experiment
from mixit_mss.separation.songs import below_rate
from mixit_mss.training.config import FinetuneConfig, PretrainConfig
from mixit_mss.training.hardware import is_first_process
from mixit_mss.training.loaders import Datasets
from mixit_mss.training.memory.batch_size import batch_at_once
from mixit_mss.training.records import write_run
from mixit_mss.training.request import Request
from mixit_mss.training.systems import (
    MixITSystem,
    SupervisedSystem,
    TrainingSystem,
    freeze_separator,
)
from mixit_mss.training.trainer import train
from mixit_mss.training.validation import StemMonitor


def pretrain(request: Request[PretrainConfig], monitor_stems: str | None) -> None:
    """Stage 3; see :func:`mixit_mss.training.runs.pretrain`."""
    settings = request.settings
    _begin(request)
    net = _build(request, num_sources=settings.num_outputs)
    songs = read_manifest(request.manifest)
    form, gain, seed = _form(net), settings.mom_gain_db, request.seed
    train_songs, valid_songs = songs.select(split="train"), songs.select(split="valid")
    length, count = settings.run.chunk_seconds, settings.run.validation_chunks
    datasets = Datasets(
        UnlabelledMixtures(train_songs, length, gain_db=gain, seed=seed, **form),
        ValidationMixtures(valid_songs, count, length, gain_db=gain, seed=seed, **form),
    )
    monitor = []
    if monitor_stems:
        labelled = read_manifest(monitor_stems).select(split="valid")
        stems = [stem for stem in labelled.stems() if stem != "mixture"]
        monitor.append(StemMonitor(LabelledChunks(labelled, stems, length, **form)))
    step = {"config": request.config, "model": request.model}
    _fit(MixITSystem, request, net, datasets, songs, step, monitor)


def finetune(request: Request[FinetuneConfig]) -> None:
    """Stage 5; see :func:`mixit_mss.training.runs.finetune`."""
    settings, init = request.settings, request.init
    _begin(request)
    songs = read_manifest(request.manifest)
    known = [stem for stem in songs.stems() if stem != "mixture"]
    if init:
        if request.network is not None:
            raise UserError("give --init or --model, not both")
        net = load_model(init).train()
        if net.stems is None:
            raise UserError(f"{init}: its outputs have no stems; choose some by select-channels")
        stems = list(net.stems)
        _compare_stems(init, stems, request.manifest, known)
    else:
        if request.network is None:
            raise UserError("give --init or --model")
        stems = known
        net = _build(request, num_sources=len(stems), stems=stems)
    if request.trainable == "encoder_decoder":
        freeze_separator(net)
    form, length = _form(net), settings.run.chunk_seconds
    train_songs, valid_songs = songs.select(split="train"), songs.select(split="valid")
    mixing = settings.mixing.model_dump()
    datasets = Datasets(
        LabelledStems(train_songs, stems, length, seed=request.seed, **mixing, **form),
        LabelledChunks(valid_songs, stems, length, **form),
    )
    step = {
        "config": request.config,
        "model": request.model,
        "init": init,
        "trainable": request.trainable,
        "manifest": songs,
    }
    _fit(SupervisedSystem, request, net, datasets, songs, step)


def _compare_stems(init: str, outputs: list[str], manifest: str, known: list[str]) -> None:
    """Check that the songs have all stems of a network, and report stems without an output."""
    if missing := [stem for stem in outputs if stem not in known]:
        raise UserError(
            f"{init}: its outputs {', '.join(missing)} are no stems of '{manifest}', which has "
            f"{', '.join(known)}; choose another --init or --manifest"
        )
    more = [stem for stem in known if stem not in outputs]
    if more and is_first_process():
        print(
            f"{init} has no output for {', '.join(more)}: these stems of '{manifest}' are left out, "
            "of the mixtures too",
            flush=True,
        )


def _begin(request: Request) -> None:
    request.hardware.share(request.settings.run.batch_size)
    pl.seed_everything(request.seed, verbose=False)


def _fit(
    system: type[TrainingSystem],
    request: Request,
    net: Network,
    datasets: Datasets,
    songs: Manifest,
    step: dict[str, Any],
    monitor: list[StemMonitor] | None = None,
) -> None:
    """Train and save the model; ``step`` describes the training step for finding a batch size."""
    folder, hardware, settings = request.folder, request.hardware, request.settings
    if is_first_process() and (note := below_rate(songs, net.sample_rate)):
        print(note, flush=True)
    network = request.network or {"init": str(request.init)}
    write_run(request.records, request.command, network, settings.model_dump(mode="json"))
    steps = train(
        system,
        net,
        datasets,
        settings,
        folder,
        records=request.records,
        seed=request.seed,
        hardware=hardware,
        batch_per_device=batch_at_once(folder, hardware, settings, **step),
        more_callbacks=monitor or [],
    )
    if steps is not None:
        _save(request, net, songs, steps)


def _form(net: Network) -> AudioForm:
    return {"sample_rate": net.sample_rate, "num_channels": net.num_channels}


def _build(request: Request, **more: Any) -> Network:
    network = {**(request.network or {}), **more}
    try:
        skeleton(**network, copies=4)  # gradients, and two moments of AdamW
        return build_model(**network)
    except (TypeError, ValueError) as error:
        raise UserError(f"{request.model}: {error}") from error


def _save(request: Request, net: Network, songs: Manifest, steps: int) -> None:
    heard = songs.tracks[songs.tracks["split"] != "test"]
    licences = sorted({str(licence) for licence in heard["license"] if str(licence)})
    origin = {
        "steps": steps,
        "seed": request.seed,
        "commit": current_commit(),
        "command": request.command,
    }
    trained_on = {"songs": heard["song"].nunique(), "licences": licences}
    folder, parameters = request.folder, net.num_parameters
    sweep(folder / "model")
    save_model(net, folder / "model", {**origin, "training_data": trained_on})
    write_experiment(folder, parameters=parameters, config=str(request.config), **origin)
    request.identity.mark_done(folder, [folder / "model" / name for name in MODEL_FILES])
    print(f"{folder / 'model'}: {steps} steps, {parameters:,} parameters")
