"""Map the published network's parameter names to ours.

The names are those of the weights at huggingface.co/kohei0209/mixit_mss; see the recipe's README.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mixit_mss.models.bs_locoformer import BSLocoformer

PREFIX = "model.model."

PATHS = {"band_path": "freq_path", "frame_path": "frame_path"}

# The published block runs its list of feed-forward parts in reverse: ffn.1 comes first.
PATH_LAYERS = {
    "norm1.gamma": "ffn_norm.1.gamma",
    "ffn1.conv_weight": "ffn.1.conv1d.weight",
    "ffn1.conv_bias": "ffn.1.conv1d.bias",
    "ffn1.deconv_weight": "ffn.1.deconv1d.weight",
    "ffn1.deconv_bias": "ffn.1.deconv1d.bias",
    "norm_attention.gamma": "attn_norm.gamma",
    "attention.qkv.weight": "attn.qkv.weight",
    "attention.out.weight": "attn.aggregate_heads.0.weight",
    "norm2.gamma": "ffn_norm.0.gamma",
    "ffn2.conv_weight": "ffn.0.conv1d.weight",
    "ffn2.conv_bias": "ffn.0.conv1d.bias",
    "ffn2.deconv_weight": "ffn.0.deconv1d.weight",
    "ffn2.deconv_bias": "ffn.0.deconv1d.bias",
}

ENCODER = "band_split_module.band_split_module"
DECODER = "band_split_module.bandwise_decoding_module"


def official_sources(model: BSLocoformer) -> dict[str, list[str]]:
    """For each of our parameters, the published entries (without prefix) that it consists of.

    One entry, or one per band for the banded layers.
    """
    table: dict[str, list[str]] = {}
    for block in range(len(model.separator)):
        for ours, theirs in PATHS.items():
            for layer, published in PATH_LAYERS.items():
                name = f"separator.{block}.{ours}.{layer}"
                table[name] = [f"blocks.{block}.{theirs}.{published}"]
    groups = model.encoder.groups
    bands = [range(group.bands.start, group.bands.stop) for group in groups]
    for kind in ("weight", "bias"):
        for i, group in enumerate(bands):
            table[f"encoder.norms.{i}.{kind}"] = [f"{ENCODER}.{b}.0.{kind}" for b in group]
            table[f"encoder.linears.{i}.{kind}"] = [f"{ENCODER}.{b}.1.{kind}" for b in group]
            table[f"decoder.outputs.{i}.{kind}"] = [f"{DECODER}.{b}.4.{kind}" for b in group]
        every = range(groups[-1].bands.stop)
        table[f"decoder.norm.{kind}"] = [f"{DECODER}.{b}.0.{kind}" for b in every]
        table[f"decoder.hidden1.{kind}"] = [f"{DECODER}.{b}.1.{kind}" for b in every]
        table[f"decoder.hidden2.{kind}"] = [f"{DECODER}.{b}.2.{kind}" for b in every]
    return table


def from_official(entries: Mapping[str, Tensor], model: BSLocoformer) -> dict[str, Tensor]:
    """A state dict for ``model`` from published ``entries`` (names without prefix).

    Raises:
        KeyError: with the published name of the first missing entry.
        ValueError: naming the first entry whose shape does not fit.
    """
    state, table = {}, official_sources(model)
    for name, wanted in model.state_dict().items():
        banded = not name.startswith("separator.")
        shape = wanted.shape[1:] if banded else wanted.shape
        parts = []
        for source in table[name]:
            parts.append(_turned(entries[source], name))
            if parts[-1].shape != shape:
                raise ValueError(
                    f"{source} has shape {tuple(entries[source].shape)}, which does not fit {name} "
                    f"of shape {tuple(wanted.shape)}"
                )
        state[name] = torch.stack(parts) if banded else parts[0]
    return state


def _turned(entry: Tensor, name: str) -> Tensor:
    """A published entry in our axes: banded 1x1 convolutions (out, in, 1) become (in, out)."""
    if name.startswith("separator.") or ".norm" in name:
        return entry
    return entry.squeeze(-1).T if entry.ndim == 3 else entry[None]
