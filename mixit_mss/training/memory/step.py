"""The training step of a run, from its config alone: network, loss, chunk, sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mixit_mss.corpora import musdb18hq
from mixit_mss.data.manifest import Manifest
from mixit_mss.errors import UserError
from mixit_mss.models import build_model
from mixit_mss.models.bs_locoformer import SIZES
from mixit_mss.models.hub import read_card
from mixit_mss.models.network import Network
from mixit_mss.training.config import (
    FinetuneConfig,
    PretrainConfig,
    Section,
    load_config,
    read_yaml,
)
from mixit_mss.training.systems import MixITSystem, SupervisedSystem, freeze_separator

MIXTURES = 2
"""Mixtures per mixture of mixtures, as in :class:`mixit_mss.data.datasets.UnlabelledMixtures`."""

STAGES: dict[str, type[PretrainConfig] | type[FinetuneConfig]] = {
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
}


@dataclass(frozen=True)
class TrainingStep:
    """The network and config of a training step; small enough to send to another process.

    Attributes:
        network: arguments of :func:`mixit_mss.models.build_model`, including ``num_sources``.
        config: of the run.
        frozen_separator: whether only encoder and decoder are trained.
    """

    network: dict
    config: PretrainConfig | FinetuneConfig
    frozen_separator: bool = False

    def build(self) -> Network:
        """The network in training mode.

        Raises:
            ValueError: the network is invalid, see :func:`mixit_mss.models.build_model`.
        """
        net = build_model(**self.network).train()
        net.activation_checkpointing = self.config.run.activation_checkpointing
        if self.frozen_separator:
            freeze_separator(net)
        return net

    def parts(self, net: Network) -> int:
        """Number of signals that are summed for one example: mixtures or stems."""
        return MIXTURES if isinstance(self.config, PretrainConfig) else net.num_sources

    def samples(self, net: Network) -> int:
        """Length of a chunk in samples."""
        return round(self.config.run.chunk_seconds * net.sample_rate)

    def loss(self, net: Network, batch: Tensor) -> Tensor:
        """The loss of a batch (batch, part, channel, sample), from the training system."""
        pretraining = isinstance(self.config, PretrainConfig)
        system = MixITSystem if pretraining else SupervisedSystem
        options = self.config.model_dump(mode="json")
        return system(net, None, None, None, options, options["loss"]).common_step(batch, 0)


def stage_of(config: str | Path) -> str:
    """``pretrain`` or ``finetune``, by the config's keys that only one of them has.

    Raises:
        UserError: the keys do not decide, or the file cannot be read.
    """
    found = _keys(read_yaml(config))
    known = {stage: _keys(_nested(kind)) for stage, kind in STAGES.items()}
    shared = set.intersection(*known.values())
    stages = [stage for stage, keys in known.items() if found & (keys - shared)]
    if len(stages) != 1:
        options = " or ".join(f"--stage {stage}" for stage in STAGES)
        raise UserError(f"{config}: its keys do not tell which training it is for; add {options}")
    return stages[0]


def training_step(
    config: str | Path,
    *,
    stage: str | None = None,
    model: str | None = None,
    init: str | None = None,
    stems: Sequence[str] = musdb18hq.STEMS,
    manifest: Manifest | None = None,
    trainable: str = "all",
) -> TrainingStep:
    """The training step of a run.

    Args:
        config: YAML of the training.
        stage: ``pretrain`` or ``finetune``; None to decide by ``init`` and the config's keys.
        model: one of the paper's sizes, or a YAML file; not used if ``init`` is given.
        init: a model folder whose outputs have stems, to fine-tune.
        stems: names of the stems for fine-tuning ``model`` without a manifest.
        manifest: of the songs for fine-tuning ``model``, with the stems' names.
        trainable: ``all``, or ``encoder_decoder`` for a frozen separator.

    Raises:
        UserError: a file or folder is invalid, or the arguments do not fit together.
    """
    stage = stage or ("finetune" if init else stage_of(config))
    settings = load_config(config, STAGES[stage])
    if stage == "pretrain" and (init or trainable != "all"):
        raise UserError("--init and --trainable are for fine-tuning; leave them out")
    network = _network(model, init)
    if isinstance(settings, PretrainConfig):
        network["num_sources"] = settings.num_outputs
    elif not init:
        names = [s for s in manifest.stems() if s != "mixture"] if manifest else list(stems)
        if manifest and not names:
            raise UserError(f"{manifest.name}: lists no stems; fine-tuning needs labelled songs")
        network |= {"num_sources": len(names), "stems": names}
    step = TrainingStep(network, settings, frozen_separator=trainable == "encoder_decoder")
    try:
        with torch.device("meta"):
            net = step.build()
    except (TypeError, ValueError) as error:
        raise UserError(f"{init or model}: {error}") from error
    if step.samples(net) < 1:
        raise UserError(f"{config}: run.chunk_seconds holds no sample at {net.sample_rate} Hz")
    return step


def _network(model: str | None, init: str | None) -> dict:
    if init is not None:
        network = dict(read_card(init)["model"])
        if not network.get("stems"):
            raise UserError(f"{init}: its outputs have no stems; choose some by select-channels")
        return network
    if model is None:
        raise UserError("give --model or --init")
    return {"name": "bs_locoformer", "size": model} if model in SIZES else read_yaml(model)


def _nested(kind: type[Section]) -> dict:
    """The keys of a config, with sections as dicts."""
    fields = {name: field.annotation for name, field in kind.model_fields.items()}
    return {
        name: _nested(field) if isinstance(field, type) and issubclass(field, Section) else None
        for name, field in fields.items()
    }


def _keys(content: dict, prefix: str = "") -> set[str]:
    """Full names of all keys, such as ``loss.solver``."""
    keys = {f"{prefix}{name}" for name in content}
    for name, value in content.items():
        if isinstance(value, dict):
            keys |= _keys(value, f"{prefix}{name}.")
    return keys
