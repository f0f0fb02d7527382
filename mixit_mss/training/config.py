"""Configs of the training runs, and the YAML files they are read from.

A file gives only what differs from its ``base``, whose path is relative to the file's folder.
Unknown keys, wrong types and impossible values stop the run before any work; the error message has
the key's full name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from mixit_mss.errors import UserError
from mixit_mss.limits import BATCH_SIZE, CHUNK_SECONDS, EXACT_OUTPUTS, NETWORK, WORKERS, shown
from mixit_mss.yaml_files import read_yaml

__all__ = ["FinetuneConfig", "PretrainConfig", "Run", "Section", "load_config", "read_yaml"]

COUNT = Field(ge=1, le=1_000_000)
SHARE = Field(ge=0, lt=1, allow_inf_nan=False)
DECIBELS = Field(ge=0, le=100, allow_inf_nan=False)


class Section(BaseModel):
    """A section of a config: unknown keys are errors, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if (
            isinstance(value, bool)
            and cls.model_fields[info.field_name or ""].annotation is not bool
        ):
            raise ValueError("must not be true or false")
        return value


class Optimizer(Section):
    """AdamW with gradient clipping (paper section 4.3)."""

    lr: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 1e-2
    betas: tuple[Annotated[float, SHARE], Annotated[float, SHARE]] = (0.9, 0.999)
    clip_norm: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] = 5.0


class Schedule(Section):
    """Linear warm-up from 0, then constant, then multiplied by a factor every few epochs."""

    warmup_steps: Annotated[int, Field(ge=0, le=10**9)] = 5000
    hold_epochs: Annotated[int, Field(ge=0, le=10**6)] = 0
    decay: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.965
    decay_every_epochs: Annotated[int, COUNT] = 1


Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Run(Section):
    """How long to train, and what to keep.

    ``batch_size`` is global: the number of network inputs per optimiser step over all devices.
    ``activation_checkpointing`` recomputes the blocks in the backward pass to save memory;
    ``compile`` lets `torch.compile` fuse them.  With ``ema_decay``, an exponential moving average
    of the weights is validated and kept.  ``max_bad_steps`` steps in a row without a finite
    gradient end the run.
    """

    epochs: Annotated[int, COUNT]
    steps_per_epoch: Annotated[int, COUNT]
    batch_size: Annotated[int, Field(ge=BATCH_SIZE.lowest, le=BATCH_SIZE.highest)]
    chunk_seconds: Annotated[
        float, Field(ge=CHUNK_SECONDS.lowest, le=CHUNK_SECONDS.highest, allow_inf_nan=False)
    ] = 6.0
    validation_chunks: Annotated[int, Field(ge=1, le=100_000)] = 64
    validate_every_epochs: Annotated[int, COUNT] = 1
    average_best: Annotated[int, Field(ge=1, le=1000)] = 5
    num_workers: Annotated[int, Field(ge=WORKERS.lowest, le=WORKERS.highest)] = 4
    precision: Literal["auto"] | Precision = "auto"
    activation_checkpointing: bool = False
    compile: bool = False
    tf32: bool = True
    ema_decay: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = None
    max_bad_steps: Annotated[int, COUNT] = 20

    def identity(self) -> dict:
        """The settings that the result depends on, not those that only affect speed or memory."""
        return self.model_dump(
            mode="json", exclude={"num_workers", "activation_checkpointing", "compile"}
        )


class MixitLoss(Section):
    """Eq. 2 with Eq. 4 inside; ``least_squares`` is Eq. 3, ``exact`` tries all assignments."""

    solver: Literal["exact", "least_squares"] = "least_squares"
    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-3
    joint_channels: bool = True


class SupervisedLoss(Section):
    """Eq. 4, made to accept silent stems (paper section 4.3, reference 32)."""

    threshold: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-3
    joint_channels: bool = False
    inactive: Literal["release", "fuss"] = "release"


class Mixing(Section):
    """Dynamic mixing of stems (paper section 4.3)."""

    normalise: Literal["rms", "mean_absolute"] = "rms"
    gain_db: Annotated[float, DECIBELS] = 10.0
    drop: Annotated[float, SHARE] = 0.05


class PretrainConfig(Section):
    """MixIT pre-training."""

    num_outputs: Annotated[
        int, Field(ge=NETWORK["num_sources"].lowest, le=NETWORK["num_sources"].highest)
    ] = 12
    mom_gain_db: Annotated[float, DECIBELS] | None = None
    loss: MixitLoss = MixitLoss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    run: Run

    @model_validator(mode="after")
    def _exact_is_for_few(self) -> PretrainConfig:
        if self.loss.solver == "exact" and self.num_outputs > EXACT_OUTPUTS:
            raise ValueError(
                f"loss.solver exact tries all assignments of at most {EXACT_OUTPUTS} num_outputs, "
                f"not of {self.num_outputs}; take least_squares"
            )
        return self


class FinetuneConfig(Section):
    """Supervised training, from selected outputs or from scratch."""

    mixing: Mixing = Mixing()
    loss: SupervisedLoss = SupervisedLoss()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule(hold_epochs=550, decay=0.98, decay_every_epochs=2)
    run: Run


Config = TypeVar("Config", bound=Section)


def load_config(path: str | Path, kind: type[Config]) -> Config:
    """Read and check a config file.

    Raises:
        UserError: with the file, the key's full name and what was expected.
    """
    config, faults = look_at_config(path, kind)
    if config is None:
        raise UserError(faults[0])
    return config


def look_at_config(path: str | Path, kind: type[Config]) -> tuple[Config | None, list[str]]:
    """The config; or None and one sentence per wrong key, unknown keys first.

    Raises:
        UserError: the file cannot be read at all.
    """
    content = read_yaml(path)
    try:
        return kind(**content), []
    except ValidationError as error:
        # an unknown key may explain why another is missing
        errors = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        return None, [f"{path}: {_fault(kind, each)}" for each in errors]


def _fault(kind: type[Section], error: ErrorDetails) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key[:100]}'{_known(kind, error['loc'])}"
    if error["type"] == "missing":
        return f"key '{key}' is missing"
    wanted = error["msg"].removeprefix("Value error, ")
    if not key:
        return wanted
    return f"key '{key}': {wanted[0].lower()}{wanted[1:]}, got {shown(error['input'])}"


def _known(kind: type[Section], location: tuple) -> str:
    for key in location[:-1]:
        inner = kind.model_fields[key].annotation
        assert isinstance(inner, type) and issubclass(inner, Section)  # nothing else has keys
        kind = inner
    return f"; known here: {', '.join(kind.model_fields)}"
