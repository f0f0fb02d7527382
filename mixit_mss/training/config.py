"""What a training run can be told, and the YAML files that tell it.

A file says only what differs from its ``base``, a file named relative to its own folder.  Unknown
keys, wrong types and impossible values stop the run before any work, with the key's full name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from mixit_mss.errors import UserError


class Section(BaseModel):
    """A part of a config: unknown keys are errors, and values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(Section):
    """AdamW with gradient clipping (paper section 4.3)."""

    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: PositiveFloat = 5.0


class Schedule(Section):
    """Linear warm-up from 0, then constant, then a factor every so many epochs."""

    warmup_steps: NonNegativeInt = 5000
    hold_epochs: NonNegativeInt = 0
    decay: PositiveFloat = 0.965
    decay_every_epochs: PositiveInt = 1


Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Run(Section):
    """How long to train, and what to keep.

    ``batch_size`` is global: the number of network inputs per optimiser step over all devices.
    ``activation_checkpointing`` computes the blocks twice to keep less; ``compile`` lets
    `torch.compile` fuse them.  ``ema_decay`` validates and keeps an exponential moving average of
    the weights.  ``max_bad_steps`` steps in a row without a finite gradient end the run.
    """

    epochs: PositiveInt
    steps_per_epoch: PositiveInt
    batch_size: PositiveInt
    chunk_seconds: PositiveFloat = 6.0
    validation_chunks: PositiveInt = 64
    validate_every_epochs: PositiveInt = 1
    average_best: PositiveInt = 5
    num_workers: NonNegativeInt = 4
    precision: Literal["auto"] | Precision = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    tf32: bool = True
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_bad_steps: PositiveInt = 20

    def identity(self) -> dict:
        """What the result depends on: not how the work is spread or arranged."""
        return self.model_dump(
            mode="json", exclude={"num_workers", "activation_checkpointing", "compile"}
        )


class MixitLoss(Section):
    """Eq. 2 with Eq. 4 inside; ``least_squares`` is Eq. 3, ``exact`` tries all assignments."""

    solver: Literal["exact", "least_squares"] = "least_squares"
    threshold: PositiveFloat = 1e-3
    joint_channels: bool = True


class SupervisedLoss(Section):
    """Eq. 4, made to accept silent stems (paper section 4.3, reference 32)."""

    threshold: PositiveFloat = 1e-3
    joint_channels: bool = False
    inactive: Literal["release", "fuss"] = "release"


class Mixing(Section):
    """Dynamic mixing of stems (paper section 4.3)."""

    normalise: Literal["rms", "mean_absolute"] = "rms"
    gain_db: NonNegativeFloat = 10.0
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.05


class PretrainConfig(Section):
    """MixIT pre-training."""

    num_outputs: PositiveInt = 12
    mom_gain_db: NonNegativeFloat | None = None
    loss: MixitLoss = MixitLoss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    run: Run


class FinetuneConfig(Section):
    """Supervised training, from selected outputs or from scratch."""

    mixing: Mixing = Mixing()
    loss: SupervisedLoss = SupervisedLoss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule(hold_epochs=550, decay=0.98, decay_every_epochs=2)
    run: Run


Config = TypeVar("Config", bound=Section)


def read_yaml(path: str | Path) -> dict:
    """Read a YAML mapping and lay it over its ``base``, section by section.

    Raises:
        UserError: for a missing file, broken YAML, or a base that leads back to itself.
    """
    return _read(Path(path), seen=())


def load_config(path: str | Path, kind: type[Config]) -> Config:
    """Read and check a config file.

    Raises:
        UserError: naming the file, the key in full and what was expected.
    """
    content = read_yaml(path)
    try:
        return kind(**content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UserError(f"{path}: unknown key '{key}'{_known(kind, first['loc'])}") from error
        if first["type"] == "missing":
            raise UserError(f"{path}: key '{key}' is missing") from error
        wanted = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"{path}: key '{key}': {wanted}, got {first['input']!r}") from error


def _read(path: Path, seen: tuple[Path, ...]) -> dict:
    path = path.resolve()
    if path in seen:
        raise UserError(f"{path}: its 'base' leads back to itself")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values, not a {type(content).__name__}")
    base = content.pop("base", None)
    return content if base is None else _merge(_read(path.parent / base, (*seen, path)), content)


def _merge(base: dict, delta: dict) -> dict:
    merged = dict(base)
    for key, value in delta.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _known(kind: type[Section], location: tuple) -> str:
    for key in location[:-1]:
        inner = kind.model_fields[key].annotation
        assert isinstance(inner, type) and issubclass(inner, Section)  # nothing else has keys
        kind = inner
    return f"; known here: {', '.join(kind.model_fields)}"
