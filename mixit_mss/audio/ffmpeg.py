"""Decode what libsndfile cannot read, and read tags, with the ffmpeg program through a pipe.

For decoding, the pipe carries Sun AU: a fixed header with the sample rate and the number of
channels, then float samples.  So one process both probes and decodes, without ffprobe or a
temporary file.  Without a system ffmpeg, the one inside ``imageio-ffmpeg`` is used.  Every ffmpeg
runs in its own session, so that Ctrl-C in the terminal reaches only Python, which then does not
mistake the killed decoder for the end of a song.

A file cannot make ffmpeg open other files: it opens the path as a plain file, whatever the name
looks like, and only in formats that do not refer to other files.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from mixit_mss.errors import UserError

AU_HEADER = struct.Struct(">4sIIIII")
# Tags that describe the file and not the song, or the loudness of the song and not of its stems.
FILE_TAGS = re.compile(
    r"(encoder|encoded_by|major_brand|minor_version|compatible_brands|vendor_id|handler_name|"
    r"language|itunsmpb|itunnorm|replaygain_.*|r128_.*)$",
    re.IGNORECASE,
)
LONGEST_TAG = 1 << 15  # characters; a command line can hold little more
PATIENCE = 60.0  # s until ffmpeg must have identified a file; usually it takes 0.1 s
DROPPED_PER_SECOND = 1_000_000  # samples per second that ffmpeg decodes and drops, at least
MOST_MESSAGES = 1 << 20  # bytes of ffmpeg's messages to read; a broken song can cause endless ones
# Demuxers of single files that refer to no others.  Excluded are lists of files (hls, dash, concat,
# sdp, imf), numbered pictures (image2), devices, scripts, and endless sources.
FORMATS = (
    "3dostr,aac,aax,ac3,ace,acm,act,adf,adp,ads,adx,aea,afc,aiff,aix,alp,amr,amrnb,amrwb,apc,"
    "ape,argo_asf,argo_brp,argo_cvg,asf,asf_o,ast,au,avi,avr,binka,bfstm,boa,brstm,caf,codec2,"
    "dcstr,derf,dfpwm,dhav,dsf,dss,dts,dtshd,dv,dxa,ea,eac3,epaf,flac,flv,fsb,fwse,g722,g723_1,"
    "g729,genh,gsm,gxf,hca,hcom,iamf,iff,ilbc,ircam,iss,ivf,ivr,kux,kvag,laf,libopenmpt,lmlm4,"
    "loas,lvf,lxf,matroska,mca,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,msf,mtaf,musx,"
    "mxf,nistsphere,nsp,nsv,nut,nuv,ogg,oma,osq,paf,pmp,pva,pvf,qcp,qoa,rm,rpl,rsd,rso,sbc,scd,"
    "sdr2,sds,sdx,shn,siff,smjpeg,smk,sol,sox,spdif,svag,svs,swf,tak,thp,truehd,tta,ty,usm,vag,"
    "vivo,voc,vpk,vqf,w64,wav,wady,wsaud,wsd,wtv,wv,wve,xa,xvag,xwma,jpeg_pipe,png_pipe,gif,"
    "gif_pipe,bmp_pipe,webp_pipe,tiff_pipe,apng,h264,hevc,m4v,av1,obu"
)
MESSAGE = re.compile(r"(?:\[[^\]]* @ [^\]]*\] )*\[(\w+)\] (.*)")  # level and text
STREAM = re.compile(r" *Stream #0:(\d+).*?: (Audio|Video): (.*)")


def find_ffmpeg() -> str:
    """Path of the system's ffmpeg, or else of the one inside ``imageio-ffmpeg``."""
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


@dataclass(frozen=True)
class Contents:
    """What ffmpeg reports about a file.

    Attributes:
        form: ffmpeg's name of the format.
        audio: one line per audio stream, such as ``aac (LC), 44100 Hz, stereo, fltp, 128 kb/s``.
        video: likewise for video streams and cover pictures.
        taken: index of the audio stream that is decoded.
        seconds: the length stated in the header; None if it states none.
        rest: a doubt about the file: ``estimated`` length, several files ``joined``, or a
            ``guessed`` format; empty if none.
    """

    form: str
    audio: list[str]
    video: list[str]
    taken: int
    seconds: float | None
    rest: str = ""

    @property
    def lacks(self) -> str:
        """Why there is no audio, in words; empty if there is some, or nothing is known."""
        if self.audio or not self.video:
            return ""
        pictures = self.form.endswith("_pipe") or self.form in ("gif", "apng", "image2")
        return "a picture" if pictures else "a video without sound"


def contents(path: str | Path) -> Contents:
    """Contents of a file, judged by its beginning; without audio if the format is unknown.

    Raises:
        UserError: ffmpeg is not installed.
    """
    command = [*_command(), *_input(path), "-f", "ffmetadata", "-"]
    done = _run_briefly(command)
    return _contents(_messages(done.stderr)) if done else Contents("", [], [], 0, None)


class FfmpegDecoder:
    """One audio stream of one file, read block by block.

    Args:
        path: any file that ffmpeg reads.
        start: first sample (per channel); ffmpeg decodes from the beginning and drops the samples
            before it, since seeking in compressed files is not exact to the sample.
        stop: sample after the last one; None reads to the end.
        stream: number of the audio stream, from 1; None leaves the choice to ffmpeg, which takes
            the one that is marked as default, or has the most channels.
        window: first byte, and byte after the last, to decode only part of the file.

    Attributes:
        samplerate: Hz.
        channels: number of channels.

    Raises:
        OSError: ffmpeg finds no audio in the file; the message is ffmpeg's own.
    """

    def __init__(
        self,
        path: str | Path,
        start: int = 0,
        stop: int | None = None,
        stream: int | None = None,
        window: tuple[int, int] | None = None,
    ):
        trim = f"atrim=start_sample={start}" + ("" if stop is None else f":end_sample={stop}")
        command = [*_command(), *_input(path, window)]
        command += [] if stream is None else ["-map", f"0:a:{stream - 1}"]
        command += ["-vn", "-sn", "-dn", "-af", trim, "-c:a", "pcm_f32be", "-f", "au", "-"]
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
        header = self._first_bytes(PATIENCE + start / DROPPED_PER_SECOND)
        if len(header) < AU_HEADER.size:
            self._process.wait()
            message = self._reason(stream)
            self.close()
            raise OSError(message)
        _, offset, _, _, self.samplerate, self.channels = AU_HEADER.unpack(header)
        self._stdout.read(offset - AU_HEADER.size)

    def _first_bytes(self, seconds: float) -> bytes:
        """The header, or fewer bytes if ffmpeg does not write it in time."""
        alarm = threading.Timer(seconds, self._process.kill)
        alarm.start()
        try:
            return self._stdout.read(AU_HEADER.size)
        finally:
            alarm.cancel()

    def read(self, frames: int) -> np.ndarray:
        """The next samples, (sample, channel) float32; fewer than ``frames`` only at the end."""
        data = self._stdout.read(frames * self.channels * 4)
        data = data[: len(data) - len(data) % (4 * self.channels)]
        return np.frombuffer(data, ">f4").astype(np.float32).reshape(-1, self.channels)

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """The remaining samples, in blocks of ``frames`` samples.

        Raises:
            OSError: ffmpeg was killed, for instance because memory ran out.
        """
        while len(block := self.read(frames)):
            yield block
        if self._process.wait() < 0:
            raise OSError(f"ffmpeg was killed by signal {-self._process.returncode}")

    @property
    def contents(self) -> Contents:
        """What the file holds, and which stream this is; known when everything is decoded."""
        return _contents(self._heard())

    def messages(self) -> list[str]:
        """Error messages of ffmpeg, one line each; complete when everything is decoded."""
        return [
            words
            for level, words in self._heard()
            if level in ("error", "fatal", "panic") and "to muxer" not in words  # of our own pipe
        ]

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

    def _heard(self) -> list[tuple[str, str]]:
        self._stderr.seek(0)  # moves ffmpeg's position too, so ffmpeg must have ended
        return _messages(self._stderr.read(MOST_MESSAGES))

    def _reason(self, stream: int | None) -> str:
        found = self.contents
        if found.lacks:
            return f"holds no audio ({found.lacks})"
        if stream is not None and found.audio and stream > len(found.audio):
            return f"holds {len(found.audio)} audio streams, and number {stream} was asked for"
        lines = self.messages()
        if any("not on whitelist" in line for line in lines):
            return "it refers to other files, or is in a format that is not read"
        if self._process.returncode < 0:
            return f"ffmpeg was ended by signal {-self._process.returncode} before it found audio"
        # the last line often says only that the data is invalid
        telling = [line for line in lines if "Invalid data" not in line]
        last = (telling or lines or ["ffmpeg gave no reason"])[-1]
        return last.removeprefix(f"file:{self._name}: ").rstrip(".")


def _command() -> list[str]:
    return [find_ffmpeg(), "-nostdin", "-hide_banner", "-nostats", "-v", "level+info"]


def _input(path: str | Path, window: tuple[int, int] | None = None) -> list[str]:
    """Options that open one file and keep it from referring to others."""
    allowed = ["-protocol_whitelist", "file", "-format_whitelist", FORMATS]
    url = f"file:{path}"
    if window is not None:
        allowed[1] = "file,subfile"
        url = "subfile,,start,{},end,{},,:{}".format(*window, url)
    # lossless decoders always verify their checksums; the MP3 decoder reports errors only if strict
    return [*allowed, "-err_detect", "compliant", "-i", url]


def _messages(stderr: bytes) -> list[tuple[str, str]]:
    """Level and text of each line."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    return [(found[1], found[2]) for line in lines if (found := MESSAGE.match(line))]


def _contents(messages: list[tuple[str, str]]) -> Contents:
    form, audio, video, taken, rest = "", [], [], 0, ""
    seconds, numbers, is_input = None, [], False
    for level, words in messages:
        if level == "info" and words.startswith(("Input #0, ", "Output #0, ")):
            is_input = words.startswith("Input")
            form = words.split(", ")[1] if is_input else form
        elif level == "info" and is_input and (found := STREAM.match(words)):
            if found[2] == "Video":
                video.append(found[3])
            elif re.search(r"[1-9]\d* Hz", found[3]):
                audio.append(found[3])
                numbers.append(found[1])
        elif level == "info" and (found := re.match(r" *Stream #0:(\d+) -> #0:0", words)):
            taken = numbers.index(found[1]) if found[1] in numbers else 0
        elif found := re.match(r" *Duration: (\d+):(\d\d):(\d\d\.\d+)", words):
            seconds = float(found[1]) * 3600 + float(found[2]) * 60 + float(found[3])
        elif "Estimating duration" in words:
            rest = rest or "estimated"
        elif "duplicated MOOV" in words:
            rest = "joined"
        elif "misdetection possible" in words:
            rest = "guessed"
    return Contents(form, audio, video, taken, None if rest == "estimated" else seconds, rest)


def describe(path: str | Path) -> tuple[dict[str, str], float | None]:
    """A song's tags, and its length in seconds from the header, which may be rounded or wrong.

    Tags of the file rather than the song, such as ``encoder``, and those with the loudness of the
    mixture are left out.  Nothing is decoded.  If the file cannot be read or ffmpeg is missing,
    there are no tags and the length is None.
    """
    try:
        command = [*_command(), *_input(path)]
    except UserError:
        return {}, None
    command += ["-map_metadata:g", "0:g", "-map_metadata:g", "0:s:a:0", "-f", "ffmetadata", "-"]
    done = _run_briefly(command)
    if done is None:
        return {}, None
    return _parse_tags(done.stdout.decode("utf-8", "replace")), _duration(done.stderr)


def _run_briefly(command: list[str]) -> subprocess.CompletedProcess[bytes] | None:
    """Run a command with its output captured; None if it takes longer than :data:`PATIENCE`."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return None


def _duration(stderr: bytes) -> float | None:
    found = re.search(rb" Duration: (\d+):(\d\d):(\d\d\.\d+)", stderr)
    return float(found[1]) * 3600 + float(found[2]) * 60 + float(found[3]) if found else None


def _parse_tags(text: str) -> dict[str, str]:
    """Parse tags in ffmpeg's metadata format, without those of chapters and streams.

    Special characters, including line ends, are escaped by a backslash.
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
