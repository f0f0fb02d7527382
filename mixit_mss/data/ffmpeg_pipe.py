"""Decode with the ffmpeg program, through a pipe, what libsndfile cannot read (m4a and others).

The pipe carries Sun AU: a fixed header that says the sample rate and the number of channels, then
float samples.  So one process both probes and decodes, and neither ffprobe nor a temporary file is
needed; without a system ffmpeg the program inside ``imageio-ffmpeg`` does the same.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mixit_mss.errors import UserError

AU_HEADER = struct.Struct(">4sIIIII")


def find_ffmpeg() -> str:
    """Path of the system's ffmpeg, else of the one inside ``imageio-ffmpeg``."""
    program = shutil.which("ffmpeg")
    if program:
        return program
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError(
            "no ffmpeg was found, which m4a and some other files need; "
            "install it, for instance with `apt-get install ffmpeg`"
        ) from None


class FfmpegDecoder:
    """The first audio stream of one file, read block by block.

    Args:
        path: any file that ffmpeg reads.
        start: first sample (per channel); ffmpeg decodes from the beginning and drops what comes
            before, since seeking in compressed files is not exact to the sample.
        stop: sample after the last one; None reads to the end.

    Attributes:
        samplerate: Hz.
        channels: number of channels.

    Raises:
        OSError: ffmpeg finds no audio in the file; the message is ffmpeg's own.
    """

    def __init__(self, path: str | Path, start: int = 0, stop: int | None = None):
        trim = f"atrim=start_sample={start}" + ("" if stop is None else f":end_sample={stop}")
        command = [find_ffmpeg(), "-nostdin", "-v", "error"]
        command += ["-i", f"file:{path}", "-map", "0:a:0", "-af", trim]
        command += ["-c:a", "pcm_f32be", "-f", "au", "-"]
        self._name = str(path)
        # A file, not a pipe: a broken song can make ffmpeg write more than a pipe holds.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr
        )
        header = self._process.stdout.read(AU_HEADER.size)
        if len(header) < AU_HEADER.size:
            self._process.wait()
            message = self._reason()
            self.close()
            raise OSError(message)
        _, offset, _, _, self.samplerate, self.channels = AU_HEADER.unpack(header)
        self._process.stdout.read(offset - AU_HEADER.size)

    def read(self, frames: int) -> np.ndarray:
        """The next samples, (sample, channel) float32; fewer than ``frames`` only at the end."""
        data = self._process.stdout.read(frames * self.channels * 4)
        return np.frombuffer(data, ">f4").astype(np.float32).reshape(-1, self.channels)

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Everything that is left, in blocks of ``frames`` samples."""
        while len(block := self.read(frames)):
            yield block
        self._process.wait()  # so that its last words have been written

    def messages(self) -> list[str]:
        """What ffmpeg complained of so far, one line each."""
        self._stderr.seek(0)
        text = self._stderr.read().decode("utf-8", "replace")
        return re.sub(r" @ 0x[0-9a-f]+\]", "]", text).splitlines()

    def close(self) -> None:
        """End the process, whether or not everything was read."""
        self._process.stdout.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def __enter__(self) -> FfmpegDecoder:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _reason(self) -> str:
        lines = self.messages()
        last = lines[-1] if lines else "ffmpeg gave no reason"
        return re.sub(r"^\[[^]]*\] ?", "", last.removeprefix(f"file:{self._name}: ")).rstrip(".")
