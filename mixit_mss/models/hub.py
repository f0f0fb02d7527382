"""Model folders: ``model.safetensors``, ``config.json`` and a model card, and the published weights.

Nothing that is loaded here can run code: tensors come from safetensors, or from PyTorch files with
``weights_only=True``.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mixit_mss.errors import UserError
from mixit_mss.files import CONFIG, WEIGHTS, atomic_path, write_json, write_text
from mixit_mss.models import MODELS, Network, build_model


def save_model(model: Network, folder: str | Path, card: dict | None = None) -> None:
    """Write a model folder; ``config.json`` last, so that a killed call leaves no model folder.

    Args:
        model: a network of :data:`mixit_mss.models.MODELS`.
        folder: made if missing; other files in it are left alone.
        card: what to remember of the training: data, licences, commit, command, steps, seed.
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
    write_text(folder / "README.md", _model_card(folder.name, config))
    write_json(folder / CONFIG, config)


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Network:
    """Open a model folder, or ``hf:user/name`` from the Hugging Face hub, in evaluation mode.

    Raises:
        UserError: if the folder is none, its parts do not fit together, or the network needs a
            package that is not installed.
    """
    folder = _fetch(str(folder)[3:]) if str(folder).startswith("hf:") else Path(folder)
    config = read_card(folder)
    try:
        model = build_model(**config["model"])
        model.load_state_dict(load_file(folder / WEIGHTS))
    except UserError:  # a package that this network needs
        raise
    except Exception as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{folder} is a broken model folder ({what}): make it again or get a fresh copy"
        ) from error
    return model.to(device).eval()


def read_card(folder: str | Path) -> dict:
    """The content of a model folder's ``config.json``.

    Raises:
        UserError: if ``folder`` is no model folder.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder} is no model folder: it holds no {name}")
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is not valid JSON ({error})") from error


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
    """README.md of a model folder: what it is, what it heard, and how to use it."""
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
    known = ("model", "sample_rate", "stems", "parameters")
    rest = {key: value for key, value in config.items() if key not in known}
    lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in rest.items()]
    return "\n".join(lines).rstrip() + "\n"
