"""Songs in, stems out: what ``mixit-mss separate`` does, as a Python call.

>>> from mixit_mss.evaluation.separation import separate_songs
>>> separate_songs(["album/*.mp3"], "exp/model", "separated", stems=("vocals",))  # doctest: +SKIP
[Outcome(song='first', status='separated', reason='', notes=()), ...]

A song's folder appears complete or not at all, and carries a stamp by which the same request does
nothing the next time.  torch is loaded when a song is found that is not done.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mixit_mss import files
from mixit_mss.errors import UserError
from mixit_mss.evaluation.request import Options, stamp_of
from mixit_mss.evaluation.songs import Song, find_songs
from mixit_mss.imports import importing

if TYPE_CHECKING:
    from mixit_mss.models.network import Network


@dataclass(frozen=True)
class Outcome:
    """What became of one song: ``status`` is ``separated``, ``unchanged`` or ``failed``.

    ``reason`` is one sentence on a failure; ``notes`` are sentences on what the listener should
    know, such as samples that clip.
    """

    song: str
    status: str
    reason: str = ""
    notes: tuple[str, ...] = ()


def separate_songs(
    songs: Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    device: str = "auto",
    **options,
) -> list[Outcome]:
    """Separate songs into ``out/<song>/<stem>.<suffix>``, as ``mixit-mss separate`` does.

    Args:
        songs: audio files, folders of them, or patterns such as ``album/*.mp3``.
        model: a model folder, ``hf:user/name``, or ``official:NAME`` for published weights.
        out: folder of the results.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        options: the attributes of :class:`~mixit_mss.evaluation.request.Options`, such as
            ``stems=("vocals",)``, ``two_stems="vocals"`` or ``audio_format="flac"``.

    Returns:
        One outcome per song, in order.  A song that fails does not stop the rest.

    Raises:
        UserError: the model, the device or an option is wrong; nothing was written.
    """
    return separate_files(find_songs(songs), model, out, Options(**options), device)


def separate_files(
    songs: list[Song],
    model_folder: str | Path,
    out: str | Path,
    options: Options | None = None,
    device: str = "auto",
    load: Callable[[str], Any] | None = None,
) -> list[Outcome]:
    """Separate songs into ``out/<song>/<stem>.<suffix>``; one bad song does not stop the rest.

    Args:
        songs: from :func:`~mixit_mss.evaluation.songs.find_songs` or ``manifest_songs``.
        model_folder: see :func:`~mixit_mss.models.opening.open_model`; opened only if a song is not
            done yet.
        out: folder of the results.
        options: see :class:`~mixit_mss.evaluation.request.Options`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        load: opens a network by that name; ``open_model`` if None.

    Returns:
        One outcome per song, in order.

    Raises:
        UserError: the model, the device or a stem's name is wrong; nothing was written.
    """
    options, out, model_folder = options or Options(), Path(out), str(model_folder)
    _remove_leftovers(out, songs)
    model, outcomes = None, []
    with _progress() as progress:
        for song in songs:
            outcome = None
            try:
                stamp = stamp_of(song, model_folder, options)
                if files.is_done(out / song.name, stamp):
                    outcome = Outcome(song.name, "unchanged")
            except OSError as error:
                outcome = Outcome(song.name, "failed", str(error))
            if outcome is None:
                if model is None:
                    model = _load(model_folder, device, options, load)
                outcome = _attempt(model, song, out, options, stamp, progress)
            outcomes.append(outcome)
            failure = [f"failed: {outcome.reason}"] if outcome.status == "failed" else []
            for line in (*failure, *outcome.notes):
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
    return outcomes


def _load(folder: str, device: str, options: Options, load: Callable[[str], Any] | None) -> Network:
    with importing():
        import torch

        from mixit_mss.evaluation.song_stream import output_names
        from mixit_mss.models.opening import open_model, pick_device

    where = pick_device(device)
    model: Network = (load or open_model)(folder)
    output_names(model, options)  # a wrong name is an error before any work
    return model.to(where) if isinstance(model, torch.nn.Module) else model


def _attempt(
    model: Network, song: Song, out: Path, options: Options, stamp: dict, progress: Progress
) -> Outcome:
    import torch

    from mixit_mss.evaluation.song_stream import separate_song

    task = progress.add_task(song.name, total=None)

    def advance(samples: int, total: int | None) -> None:
        progress.update(task, advance=samples, total=total)

    try:
        _check_target(out / song.name, song)
        with files.atomic_folder(out / song.name, replace=True) as folder:
            notes = separate_song(model, song, folder, options, advance)
            files.mark_done(folder, stamp)
    except UserError as error:
        return Outcome(song.name, "failed", str(error))
    except torch.OutOfMemoryError:
        reason = "the device's memory does not hold a batch; take a smaller --batch-size or "
        return Outcome(song.name, "failed", f"{song.parts[0]}: {reason}--chunk-seconds")
    except Exception as error:  # a night's work goes on; the traceback says what to mend
        traceback.print_exc()
        return Outcome(song.name, "failed", f"{song.parts[0]}: {type(error).__name__}: {error}")
    finally:
        progress.remove_task(task)
    return Outcome(song.name, "separated", notes=tuple(notes))


def _check_target(folder: Path, song: Song) -> None:
    """Refuse to replace a folder that this command did not write, or that holds the song."""
    if not folder.exists():
        return
    if any(folder.resolve() in part.resolve().parents for part in song.parts):
        raise UserError(f"the stems of '{song.parts[0]}' would replace it; choose another --out")
    if not _is_ours(folder):
        raise UserError(
            f"'{folder}' is there already and was not written by this command; choose another "
            "--out, or remove it"
        )


def _is_ours(folder: Path) -> bool:
    try:
        stamp = json.loads((folder / files.STAMP).read_text(encoding="utf-8"))
        return "chunk_seconds" in stamp["options"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _remove_leftovers(out: Path, songs: list[Song]) -> None:
    """Remove the unfinished folders of these songs that killed processes left."""
    for folder in {(out / song.name).parent for song in songs}:
        files.sweep(folder)
