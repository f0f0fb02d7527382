"""Model folders: ``model.safetensors``, ``config.json`` and a model card.

Loading never runs code: tensors come from safetensors, and those of published networks from PyTorch
files with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mixit_mss.errors import UserError
from mixit_mss.files import CONFIG, WEIGHTS, atomic_path, write_json, write_text
from mixit_mss.limits import check_names
from mixit_mss.models import MODELS, Network, build_model, skeleton
from mixit_mss.models.hub.weights import check_finite, check_header
from mixit_mss.reading import read_text
from mixit_mss.stamps import content_digest

MAX_CARD = 4 * 2**20
"""Largest ``config.json`` in bytes, including the notes on the training."""


def save_model(model: Network, folder: str | Path, card: dict | None = None) -> None:
    """Write a model folder; ``config.json`` last, so that a killed call leaves no model folder.

    Args:
        model: a network of :data:`mixit_mss.models.MODELS`.
        folder: created if missing; other files in it are kept.
        card: notes on the training: data, licences, commit, command, steps, seed.
    """
    folder = Path(folder)
    name = next(name for name, kind in MODELS.items() if type(model) is kind)
    config = {
        "model": {"name": name, **model.config},
        "sample_rate": model.sample_rate,
        "stems": model.config["stems"],
        "parameters": model.num_parameters,
        **(card or {}),
    }
    tensors = {
        key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()
    }
    with atomic_path(folder / WEIGHTS) as partial:
        save_file(tensors, str(partial))
    config["sha256"] = _digest(config["model"], folder / WEIGHTS)
    write_text(folder / "README.md", _model_card(folder.name, config))
    write_json(folder / CONFIG, config)


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Network:
    """Open a model folder, or ``hf:user/name`` from the Hugging Face hub, in evaluation mode.

    Raises:
        UserError: if it is not a model folder, its parts do not fit together, its numbers are
            invalid, or the network needs more memory or a missing package.
    """
    folder = _fetch(str(folder)[3:]) if str(folder).startswith("hf:") else Path(folder)
    config = read_card(folder)
    try:
        network = skeleton(**config["model"])
        check_names(network.stems or ())
        check_header(folder / WEIGHTS, network)
        model = build_model(**config["model"])
        weights = load_file(folder / WEIGHTS)
        check_finite(weights)
        _check_digest(config, folder / WEIGHTS)
        model.load_state_dict(weights)
    except UserError:  # a package that this network needs, or memory
        raise
    except Exception as error:
        what = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise UserError(
            f"{folder} is a broken model folder ({what}): make it again or get a fresh copy"
        ) from error
    return model.to(device).eval()


def read_card(folder: str | Path) -> dict:
    """The content of a model folder's ``config.json``.

    Raises:
        UserError: if ``folder`` is not a model folder, or the content names no network.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(f"{folder} is no model folder but a file")
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is no model folder: it holds no {name}")
    path = folder / CONFIG
    text = read_text(path, MAX_CARD)
    try:
        card = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error
    model = card.get("model") if isinstance(card, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("name"), str):
        raise UserError(f"{path} describes no network: it needs a 'model' with a 'name'")
    return card


def _digest(network: dict, weights: Path) -> str:
    """sha256 of everything that decides what a network computes; names of outputs do not."""
    shape = {key: value for key, value in network.items() if key != "stems"}
    text = json.dumps([shape, content_digest(weights)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_digest(card: dict, weights: Path) -> None:
    """Check that weights and configuration were written together.

    A card without a digest, from an earlier version, passes.

    Raises:
        ValueError: they were not.
    """
    if card.get("sha256") not in (None, _digest(card["model"], weights)):
        raise ValueError(
            f"{WEIGHTS} and {CONFIG} are not as they were written together: one is damaged or of "
            f"another network; if you changed it on purpose, take 'sha256' out of {CONFIG}"
        )


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[WEIGHTS, CONFIG, "README.md"]))
    except Exception as error:
        raise UserError(
            f"hf:{name} could not be fetched ({type(error).__name__}): check the name and the "
            "network, or pass a local folder"
        ) from error


def _model_card(title: str, config: dict) -> str:
    """README.md of a model folder: what it is, what it was trained on, and how to use it."""
    stems = ", ".join(config["stems"]) if config["stems"] else "unnamed outputs of MixIT"
    lines = [
        f"# {title}",
        "",
        f"A `{config['model']['name']}` with {config['parameters']:,} parameters that separates "
        f"{config['model']['num_channels']}-channel music at {config['sample_rate']} Hz into "
        f"{config['model']['num_sources']} sources ({stems}).",
        "",
        "```",
        f"mixit-mss separate SONG --model {title} --out separated",
        "```",
        "",
    ]
    known = ("model", "sample_rate", "stems", "parameters", "sha256")
    rest = {key: value for key, value in config.items() if key not in known}
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in rest.items()]
    return "\n".join(lines).rstrip() + "\n"
