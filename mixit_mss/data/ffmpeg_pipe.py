"""The ffmpeg program through a pipe: what libsndfile cannot read, tags, and compressed writing.

Decoding, the pipe carries Sun AU: a fixed header that says the sample rate and the number of
channels, then float samples.  So one process both probes and decodes, and neither ffprobe nor a
temporary file is needed; without a system ffmpeg the program inside ``imageio-ffmpeg`` does the
same.  Every ffmpeg is a session of its own, so that a Ctrl-C at the terminal reaches Python alone,
which then knows that a song did not just end.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np

from mixit_mss.errors import UserError

AU_HEADER = struct.Struct(">4sIIIII")
# What describes the file and not the song, or the song's loudness and not its stems'.
FILE_TAGS = re.compile(
    r"(encoder|encoded_by|major_brand|minor_version|compatible_brands|vendor_id|handler_name|"
    r"language|itunsmpb|itunnorm|replaygain_.*|r128_.*)$",
    re.IGNORECASE,
)
LONGEST_TAG = 1 << 15  # characters; a command line takes little more


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
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._stdout = cast(IO[bytes], self._process.stdout)
        header = self._stdout.read(AU_HEADER.size)
        if len(header) < AU_HEADER.size:
            self._process.wait()
            message = self._reason()
            self.close()
            raise OSError(message)
        _, offset, _, _, self.samplerate, self.channels = AU_HEADER.unpack(header)
        self._stdout.read(offset - AU_HEADER.size)

    def read(self, frames: int) -> np.ndarray:
        """The next samples, (sample, channel) float32; fewer than ``frames`` only at the end."""
        data = self._stdout.read(frames * self.channels * 4)
        return np.frombuffer(data, ">f4").astype(np.float32).reshape(-1, self.channels)

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """Everything that is left, in blocks of ``frames`` samples.

        Raises:
            OSError: ffmpeg was killed, for instance for want of memory.
        """
        while len(block := self.read(frames)):
            yield block
        if self._process.wait() < 0:
            raise OSError(f"ffmpeg was killed by signal {-self._process.returncode}")

    def messages(self) -> list[str]:
        """What ffmpeg complained of so far, one line each."""
        return _lines(self._stderr)

    def close(self) -> None:
        """End the process, whether or not everything was read."""
        self._stdout.close()
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


class FfmpegEncoder:
    """Write one file in a compressed format, block by block.

    Args:
        path: the file, in the format of its suffix.
        sample_rate: Hz.
        channels: number of channels.
        raw_format: of the bytes to come, as ffmpeg calls it: ``f32le``, ``s16le``, ``s24le``.
        codec: ffmpeg's options for the encoder.
        tags: written with the file.

    Raises:
        OSError: ffmpeg cannot write such a file; the message is ffmpeg's own.
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
        """Add samples of all channels, interleaved."""
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


def describe(path: str | Path) -> tuple[dict[str, str], float | None]:
    """A song's tags, and its length in seconds as its header has it, rounded or wrong as it may be.

    Left out are tags of the file rather than the song, such as ``encoder``, and those that give the
    loudness of the mixture.  Nothing is decoded.  An unreadable file has no tags, nor has any file
    where there is no ffmpeg.
    """
    try:
        program = find_ffmpeg()
    except UserError:
        return {}, None
    command = [program, "-nostdin", "-hide_banner", "-i", f"file:{path}"]
    command += ["-map_metadata:g", "0:g", "-map_metadata:g", "0:s:a:0", "-f", "ffmetadata", "-"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True
    )
    length = re.search(rb"Duration: (\d+):(\d\d):(\d\d\.\d+)", done.stderr)
    seconds = float(length[1]) * 3600 + float(length[2]) * 60 + float(length[3]) if length else None
    return _parse_tags(done.stdout.decode("utf-8", "replace")), seconds


def _parse_tags(text: str) -> dict[str, str]:
    """Tags of a file in ffmpeg's metadata format; chapters and streams are left out.

    Special characters, line ends among them, stand behind a backslash.
    """
    tags = {}
    for entry in re.findall(r"(?:[^\\\n]|\\.|\\\n)+", text, re.DOTALL):
        if entry.startswith("["):
            break
        parts = re.match(r"((?:[^\\=]|\\.)+)=(.*)", entry, re.DOTALL)
        if parts is None or entry.startswith(";"):
            continue
        name, value = (re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in parts.groups())
        if not FILE_TAGS.match(name) and len(value) <= LONGEST_TAG:
            tags[name] = value.replace("\0", "")
    return tags


def _lines(stderr: IO[bytes]) -> list[str]:
    stderr.seek(0)
    text = stderr.read().decode("utf-8", "replace")
    return re.sub(r" @ 0x[0-9a-f]+\]", "]", text).splitlines()
