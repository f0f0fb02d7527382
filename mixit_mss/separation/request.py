"""The options of a separation and its stamp; importable without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mixit_mss import limits
from mixit_mss.audio.encoding import ENCODINGS
from mixit_mss.errors import UserError
from mixit_mss.files import CONFIG, WEIGHTS
from mixit_mss.names import file_name
from mixit_mss.separation.songs import COMMAND, Song
from mixit_mss.stamps import Fingerprint, read_stamp

WINDOWS = ("flat", "fade")
LIMITS: dict[str, limits.Whole | limits.Number] = {
    "chunk_seconds": limits.CHUNK_SECONDS,
    "hop_seconds": limits.CHUNK_SECONDS,
    "batch_size": limits.CHUNKS_AT_ONCE,
    "shifts": limits.SHIFTS,
    "audio_stream": limits.AUDIO_STREAM,
}
"""Limits of the numeric attributes of :class:`Options`."""


@dataclass(frozen=True)
class Options:
    """What the estimates depend on, besides the network and the song.

    Attributes:
        stems: names to write; all of the network's if None.
        two_stems: write this stem and ``no_<stem>``, the mixture minus it.
        all_channels: write every output as ``channel_00``, ``channel_01``, ...: for a network whose
            outputs have no names yet.
        chunk_seconds: length of a chunk.
        hop_seconds: step between chunks.
        batch_size: chunks per call of the network.
        shifts: number of delays of the song, from 0 to half a second, to average over.
        window: weights of overlapping chunks: ``flat``, the paper's plain mean, or ``fade``.
        half: compute in 16 bits where that is safe (automatic mixed precision).
        audio_format: one of :data:`~mixit_mss.audio.encoding.ENCODINGS`.
        audio_stream: number of a video's audio stream, from 1; None for the one that is marked as
            default, or else has the most channels.
    """

    stems: tuple[str, ...] | None = None
    two_stems: str | None = None
    all_channels: bool = False
    chunk_seconds: float = 12.0
    hop_seconds: float = 6.0
    batch_size: int = 1
    shifts: int = 1
    window: str = "flat"
    half: bool = False
    audio_format: str = "wav"
    audio_stream: int | None = None

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            if (value := getattr(self, name)) is None and name == "audio_stream":
                continue
            try:
                limit.check(value)
            except ValueError as error:
                raise UserError(f"--{name.replace('_', '-')} {error}") from error
        if not 0 < self.hop_seconds <= self.chunk_seconds:
            raise UserError(
                f"--hop-seconds {self.hop_seconds:g} must be above 0 and at most "
                f"--chunk-seconds {self.chunk_seconds:g}"
            )
        if sum(map(bool, (self.stems, self.two_stems, self.all_channels))) > 1:
            raise UserError(
                "--stems, --two-stems and --all-channels exclude each other; give one of them"
            )
        for name, known in (("window", WINDOWS), ("audio_format", ENCODINGS)):
            if getattr(self, name) not in known:
                option = "format" if name == "audio_format" else name
                raise UserError(
                    f"--{option} {getattr(self, name)} is unknown; choose one of {', '.join(known)}"
                )


def output_files(names: Iterable[str], audio_format: str) -> dict[str, str]:
    """File name of each output, safe for any output name and unique within one folder.

    Raises:
        UserError: two outputs would share a file, or one has an empty name.
    """
    files = {name: f"{file_name(name)}.{ENCODINGS[audio_format].suffix}" for name in names}
    if len(set(files.values())) < len(files):
        raise UserError(f"two of the outputs {', '.join(map(repr, files))} would share a file")
    return files


def fingerprint_of(song: Song, model: str, options: Options) -> Fingerprint:
    """Fingerprint of everything that a song's estimates depend on, and nothing else.

    A model folder enters by its configuration and weights, a song by its content.
    """
    asked = asdict(options)
    del asked["batch_size"]
    if options.audio_stream is None:
        del asked["audio_stream"]
    asked["stems"] = None if options.stems is None else sorted(set(options.stems))
    file = model.removeprefix("official:")
    inputs: dict[str, str | Path] = {}
    if os.path.isdir(model):
        # not the whole folder: it may hold estimates
        inputs = {name: os.path.join(model, name) for name in (CONFIG, WEIGHTS)}
    elif os.path.isfile(file):
        inputs = {WEIGHTS: file}
    else:
        asked["model"] = model
    if len(song.parts) == 1:
        inputs["mixture"] = song.parts[0]
    else:
        inputs |= {f"part {number}": part for number, part in enumerate(song.parts, start=1)}
    return Fingerprint(COMMAND, asked, inputs)


def is_done(folder: Path, song: Song, model: str, options: Options) -> bool:
    """Whether ``folder`` already has all stems of this request, from it or from one for more stems.

    Raises:
        UserError: a file that has to be read is not a regular file.
        OSError: a file cannot be read.
    """
    if fingerprint_of(song, model, options).is_done(folder):
        return True
    if options.stems is None:
        return False
    wanted = set(output_files(options.stems, options.audio_format).values())
    for result in read_stamp(folder):
        if result.command == COMMAND and wanted <= result.outputs.keys():
            stems = result.options.get("stems")
            more = replace(
                options, stems=tuple(map(str, stems)) if isinstance(stems, list) else None
            )
            if fingerprint_of(song, model, more).is_done(folder):
                return True
    return False
