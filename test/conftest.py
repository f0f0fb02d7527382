"""What every test may use: golden numbers, slow references, sound files, a small disk."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from mixit_mss.audio.ffmpeg import find_ffmpeg

HERE = Path(__file__).parent
SLOW = ("egs", "slurm", "tools", "training", "robustness")
sys.path.insert(0, str(HERE))
# a suite that a shell starts in the background inherits that Ctrl-C is ignored, and so do the programs
# that are interrupted here
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Whole recipes and trainings come first, so that quick files fill up the end."""
    items.sort(key=lambda item: item.path.relative_to(HERE).parts[0] not in SLOW)


@pytest.fixture(scope="session")
def golden():
    """Load one of the golden files: arrays by name."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(HERE / "golden" / name) as arrays:
            return dict(arrays)

    return load


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def noise():
    """noise(seconds, rate=8000, channels=2, seed=0, level=0.1): (channel, sample) float32."""

    def make(seconds, rate=8000, channels=2, seed=0, level=0.1):
        shape = (channels, int(seconds * rate))
        return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def save():
    """save(path, waveform, rate=8000, **options): write by soundfile alone."""

    def write(path: Path, waveform, rate=8000, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform.T, rate, **options)
        return path

    return write


@pytest.fixture(scope="session")
def convert():
    """convert(source, target, *options): by ffmpeg, in the format of the target's suffix."""

    def run(source: Path, target: Path, *options: str):
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", "-i", str(source), *options]
        subprocess.run([*command, str(target)], check=True)
        return target

    return run


@pytest.fixture(scope="session")
def damage():
    """damage(source, target): noise over some of the bytes."""

    def run(source: Path, target: Path, places: int = 10):
        generator = np.random.default_rng(0)
        content = bytearray(source.read_bytes())
        for place in generator.integers(len(content) // 4, len(content) * 3 // 4, places):
            content[place : place + 30] = generator.bytes(30)
        target.write_bytes(content)
        return target

    return run


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(mount, stderr=-3).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    yield disk
    with contextlib.suppress(OSError):
        subprocess.run(["umount", str(disk)], check=True)
