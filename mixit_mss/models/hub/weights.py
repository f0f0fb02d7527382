"""Validate files of weights before and after their tensors are read."""

from __future__ import annotations

import json
import math
import os
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mixit_mss.errors import UserError
from mixit_mss.limits import shown
from mixit_mss.machine import require_memory

DOS_FOLDER = 0x10  # attribute of a folder in a zip file
MAX_HEADER = 16 * 2**20
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes per number of the allowed types of weights, by their names in safetensors."""


def check_header(path: Path, network: nn.Module) -> None:
    """Compare the header of a safetensors file with a network; no tensor is read.

    Raises:
        ValueError: a tensor is missing, surplus, or of another shape or type (the first is named);
            or the file is truncated or not a safetensors file.
    """
    found = _header(path)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise ValueError(f"{path.name} lacks the weights {shown(name)}")
        if name not in wanted:
            raise ValueError(f"the weights {shown(name)} have no place in the network")
        kind, shape = found[name]
        if kind not in FLOATS:
            raise ValueError(f"the weights {shown(name)} are {shown(kind)}, not floating point")
        if shape != wanted[name]:
            raise ValueError(
                f"the weights {shown(name)} have shape {shown(shape)}, and the network's "
                f"{wanted[name]}"
            )


def check_dense(tensors: Mapping[str, object]) -> None:
    """Check that all entries are plain tensors of floating-point numbers.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, tensor in tensors.items():
        if not (
            isinstance(tensor, Tensor)
            and tensor.layout == torch.strided
            and tensor.is_floating_point()
            and tensor.device.type == "cpu"
        ):
            raise ValueError(f"entry {shown(name)} is no tensor of floating-point numbers")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        ValueError: naming the first tensor with one.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"the weights {shown(name)} hold NaN or infinite numbers")


def read_torch_file(path: str | Path) -> object:
    """Read a file of ``torch.save``: tensors and plain values only, and only if it fits in memory.

    Raises:
        UserError: it is not such a file, is damaged, or does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file of weights but a folder, or nothing")
    try:
        size = path.stat().st_size
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
        require_memory(size, f"'{path}'")
        if zipfile.is_zipfile(path) and (damage := zip_damage(path)):
            raise UserError(f"{path} is damaged: {damage}; fetch or copy it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:
        what = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a file of weights ({what})") from error


def zip_damage(path: str | Path) -> str:
    """What is damaged in a zip file of ``torch.save``, by the parts' checksums; empty if intact.

    torch writes these checksums (CRC-32), but does not check them.

    Raises:
        zipfile.BadZipFile: it is not a zip file, or its directory is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.file_size != entry.compress_size:  # torch compresses nothing
                return f"the size of '{entry.filename}' in it does not fit"
            # torch reads nothing of a part marked as a folder, and returns uninitialised memory
            if entry.external_attr & DOS_FOLDER or entry.is_dir():
                return f"'{entry.filename}' in it has become a folder"
        part = archive.testzip()
    return f"'{part}' in it is not what was written" if part else ""


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each tensor in a safetensors file."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, MAX_HEADER):
            raise ValueError(f"{path.name} is empty, cut short, or no safetensors file")
        text = file.read(length)
    try:
        content = json.loads(text)
        content.pop("__metadata__", None)
        found, end = {}, 0
        for name, entry in content.items():
            shape, kind = tuple(entry["shape"]), entry["dtype"]
            begin, stop = entry["data_offsets"]
            if not all(type(n) is int and 0 <= n < 2**48 for n in (*shape, begin, stop)):
                raise ValueError("a size that cannot be")
            if kind in FLOATS and stop - begin != FLOATS[kind] * math.prod(shape):
                raise ValueError("a size that does not fit its shape")
            found[name], end = (kind, shape), max(end, stop)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name} has a header that cannot be read ({error})") from error
    if 8 + length + end != size:
        raise ValueError(
            f"{path.name} has {size} bytes, and its header tells of {8 + length + end}: it is cut "
            "short or damaged"
        )
    return found
