"""Songs in, stems out: what ``mixit-mss separate`` does, as a Python call.

A song streams through reading, resampling to the network's rate, separation in chunks, resampling
back and writing, so that memory does not grow with its length.  Stems have the song's own rate,
channel count and exact length.  A song's folder appears complete or not at all, and carries a stamp
by which the same request does nothing the next time.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from mixit_mss import files
from mixit_mss.data import audio
from mixit_mss.errors import UserError
from mixit_mss.evaluation.overlap_add import Model, device_of, separate_stream
from mixit_mss.evaluation.songs import Song, read_blocks
from mixit_mss.models.hub import CONFIG, WEIGHTS, load_model

SUBTYPES = {"wav": "FLOAT", "flac": "PCM_24"}  # float never clips; FLAC knows integers only


@dataclass(frozen=True)
class Options:
    """What the estimates depend on, besides the network and the song.

    Attributes:
        stems: names to write; all of the network's if None.
        all_channels: write every output as ``channel_00``, ``channel_01``, ...: the way to hear a
            network that has no names for its outputs yet.
        chunk_seconds: length of a chunk.
        hop_seconds: step between chunks.
        batch_size: chunks given to the network at once.
        audio_format: ``wav`` (32-bit float, never clips) or ``flac`` (24-bit).
    """

    stems: tuple[str, ...] | None = None
    all_channels: bool = False
    chunk_seconds: float = 12.0
    hop_seconds: float = 6.0
    batch_size: int = 1
    audio_format: str = "wav"

    def __post_init__(self) -> None:
        if not 0 < self.hop_seconds <= self.chunk_seconds:
            raise UserError(
                f"--hop-seconds {self.hop_seconds:g} must be above 0 and at most "
                f"--chunk-seconds {self.chunk_seconds:g}"
            )
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size} must be at least 1")
        if self.stems is not None and self.all_channels:
            raise UserError("--stems and --all-channels exclude each other; give one of them")


@dataclass(frozen=True)
class Outcome:
    """What became of one song: ``status`` is ``separated``, ``unchanged`` or ``failed``."""

    song: str
    status: str
    reason: str = ""


def separate_files(
    songs: list[Song],
    model_folder: str | Path,
    out: str | Path,
    options: Options | None = None,
    device: str = "auto",
    load: Callable[[str], Model] = load_model,
) -> list[Outcome]:
    """Separate songs into ``out/<song>/<stem>.<format>``; one bad song does not stop the rest.

    Args:
        songs: from :func:`~mixit_mss.evaluation.songs.find_songs` or ``manifest_songs``.
        model_folder: a model folder, or ``hf:user/name``; opened only if a song is not done yet.
        out: folder of the results.
        options: see :class:`Options`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        load: opens a model folder.

    Returns:
        One outcome per song, in order.

    Raises:
        UserError: the model, the device or a stem's name is wrong; nothing was written.
    """
    options, out, model_folder = options or Options(), Path(out), str(model_folder)
    _remove_leftovers(out)
    model, outcomes = None, []
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        for song in songs:
            outcome = None
            try:
                stamp = _stamp(song, model_folder, options)
                if files.is_done(out / song.name, stamp):
                    outcome = Outcome(song.name, "unchanged")
            except OSError as error:
                outcome = Outcome(song.name, "failed", str(error))
            if outcome is None:
                if model is None:
                    model = _load(model_folder, device, options, load)
                outcome = _attempt(model, song, out, options, stamp, progress)
            outcomes.append(outcome)
            if outcome.status == "failed":
                console.print(
                    f"failed: {outcome.reason}", markup=False, highlight=False, soft_wrap=True
                )
    return outcomes


def separate_song(
    model: Model, song: Song, folder: Path, options: Options, advance: Callable[[int], None]
) -> None:
    """Write one song's stems into ``folder``, streaming; ``advance`` hears of samples written."""
    info = audio.probe(song.parts[0])
    _check_rates(song, info.sample_rate, model.sample_rate)
    names = output_names(model, options)
    chunk, hop = (
        round(seconds * model.sample_rate)
        for seconds in (options.chunk_seconds, options.hop_seconds)
    )
    read = written = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal read
        for block in read_blocks(song):
            read += block.shape[-1]
            yield block

    mixture = audio.resample_blocks(counted(), info.sample_rate, model.sample_rate)
    network = for_channels(model, info.channels)
    estimates = separate_stream(
        network, map(torch.from_numpy, mixture), chunk, hop, options.batch_size
    )
    picked = (block[list(names.values())].numpy() for block in estimates)
    with contextlib.ExitStack() as stack:
        subtype = SUBTYPES[options.audio_format]
        writers = [
            stack.enter_context(
                audio.open_writer(
                    folder / f"{name}.{options.audio_format}",
                    info.sample_rate,
                    info.channels,
                    subtype,
                )
            )
            for name in names
        ]
        for block in audio.resample_blocks(picked, model.sample_rate, info.sample_rate):
            # resampling there and back may end a few samples late, never early
            block = block[..., : read - written]
            written += block.shape[-1]
            for writer, estimate in zip(writers, block, strict=True):
                writer.write(estimate)
            advance(block.shape[-1])
    if read == 0:
        raise UserError(f"'{song.parts[0]}' holds no audio; leave it out or replace it")


def for_channels(model: Model, channels: int) -> Model:
    """The network for mixtures of any channel count, as (batch, channel, sample) -> estimates.

    A multiple of the network's own count goes in groups, such as three pairs of six channels.  Of
    any other count each channel goes alone, copied to all the network's inputs, and the mean of its
    outputs comes back; so a mono song stays mono.
    """
    width = model.num_channels
    group = width if channels % width == 0 else 1

    def separate(mixture: Tensor) -> Tensor:
        groups = mixture.to(device_of(model)).reshape(-1, group, mixture.shape[-1])
        estimates = model(groups if group == width else groups.expand(-1, width, -1))
        if group != width:
            estimates = estimates.mean(dim=2, keepdim=True)
        return estimates.unflatten(0, (len(mixture), -1)).transpose(1, 2).flatten(2, 3)

    return separate


def output_names(model: Model, options: Options) -> dict[str, int]:
    """File name of each wanted output, and its index among the network's outputs."""
    if options.all_channels:
        return {f"channel_{index:02d}": index for index in range(model.num_sources)}
    if model.stems is None:
        raise UserError(
            f"the model's {model.num_sources} outputs have no names yet; give --all-channels to "
            "hear each of them, or select channels first (stage 4)"
        )
    known = list(model.stems)
    wanted = known if options.stems is None else options.stems
    for name in wanted:
        if name not in known:
            raise UserError(f"--stems: the model has no stem '{name}'; it has {', '.join(known)}")
    return {name: known.index(name) for name in wanted}


def pick_device(name: str) -> torch.device:
    """``auto`` is the best there is: CUDA, Apple's MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name} cannot be used here: {error}".split("\n")[0]) from error
    return device


def _load(folder: str, device: str, options: Options, load: Callable[[str], Model]) -> Model:
    where = pick_device(device)
    model = load(folder)
    output_names(model, options)  # a wrong name is an error before any work
    return model.to(where) if isinstance(model, torch.nn.Module) else model


def _attempt(
    model: Model, song: Song, out: Path, options: Options, stamp: dict, progress: Progress
) -> Outcome:
    try:
        task = progress.add_task(song.name, total=audio.probe(song.parts[0]).frames)
        with files.atomic_folder(out / song.name) as folder:
            separate_song(
                model, song, folder, options, lambda samples: progress.advance(task, samples)
            )
            files.mark_done(folder, stamp)
        progress.remove_task(task)
    except UserError as error:
        return Outcome(song.name, "failed", str(error))
    except Exception as error:  # a night's work goes on; the traceback says what to mend
        traceback.print_exc()
        return Outcome(song.name, "failed", f"{song.parts[0]}: {type(error).__name__}: {error}")
    return Outcome(song.name, "separated")


def _check_rates(song: Song, song_rate: int, model_rate: int) -> None:
    try:
        for rates in ((song_rate, model_rate), (model_rate, song_rate)):
            audio.resample(np.zeros((1, 1), dtype=np.float32), *rates)
    except ValueError as error:
        raise UserError(f"'{song.parts[0]}': {error}") from error


def _stamp(song: Song, model_folder: str, options: Options) -> dict:
    # not the folder itself: estimates may lie in it
    model = [Path(model_folder) / name for name in (CONFIG, WEIGHTS)]
    return files.fingerprint(asdict(options), [*model, *song.parts])


def _remove_leftovers(out: Path) -> None:
    """Remove the unfinished folders of processes that were killed."""
    for partial in list(out.rglob(".*.partial")):
        match = re.fullmatch(r"\..*\.(\d+)\.partial", partial.name)
        if match and partial.is_dir() and not _is_running(int(match[1])):
            shutil.rmtree(partial, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
