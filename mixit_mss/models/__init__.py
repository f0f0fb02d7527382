"""Networks: mixture (batch, channel, sample) -> estimates (batch, source, channel, sample).

Another network joins by one class and one line in :data:`MODELS`; ``name: <its line>`` in a
``model_<name>.yaml`` chooses it, and the other keys are its arguments.  The class is a
:class:`~mixit_mss.models.network.Network`, which says what the stages need of it; one that looks at
an STFT in bands is a :class:`~mixit_mss.models.network.BandNetwork`.  ``num_sources``, and ``stems`` in
fine-tuning, come from the training, the rest from the YAML.

Optional: ``from_size(size, ...)``, for ``size:`` in the YAML, and what makes a network
:class:`~mixit_mss.models.network.Masking`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from mixit_mss.limits import shown
from mixit_mss.machine import require_memory
from mixit_mss.models.bs_locoformer import BSLocoformer
from mixit_mss.models.bs_roformer import BSRoFormer
from mixit_mss.models.network import Network

MODELS: dict[str, type[Network]] = {
    "bs_locoformer": BSLocoformer,
    "bs_roformer": BSRoFormer,
}
"""The one table from a model's name in a config to its class."""

__all__ = ["MODELS", "BSLocoformer", "BSRoFormer", "Network", "build_model", "skeleton"]


def build_model(name: str, *, size: str | None = None, **config: Any) -> Network:
    """Build the network ``name`` from its arguments, or from a named ``size`` with changes.

    Raises:
        ValueError: naming an unknown model or argument, or a combination that cannot be.
        UserError: the network needs a package that is not installed.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"no model {shown(name)}; choose one of {', '.join(MODELS)}")
    make: Callable[..., Network] = MODELS[name]
    if size is not None:
        if not isinstance(size, str):
            raise ValueError(f"size must be a name, got {shown(size)}")
        if not hasattr(make, "from_size"):
            raise ValueError(
                f"model {name} has no named sizes: leave out 'size', and give its numbers"
            )
        make = partial(make.from_size, size)
    try:
        return make(**config)
    except (TypeError, AssertionError) as error:  # a missing, unknown or mistyped argument
        raise ValueError(f"model {name}: {str(error).split('() ')[-1]}") from error


def skeleton(*, copies: int = 2, **arguments: Any) -> Network:
    """The network with the shapes of its weights, but without memory for them.

    Args:
        copies: of the weights that will be held at once.
        arguments: as :func:`build_model` takes them.

    Raises:
        ValueError: as :func:`build_model`.
        UserError: as :func:`build_model`, or the machine's memory does not hold the weights.
    """
    with torch.device("meta"):
        network = build_model(**arguments)
    needed = sum(tensor.nbytes for tensor in network.state_dict().values())
    require_memory(copies * needed, f"a network of {network.num_parameters:,} parameters")
    return network
