"""Networks: mixture (batch, channel, sample) -> estimates (batch, source, channel, sample).

Another network joins by one class and one line in :data:`MODELS`; ``name: <its line>`` in a
``model_<name>.yaml`` chooses it, and the other keys are its arguments.  Of the class, the stages need:

``__init__(num_sources, *, ..., stems=None)``
    ``num_sources`` comes from the training and the rest from the YAML.  What cannot be is a
    ``ValueError``; what the user can install, a :class:`~mixit_mss.errors.UserError`.
``forward(mixture)``
    Any length from one sample up; the estimates are exactly as long, in float32, also under autocast.
    Nothing may depend on what was computed before.
``sample_rate``, ``num_channels``, ``num_sources``, ``stems``
    In Hz; as whole numbers; the outputs' names in order, or None.
``config``
    All arguments, in types that JSON knows.  :mod:`mixit_mss.models.hub` writes them beside the
    weights, and builds ``build_model(name, **config)`` to load them; so no two entries of
    ``state_dict()`` may share memory.
``select_sources(sources, stems=None)``
    A new network with these outputs in this order, equal to the chosen outputs of this one (stage 4).
``separator``
    What stands between encoder and decoder, frozen by ``--trainable encoder_decoder``; an iterable of
    blocks whose ``band_path`` and ``frame_path`` are compiled by ``run.compile: true``.
``activation_checkpointing``
    Set from ``run.activation_checkpointing``; refuse true if the network cannot.

Optional, for a network that multiplies the spectrum by masks: ``masks(mixture)`` and
``apply_masks(masks, spectrum, length)`` as :class:`BSLocoformer` has them make MixIT's gradient leaner,
see :func:`mixit_mss.training.systems.mixit_loss_by_masks`.  And ``from_size(size, ...)``, for ``size:``
in the YAML.  :class:`BSRoFormer` has neither.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from mixit_mss.models.bs_locoformer import BSLocoformer
from mixit_mss.models.bs_roformer import BSRoFormer

MODELS: dict[str, type[nn.Module]] = {
    "bs_locoformer": BSLocoformer,
    "bs_roformer": BSRoFormer,
}
"""The one table from a model's name in a config to its class."""

__all__ = ["MODELS", "BSLocoformer", "BSRoFormer", "build_model"]


def build_model(name: str, *, size: str | None = None, **config) -> nn.Module:
    """Build the network ``name`` from its arguments, or from a named ``size`` with changes.

    Raises:
        ValueError: naming an unknown model or argument, or a combination that cannot be.
        UserError: the network needs a package that is not installed.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; choose one of {', '.join(MODELS)}")
    network: Any = MODELS[name]
    if size is not None and not hasattr(network, "from_size"):
        raise ValueError(f"model {name} has no named sizes: leave out 'size', and give its numbers")
    try:
        return network(**config) if size is None else network.from_size(size, **config)
    except TypeError as error:  # a missing, unknown or mistyped argument
        raise ValueError(f"model {name}: {str(error).split('() ')[-1]}") from error
