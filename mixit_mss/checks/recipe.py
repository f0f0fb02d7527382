"""Check a recipe before training: configs, network, songs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from mixit_mss.checks.songs import (
    FINETUNE,
    PRETRAIN,
    SELECT,
    Finding,
    labelled_findings,
    unlabelled_findings,
)
from mixit_mss.data.manifest import Manifest, manifest_paths, read_manifest
from mixit_mss.errors import UserError
from mixit_mss.models import Network, build_model, skeleton
from mixit_mss.preparation.leaks import sentence, shared_samples
from mixit_mss.training.config import (
    FinetuneConfig,
    PretrainConfig,
    look_at_config,
    read_yaml,
)
from mixit_mss.training.hardware import Hardware

COPIES = 4  # in training: weights, gradients, and two moments of AdamW
Result = TypeVar("Result")
SomeConfig = TypeVar("SomeConfig", PretrainConfig, FinetuneConfig)


@dataclass(frozen=True)
class Recipe:
    """Inputs of the stages from pre-training on.

    Attributes:
        model: YAML of the network.
        stems: to select and to train.
        labelled: manifest of the songs with stems; None if there are no tables yet.
        unlabelled: manifest of the songs without stems; None if nothing is pre-trained.
        pretrain: YAML of the pre-training; None if nothing is pre-trained.
        finetune: YAMLs of the fine-tunings.
        hardware: the devices that share a batch.
        here: whether training runs on this machine, so that its memory must suffice.
        sample_rate: in Hz, of the songs that stage 1 will store; None if it is done.
    """

    model: str
    stems: Sequence[str]
    labelled: str | None = None
    unlabelled: str | None = None
    pretrain: str | None = None
    finetune: Sequence[str] = ()
    hardware: Hardware = field(default_factory=Hardware)
    here: bool = True
    sample_rate: int | None = None


def findings(recipe: Recipe) -> list[Finding]:
    """Everything that would stop a stage or spoil its result, in the order of the stages."""
    found: list[Finding] = []
    first = PRETRAIN if recipe.pretrain else FINETUNE
    told = _try(found, first, read_yaml, recipe.model)
    pretraining, nets = None, []
    if recipe.pretrain:
        pretraining = _config(found, PRETRAIN, recipe.pretrain, PretrainConfig)
    trainings = [
        (path, _config(found, FINETUNE, path, FinetuneConfig))
        for path in dict.fromkeys(recipe.finetune)
    ]
    if told is not None and pretraining is not None:
        outputs = {"num_sources": pretraining.num_outputs}
        nets.append(_network(found, PRETRAIN, recipe, told, outputs))
        found += _outputs(recipe, pretraining)
    if told is not None and (trainings or not pretraining):
        stems = {"num_sources": len(recipe.stems), "stems": list(recipe.stems)}
        nets.append(_network(found, FINETUNE, recipe, told, stems))
    net = next((net for net in nets if net is not None), None)
    for stage, path, training in (
        (PRETRAIN, recipe.pretrain, pretraining),
        *((FINETUNE, *named) for named in trainings),
    ):
        if training is not None:
            found += _training(stage, str(path), training, recipe.hardware, net)
    if net is not None and recipe.sample_rate is not None:
        found += _rate(recipe.sample_rate, net, first)
    found += _songs(recipe, net, pretraining, [t for _, t in trainings if t is not None])
    return sorted(dict.fromkeys(found), key=lambda finding: finding.stage)


def _config(
    found: list[Finding], stage: int, path: str, kind: type[SomeConfig]
) -> SomeConfig | None:
    config, faults = _try(found, stage, look_at_config, path, kind) or (None, [])
    found += [Finding(stage, fault) for fault in faults]
    return config


def _songs(
    recipe: Recipe,
    net: Network | None,
    pretraining: PretrainConfig | None,
    trainings: Sequence[FinetuneConfig],
) -> Iterator[Finding]:
    first = SELECT if recipe.pretrain else FINETUNE
    wanted = [(recipe.unlabelled, PRETRAIN)] if recipe.unlabelled else []
    wanted += [(recipe.labelled, first)] if recipe.labelled else []
    tables: dict[str, Manifest] = {}
    for name, stage in wanted:
        if missing := [path for path in manifest_paths(name) if not path.is_file()]:
            names = " and ".join(f"'{path}'" for path in missing)
            verb = "does" if len(missing) == 1 else "do"
            yield Finding(stage, f"{names} {verb} not exist; run stages 1 and 2 first")
            continue
        try:
            tables[name] = read_manifest(name)
        except UserError as error:
            yield Finding(stage, str(error))
            continue
        yield from _of_songs(recipe, tables[name], name, net, pretraining, trainings)
    if recipe.unlabelled in tables and recipe.labelled in tables:
        pairs = shared_samples(tables[recipe.unlabelled], tables[recipe.labelled])
        if said := sentence(pairs):
            yield Finding(PRETRAIN, said)


def _of_songs(
    recipe: Recipe,
    songs: Manifest,
    name: str,
    net: Network | None,
    pretraining: PretrainConfig | None,
    trainings: Sequence[FinetuneConfig],
) -> Iterator[Finding]:
    if name == recipe.unlabelled:
        length = pretraining.run.chunk_seconds if pretraining else None
        yield from unlabelled_findings(songs, net, length)
    else:
        lengths = [training.run.chunk_seconds for training in trainings]
        first = SELECT if recipe.pretrain else FINETUNE
        yield from labelled_findings(songs, recipe.stems, net, lengths, first)


def _network(
    found: list[Finding], stage: int, recipe: Recipe, told: dict[str, Any], outputs: dict
) -> Network | None:
    def build() -> Network:
        try:
            if recipe.here:
                return skeleton(**told, **outputs, copies=COPIES)
            with torch.device("meta"):
                return build_model(**told, **outputs)
        except (TypeError, ValueError) as error:
            raise UserError(f"{recipe.model}: {error}") from error

    return _try(found, stage, build)


def _rate(sample_rate: int, net: Network, first: int) -> Iterator[Finding]:
    """Compare the sample rate for stage 1 with the network's."""
    if sample_rate < net.sample_rate:
        yield Finding(
            first,
            f"--sample-rate {sample_rate}: songs stored so hold nothing above {sample_rate / 2000:g} "
            f"kHz, but the network has sample_rate {net.sample_rate}; store them at that rate, or "
            "take another network",
        )
    elif sample_rate > net.sample_rate:
        yield Finding(
            0,
            f"--sample-rate {sample_rate}: songs stored so are converted to the network's "
            f"{net.sample_rate} Hz at every reading, which is slow; --sample-rate {net.sample_rate} "
            "does it once",
        )


def _outputs(recipe: Recipe, pretraining: PretrainConfig) -> Iterator[Finding]:
    if pretraining.num_outputs < len(recipe.stems):
        yield Finding(
            SELECT,
            f"{recipe.pretrain}: num_outputs {pretraining.num_outputs} are too few for "
            f"{len(recipe.stems)} stems ({', '.join(recipe.stems)}); give the network more outputs",
        )


def _training(
    stage: int,
    path: str,
    training: PretrainConfig | FinetuneConfig,
    hardware: Hardware,
    net: Network | None,
) -> Iterator[Finding]:
    """Check a config against the devices and the network."""
    try:
        hardware.share(training.run.batch_size)
    except UserError as error:
        yield Finding(stage, f"{path}: {error}")
    if net is not None and training.run.activation_checkpointing:
        try:
            net.activation_checkpointing = True
        except UserError as error:
            yield Finding(stage, f"{path}: {error}")


def _try(
    found: list[Finding], stage: int, call: Callable[..., Result], *arguments: Any
) -> Result | None:
    """The result of a call; None if it raises UserError, which is added to ``found``."""
    try:
        return call(*arguments)
    except UserError as error:
        found.append(Finding(stage, str(error)))
        return None


def in_words(found: Sequence[Finding], stage: int, stop_stage: int) -> tuple[list[str], list[str]]:
    """Sentences on what would stop one of the stages ``stage`` to ``stop_stage``, and on the rest.

    Findings that concern only earlier stages are left out.
    """
    first: dict[str, int] = {}
    for number, text in found:
        if number == 0 or number >= stage:
            first.setdefault(text, number)
    faults = [f"stage {n}: {text}" for text, n in first.items() if stage <= n <= stop_stage]
    rest = [text for text, n in first.items() if n == 0]
    rest += [f"stage {n} will end: {text}" for text, n in first.items() if n > stop_stage]
    return faults, rest
