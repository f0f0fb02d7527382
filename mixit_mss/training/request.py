"""A training request, and whether it is already done; importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mixit_mss.stamps import Fingerprint
from mixit_mss.training.config import FinetuneConfig, PretrainConfig
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.records import Records

Settings = TypeVar("Settings", PretrainConfig, FinetuneConfig)


@dataclass(frozen=True)
class Request(Generic[Settings]):
    """A requested training.

    Attributes:
        config: name of its YAML file.
        settings: content of that file.
        model: YAML file of the network, or None if ``init`` is given.
        network: content of that file.
        manifest: of the songs.
        folder: of the experiment.
        identity: fingerprint of everything that the result depends on.
        init: model folder that fine-tuning starts from.
        trainable: ``all``, or ``encoder_decoder`` to freeze the separator.
        seed: of weights and data.
        hardware: the devices.
        command: command line, recorded with the result.
    """

    config: str
    settings: Settings
    model: str | None
    network: dict | None
    manifest: str
    folder: Path
    identity: Fingerprint
    init: str | None = None
    trainable: str = "all"
    seed: int = 0
    hardware: Hardware = field(default_factory=Hardware)
    command: str = ""

    @property
    def records(self) -> Records:
        """The files that describe the run."""
        return Records(self.folder, self.identity.digest)

    def is_finished(self) -> bool:
        """Whether the training is finished; prints a line if it is."""
        finished = self.identity.is_done(self.folder)
        if finished:
            self.records.show()
            print(f"{self.folder}: nothing changed, nothing to do")
        return finished
