"""Broken weights: model folders, files of the authors, and checkpoints of trainings."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from test.robustness import calls
from test.robustness.break_texts import break_nest
from test.robustness.mutations import Generator, break_bytes, pick
from test.robustness.sandbox import Call, Sandbox

WITH_WEIGHTS = (
    "separate",
    "separate",
    "separate",
    "select_channels",
    "diagnose",
    "finetune",
)
WITH_WEIGHTS += (
    "import_official",
    "import_official",
    "import_official",
    "load_model",
    "resume",
    "resume",
)


class Touch:
    """Unpickled, it would write a file."""

    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


def checkpoints(box: Sandbox, generator: Generator) -> Call:
    """Broken weights, in every command that opens some."""
    call = calls.CALLS[pick(generator, WITH_WEIGHTS)](box)
    path = pick(generator, call.aims["checkpoints"])
    draw = generator.random()
    if draw < 0.4:
        content, way = break_bytes(path.read_bytes(), generator)
        path.write_bytes(content)
    elif draw < 0.5:
        way = _other_thing(path, generator)
    elif path.suffix == ".safetensors":
        way = (_break_header if draw < 0.75 else _break_tensors)(path, generator)
    else:
        way = _break_content(path, generator)
    call.note = f"{path.name}: {way}"
    return call


def _other_thing(path: Path, generator: Generator) -> str:
    """A folder, a pickle that is code, or a file of another sort in its place."""
    way = pick(generator, ("folder", "code", "text", "link", "missing"))
    path.unlink()
    if way == "folder":
        path.mkdir()
    elif way == "code":
        path.write_bytes(pickle.dumps({"state_dict": Touch()}))
    elif way == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    elif way == "link":
        path.symlink_to("/dev/zero")
    return way


def _break_header(path: Path, generator: Generator) -> str:
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header: Any = json.loads(content[8 : 8 + size])
    header, way = break_nest(header, generator)
    words = json.dumps(header).encode("utf-8", "replace")
    length = pick(generator, (len(words), len(words), len(words), 0, 2**63, 2**31, len(words) - 1))
    path.write_bytes(struct.pack("<Q", length) + words + content[8 + size :])
    return f"header {way}"


def _break_tensors(path: Path, generator: Generator) -> str:
    tensors = load_file(path)
    way = _break_entries(tensors, generator)
    save_file(
        {name: t.contiguous() for name, t in tensors.items() if torch.is_tensor(t)}, str(path)
    )
    return way


def _break_entries(tensors: dict, generator: Generator) -> str:
    """Change one entry of a dictionary of tensors, or all."""
    name = pick(generator, sorted(name for name in tensors if torch.is_tensor(tensors[name])))
    tensor = tensors[name]
    way = pick(
        generator,
        ("nan", "inf", "all nan", "shape", "type", "missing", "more", "number", "large", "empty"),
    )
    other = {
        "nan": torch.full_like(tensor, float("nan")),
        "inf": torch.full_like(tensor, float("inf")),
        "shape": tensor.flatten()[None].clone(),
        "type": pick(
            generator, (tensor.double(), tensor.half(), tensor.to(torch.int64), tensor.bool())
        ),
        "number": 1,
        "large": tensor * 1e30,
        "empty": tensor.new_zeros(0),
    }
    if way in other:
        tensors[name] = other[way]
    elif way == "all nan":
        tensors |= {
            key: t * float("nan") for key, t in tensors.items() if torch.is_floating_point(t)
        }
    elif way == "missing":
        del tensors[name]
    else:
        tensors["model.model.more" if name.startswith("model.") else "more"] = tensor.clone()
    return f"{name}: {way}"


def _break_content(path: Path, generator: Generator) -> str:
    content = torch.load(path, weights_only=True)
    draw = generator.random()
    if draw < 0.35:
        value = pick(
            generator,
            (
                [],
                1,
                None,
                {},
                "x",
                torch.zeros(2),
                {"state_dict": 1},
                [1, 2],
                {1: 2},
                {"state_dict": []},
            ),
        )
        torch.save(value, path)
        return f"a {type(value).__name__} {value!r:.40}"
    if draw < 0.7 or "state_dict" not in content:
        entries = content.get("state_dict", content)
        way = _break_entries(entries, generator)
    else:
        key = pick(generator, sorted(content))
        value = pick(generator, (None, 1, -1, [], {}, "x", float("nan"), 2**63, [{}], {"a": {}}))
        if generator.random() < 0.3:
            del content[key]
            way = f"without {key}"
        else:
            content[key] = value
            way = f"{key}: {value!r}"
    torch.save(content, path)
    return way
