"""Songs in, stems out: what ``mixit-mss separate`` does, as a Python call.

>>> from mixit_mss.separation.separator import separate_songs
>>> separate_songs(["album/*.mp3"], "exp/model", "separated", stems=("vocals",))  # doctest: +SKIP
[Outcome(song='first', status='separated', reason='', notes=()), ...]

A song's stems appear in its folder once all of them are complete; other files there are not
touched.  A stamp in the folder lists them, so repeating the same request does nothing.  torch is
loaded only when a song has to be separated.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mixit_mss import files
from mixit_mss.errors import UserError
from mixit_mss.imports import importing
from mixit_mss.machine import is_out_of_memory
from mixit_mss.names import place, printable
from mixit_mss.separation.delivery import delivered, one_at_a_time
from mixit_mss.separation.request import Options, fingerprint_of, is_done, output_files
from mixit_mss.separation.songs import Song, list_songs

if TYPE_CHECKING:
    from mixit_mss.models.network import Network


@dataclass(frozen=True)
class Outcome:
    """Result for one song: ``status`` is ``separated``, ``unchanged`` or ``failed``.

    ``reason`` is one sentence that explains a failure; ``notes`` are sentences for the listener,
    such as a warning about samples that clip.
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
        options: the attributes of :class:`~mixit_mss.separation.request.Options`, such as
            ``stems=("vocals",)``, ``two_stems="vocals"`` or ``audio_format="flac"``.

    Returns:
        One outcome per song, in order.  A song that fails does not stop the rest.

    Raises:
        UserError: the model, the device or an option is wrong; nothing was written.
    """
    listing = list_songs(songs, out)
    if listing.left_out and sys.stderr is not None:
        print(listing.left_out, file=sys.stderr)
    return separate_files(listing.songs, model, out, Options(**options), device)


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
        songs: from :func:`~mixit_mss.separation.songs.find_songs` or ``manifest_songs``.
        model_folder: see :func:`~mixit_mss.models.hub.opening.open_model`; opened only if a song
            has to be separated.
        out: folder of the results.
        options: see :class:`~mixit_mss.separation.request.Options`.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        load: function that opens a network by name; ``open_model`` if None.

    Returns:
        One outcome per song, in order.

    Raises:
        UserError: the model, the device or a stem's name is wrong; nothing was written.
    """
    work = _Work(Path(out), str(model_folder), options or Options(), device, load)
    for parent in {place(out, song.name).parent for song in songs}:
        files.sweep(parent)  # leftovers of killed processes
    outcomes = []
    with _progress() as progress:
        for number, song in enumerate(songs, start=1):
            with one_at_a_time(place(out, song.name)):
                outcomes.append(work.do(song, progress))
            if work.disk_full and number < len(songs):
                rest = songs[number:]
                outcomes += [Outcome(s.name, "failed", "not begun: the disk is full") for s in rest]
                message = (
                    f"the disk of '{printable(out)}' is full, and {len(rest)} more songs were not"
                )
                _say(progress, f"{message} begun; make room and run the same command again")
                break
    return outcomes


@dataclass
class _Work:
    """State that all songs of a call share."""

    out: Path
    model_name: str
    options: Options
    device: str
    load: Callable[[str], Any] | None
    model: Any = None
    disk_full: bool = False

    def do(self, song: Song, progress: Progress) -> Outcome:
        """Separate one song, unless its stems are already there, and report the result."""
        try:
            _require_files(song)
            done = is_done(place(self.out, song.name), song, self.model_name, self.options)
        except (UserError, OSError) as error:
            outcome = Outcome(song.name, "failed", _reason(song, error))
        else:
            if done:
                return Outcome(song.name, "unchanged")
            if self.model is None:
                self.model = _load(self.model_name, self.device, self.options, self.load)
            outcome = self._attempt(song, progress)
        for line in ([f"failed: {outcome.reason}"] if outcome.reason else []) + [*outcome.notes]:
            _say(progress, line)
        return outcome

    def _attempt(self, song: Song, progress: Progress) -> Outcome:
        from mixit_mss.separation.stream import write_stems, written_names

        name, begin = printable(song.name), time.monotonic()
        task = progress.add_task(name, total=None)

        def advance(samples: int, total: int | None) -> None:
            progress.update(task, advance=samples, total=total)

        try:
            folder = place(self.out, song.name)
            names = written_names(self.model, self.options)
            outputs = output_files(names, self.options.audio_format).values()
            _keep_the_song(song, [folder / output for output in outputs])
            fingerprint = fingerprint_of(song, self.model_name, self.options)
            with delivered(folder, fingerprint, outputs) as partial:
                written = write_stems(self.model, song, partial, self.options, advance)
        except (UserError, OSError) as error:
            self.disk_full = _is_full(error)
            return Outcome(song.name, "failed", _reason(song, error))
        except Exception as error:  # the other songs go on; the traceback shows what to fix
            if is_out_of_memory(error):
                return Outcome(song.name, "failed", _too_large(song))
            if sys.stderr is not None:
                traceback.print_exc()
            reason = f"{song.parts[0]}: {type(error).__name__}: {error}"
            return Outcome(song.name, "failed", printable(reason))
        finally:
            progress.remove_task(task)
        length, took = round(written.seconds), time.monotonic() - begin
        _say(progress, f"{name}: separated {length // 60}:{length % 60:02d} in {took:.1f} s")
        return Outcome(song.name, "separated", notes=tuple(map(printable, written.notes)))


def _load(folder: str, device: str, options: Options, load: Callable[[str], Any] | None) -> Network:
    with importing():
        import torch

        from mixit_mss.models.hub.opening import open_model, pick_device
        from mixit_mss.separation.stream import written_names

    where = pick_device(device)
    model: Network = (load or open_model)(folder)
    # report a wrong stem name before any work
    output_files(written_names(model, options), options.audio_format)
    return model.to(where) if isinstance(model, torch.nn.Module) else model


def _require_files(song: Song) -> None:
    """Refuse what is not a regular file; a missing file is reported when it is opened."""
    for part in song.parts:
        if "\0" in str(part):
            raise UserError(f"'{part}' is no file: its name holds a NUL character")
        if os.path.exists(part) and not os.path.isfile(part):
            kind = "a folder" if os.path.isdir(part) else "a device or a pipe"
            raise UserError(f"'{part}' is {kind}, not a file; store the song in a file")


def _keep_the_song(song: Song, outputs: list[Path]) -> None:
    """Refuse to overwrite the song with a stem, even if the song is a stem that we wrote."""
    for part in song.parts:
        for path in outputs:
            if path.exists() and part.exists() and path.samefile(part):
                raise UserError(f"a stem of '{part}' would replace it; choose another --out")


def _reason(song: Song, error: Exception) -> str:
    if not isinstance(error, OSError):
        return printable(error)
    where = error.filename2 or error.filename or song.parts[0]
    if isinstance(where, bytes):
        where = os.fsdecode(where)
    return printable(f"'{song.parts[0]}': {error.strerror or error} ('{where}')")


def _too_large(song: Song) -> str:
    reason = "the memory does not hold a batch; take a smaller --batch-size or --chunk-seconds"
    return printable(f"{song.parts[0]}: {reason}")


def _is_full(error: BaseException) -> bool:
    """Whether a song failed because the disk is full, so that all others would fail too."""
    return any(
        getattr(each, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        or "No space left on device" in str(each)
        # how soundfile reports a short write
        or (isinstance(each, AssertionError) and "disk full" in str(error))
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _say(progress: Progress, line: str) -> None:
    progress.console.print(
        printable(line), markup=False, highlight=False, emoji=False, soft_wrap=True
    )


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
