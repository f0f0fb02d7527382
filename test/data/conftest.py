"""Small audio files, and a small disk, made when a test asks for them."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_mss.data.ffmpeg_pipe import find_ffmpeg


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
