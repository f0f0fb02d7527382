"""Networks: mixture (batch, channel, sample) -> estimates (batch, source, channel, sample)."""

from __future__ import annotations

from torch import nn

from mixit_mss.models.bs_locoformer import BSLocoformer

MODELS: dict[str, type[nn.Module]] = {"bs_locoformer": BSLocoformer}
"""The one table from a model's name in a config to its class."""

__all__ = ["MODELS", "BSLocoformer", "build_model"]


def build_model(name: str, *, size: str | None = None, **config) -> nn.Module:
    """Build the network ``name`` from its arguments, or from a named ``size`` with changes.

    Raises:
        ValueError: naming an unknown model or argument, or a combination that cannot be.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; choose one of {', '.join(MODELS)}")
    make = MODELS[name] if size is None else MODELS[name].from_size
    try:
        return make(**config) if size is None else make(size, **config)
    except TypeError as error:  # a missing, unknown or mistyped argument
        raise ValueError(f"model {name}: {str(error).split('() ')[-1]}") from error
