"""Encode through a pipe to the ffmpeg program."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

from mixit_mss.audio.ffmpeg import find_ffmpeg


class FfmpegEncoder:
    """Write one file in a compressed format, block by block.

    Args:
        path: the file, in the format of its suffix.
        sample_rate: Hz.
        channels: number of channels.
        raw_format: ffmpeg's name of the input's sample format: ``f32le``, ``s16le``, ``s24le``.
        codec: ffmpeg's options for the encoder.
        tags: written with the file.

    Raises:
        OSError: ffmpeg cannot write the file; the message is ffmpeg's own.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        raw_format: str,
        codec: list[str],
        tags: Mapping[str, str],
    ):
        command = [find_ffmpeg(), "-nostdin", "-y", "-v", "error"]
        command += ["-f", raw_format, "-ar", str(sample_rate), "-ac", str(channels), "-i", "pipe:0"]
        command += [*codec, "-map_metadata", "-1"]
        for name, value in tags.items():
            command += ["-metadata", f"{name}={value}"]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [*command, f"file:{path}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._stdin = cast(IO[bytes], self._process.stdin)

    def write(self, raw: bytes | memoryview) -> None:
        """Add interleaved samples of all channels."""
        try:
            self._stdin.write(raw)
        except BrokenPipeError:
            self.finish()

    def finish(self) -> None:
        """Wait until the file is complete."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        if self._process.wait() != 0:
            lines = _lines(self._stderr)
            raise OSError(lines[-1] if lines else f"ffmpeg ended with {self._process.returncode}")

    def close(self) -> None:
        """End the process, whether or not the file is complete."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._stderr.close()


def _lines(stderr: IO[bytes]) -> list[str]:
    stderr.seek(0)
    text = stderr.read().decode("utf-8", "replace")
    return re.sub(r" @ 0x[0-9a-f]+\]", "]", text).splitlines()
