"""What a training was asked for, and whether that is done already: known before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mixit_mss.stamps import Fingerprint
from mixit_mss.training.hardware import Hardware
from mixit_mss.training.records import Records


@dataclass(frozen=True)
class Request:
    """One training.

    Attributes:
        config: name of its YAML file.
        model: YAML file of the network, or None where a model folder is taken up.
        manifest: of the songs.
        folder: of the experiment.
        identity: all that its outcome depends on.
        seed: of weights and data.
        hardware: the devices.
        command: noted with the result as what made it.
    """

    config: str
    model: str | None
    manifest: str
    folder: Path
    identity: Fingerprint
    seed: int = 0
    hardware: Hardware = field(default_factory=Hardware)
    command: str = ""

    @property
    def records(self) -> Records:
        """Where the run is described."""
        return Records(self.folder, self.identity.digest)

    def is_finished(self) -> bool:
        """Whether nothing is left to do; says so."""
        finished = self.identity.is_done(self.folder)
        if finished:
            self.records.show()
            print(f"{self.folder}: nothing changed, nothing to do")
        return finished
