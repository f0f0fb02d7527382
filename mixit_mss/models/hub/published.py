"""Open the weights published by the paper's authors, as networks of ours.

The weights belong to their authors, who state no licence.  Their source is printed whenever they
are opened, and they are never shipped with this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mixit_mss.errors import UserError
from mixit_mss.models import skeleton
from mixit_mss.models.bs_locoformer import SIZES, BSLocoformer
from mixit_mss.models.hub.official import PREFIX, from_official, official_sources
from mixit_mss.models.hub.weights import check_dense, check_finite, read_torch_file
from mixit_mss.names import file_name

REPOSITORY = "kohei0209/mixit_mss"
REVISION = "20a286f28b4a4c9058b935544cb7934ecc132443"
STEMS = ("bass", "drums", "vocals", "other")
"""Order of the four outputs of the published networks."""

NOTICE = (
    f"weights from huggingface.co/{REPOSITORY}, by K. Saijo and Y. Bando (arXiv 2505.07631); their "
    "licence is their authors' and is not stated there"
)

_SUPERVISED = "sup.musdb18hq.bslocoformer-"
NAMES = (
    *(f"{_SUPERVISED}{size}" for size in SIZES),
    *(f"{_SUPERVISED}{size}.mixit-fma-large-pretrained" for size in SIZES),
    *(f"{_SUPERVISED}medium.mixit-fma-{data}-pretrained" for data in ("small", "medium", "full")),
    *(
        f"mixit.fma-{data}.bslocoformer-medium.{outputs}outputs"
        for data in ("small", "medium", "large", "full")
        for outputs in (12, 4)
    ),
    *(
        f"mixit.fma-large.bslocoformer-{size}.{outputs}outputs"
        for size in ("small", "large")
        for outputs in (12, 4)
    ),
)
"""What :func:`import_official` can fetch."""


def import_official(source: str | Path, **changes: int) -> BSLocoformer:
    """Open published weights: a ``model.pth``, a Lightning ``.ckpt``, or one of :data:`NAMES`.

    The sizes are read from the tensors' shapes.  The numbers of heads and groups, which no shape
    shows, are those of the paper's size with the same ``dim``.

    Args:
        source: a file, or a name to fetch from the Hugging Face hub at a pinned revision.
        changes: ``num_heads`` and ``num_groups``, for a network that has no size of the paper.

    Returns:
        The network in evaluation mode, with four outputs named :data:`STEMS`, or any other number
        unnamed.

    Raises:
        UserError: the file is missing, the name is unknown, or an entry is missing, surplus or
            misshapen (the message names it).
    """
    path = _fetch(source) if str(source) in NAMES else Path(source)
    if not path.is_file():
        raise UserError(f"{source} is neither a file nor a published name ({', '.join(NAMES)})")
    entries = _read(path)
    try:
        sizes = {**_sizes(entries), **changes}
        skeleton(name="bs_locoformer", **sizes)
        model = BSLocoformer(**sizes).eval()
        known = {name for names in official_sources(model).values() for name in names}
        surplus = sorted(set(entries) - known)
        if surplus:
            raise UserError(f"{path}: entry {PREFIX}{surplus[0]} has no place in the network")
        model.load_state_dict(from_official(entries, model))
    except KeyError as error:
        raise UserError(f"{path}: entry {PREFIX}{error.args[0]} is missing") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return model


def _read(path: Path) -> dict[str, Tensor]:
    """The network's entries, without prefix; STFT windows and optimiser state are left out."""
    content = read_torch_file(path)
    content = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    content = content if isinstance(content, Mapping) else {}
    entries = {
        name.removeprefix(PREFIX): tensor
        for name, tensor in content.items()
        if isinstance(name, str) and name.startswith(PREFIX)
    }
    if not entries:
        raise UserError(f"{path}: no entry begins with {PREFIX}, so it holds no published network")
    try:
        check_dense(entries)
        check_finite(entries)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return entries


def _sizes(entries: Mapping[str, Tensor]) -> dict:
    """Constructor arguments from the shapes of ``entries``."""
    dim = _shape(entries, "band_split_module.band_split_module.0.1.weight", 3)[0]
    ffn_dim, _, kernel_size = _shape(entries, "blocks.0.freq_path.ffn.0.deconv1d.weight", 3)
    blocks = {name.split(".")[1] for name in entries if name.startswith("blocks.")}
    first_band = _shape(entries, "band_split_module.bandwise_decoding_module.0.4.bias", 1)[0]
    num_sources = first_band // (2 * 2 * 2 * 2)  # GLU halves, real/imaginary, channels, bins
    paper = next((size for size in SIZES.values() if size["dim"] == dim), {})
    return {
        "num_sources": num_sources,
        "num_blocks": len(blocks),
        "dim": dim,
        "ffn_dim": ffn_dim,
        "kernel_size": kernel_size,
        "num_heads": paper.get("num_heads", 1),
        "num_groups": paper.get("num_groups", 1),
        "stems": STEMS if num_sources == len(STEMS) else None,
    }


def _shape(entries: Mapping[str, Tensor], name: str, axes: int) -> tuple[int, ...]:
    shape = tuple(entries[name].shape)
    if len(shape) != axes:
        raise ValueError(f"{name} has shape {shape}, where {axes} axes are expected")
    return shape


def _fetch(name: str | Path) -> Path:
    from huggingface_hub import hf_hub_download

    kind = str(name).split(".")[0]
    try:
        file = f"models/{file_name(kind)}/{file_name(str(name))}/checkpoints/model.pth"
        return Path(hf_hub_download(REPOSITORY, file, revision=REVISION))
    except Exception as error:
        raise UserError(
            f"{name} could not be fetched from huggingface.co/{REPOSITORY} "
            f"({type(error).__name__}): check the network, or pass the path of a copy"
        ) from error
