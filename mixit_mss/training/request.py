"""The request for a training, and whether it is already done; importable without torch."""

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
    """One training.

    Attributes:
        config: name of its YAML file.
        settings: what that file says.
        model: YAML file of the network, or None where a model folder is taken up.
        network: what that file says.
        manifest: of the songs.
        folder: of the experiment.
        identity: all that its outcome depends on.
        init: model folder that is taken up, in fine-tuning.
        trainable: ``all``, or ``encoder_decoder`` to freeze the separator.
        seed: of weights and data.
        hardware: the devices.
        command: noted with the result as what made it.
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
        """Where the run is described."""
        return Records(self.folder, self.identity.digest)

    def is_finished(self) -> bool:
        """Whether the training is finished; prints a line if it is."""
        finished = self.identity.is_done(self.folder)
        if finished:
            self.records.show()
            print(f"{self.folder}: nothing changed, nothing to do")
        return finished
