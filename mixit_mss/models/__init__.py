"""Networks: mixture (batch, channel, sample) -> estimates (batch, source, channel, sample).

To add a network, write one class and add one line to :data:`MODELS`.  A ``model_<name>.yaml``
selects it by ``name: <its line>``; the other keys are its arguments.  The class derives from
:class:`~mixit_mss.models.network.Network`, which defines what the stages need, or from
:class:`~mixit_mss.models.network.BandNetwork` if it splits an STFT into bands.  ``num_sources``,
and ``stems`` in fine-tuning, come from the training, the rest from the YAML.

Optional: ``from_size(size, ...)``, for ``size:`` in the YAML, and the methods of
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
"""Maps a model's name in a config to its class."""

__all__ = ["MODELS", "BSLocoformer", "BSRoFormer", "Network", "build_model", "skeleton"]


def build_model(name: str, *, size: str | None = None, **config: Any) -> Network:
    """Build the network ``name`` from its arguments, or from a named ``size`` with changes.

    Raises:
        ValueError: the model or an argument is unknown, or the combination is impossible.
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
    """The network on the meta device: its weights have shapes but take no memory.

    Args:
        copies: number of copies of the weights that will be in memory at once.
        arguments: as :func:`build_model` takes them.

    Raises:
        ValueError: as :func:`build_model`.
        UserError: as :func:`build_model`, or the copies do not fit into the free memory.
    """
    with torch.device("meta"):
        network = build_model(**arguments)
    needed = sum(tensor.nbytes for tensor in network.state_dict().values())
    require_memory(copies * needed, f"a network of {network.num_parameters:,} parameters")
    return network
