"""A local web page: drop a song, listen to its stems, download them.

By default it listens only on this machine.  It sends nothing anywhere and keeps nothing: all files
lie in one temporary folder, which is cleaned while the server runs and removed when it ends or,
after a kill, at the next start.  Every upload and every result has its own folder in it, with a
random name that cannot be guessed.

Requests are answered only if their host name is a name of this server.  Otherwise another site
could point its own name here and read what is here (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import html
import importlib.util
import os
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixit_mss import audio
from mixit_mss.errors import UserError
from mixit_mss.files import HOST, is_running
from mixit_mss.machine import is_out_of_memory
from mixit_mss.models.network import Network
from mixit_mss.names import file_name, inside, printable
from mixit_mss.separation.hosts import OnlyKnownHosts, names_of
from mixit_mss.separation.request import Options, output_files
from mixit_mss.separation.songs import Song
from mixit_mss.separation.stream import output_names, separate_song

SWEEP_SECONDS, KEPT_SECONDS = 300, 3600  # time between clean-ups, and age of files to remove
WAITING = 8  # songs in the queue; one is separated at a time
FOLDER = re.compile(r"mixit-mss-demo-(\d+)-([0-9a-f]{8})-")  # prefix of the temporary folder's name
MISSING = "the demo needs gradio, which is not installed: pip install 'mixit_mss[demo]'"
EXPLAINED = (
    "Drop a song, in any format; hear each stem, and download it by the arrow above its waveform. "
    "Nothing leaves the machine that this page runs on, and files are removed after an hour."
)


@dataclass(frozen=True)
class Limits:
    """Limits of an upload; larger files and longer songs are refused."""

    megabytes: float = 200.0
    minutes: float = 15.0

    def __post_init__(self) -> None:
        if self.megabytes <= 0 or self.minutes <= 0:
            raise UserError("--max-megabytes and --max-minutes must be above 0")


def separate_upload(
    model: Network, song: Path, folder: Path, limits: Limits, advance: Callable[[int, int], None]
) -> tuple[dict[str, Path], list[str]]:
    """Separate one uploaded song into FLAC files below ``folder``.

    Args:
        model: a network.
        song: the upload.
        folder: for the stems, and an archive of all of them; must exist.
        limits: of an upload.
        advance: called with the samples done so far and the total.

    Returns:
        The file of each output by name, the last one ``all``, the archive; and sentences for the
        listener.

    Raises:
        UserError: the song cannot be read, or is too long.
    """
    info = audio.probe(song)
    minutes = info.frames / info.sample_rate / 60
    if minutes > limits.minutes:
        raise UserError(
            f"'{song}' lasts {minutes:.1f} minutes, and at most {limits.minutes:g} are taken here; "
            "send a shorter one, or start the demo with a larger --max-minutes"
        )
    done = 0

    def count(samples: int, _: int | None = None) -> None:
        nonlocal done
        done += samples
        advance(done, info.frames)

    options = options_for(model)
    notes = separate_song(model, Song(song.stem, (song,)), folder, options, count)
    names = output_files(output_names(model, options), options.audio_format)
    files = {name: folder / file for name, file in names.items()}
    archive = inside(folder, folder / f"{file_name(song.stem)} stems.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for file in files.values():
            packed.write(file, f"{file_name(song.stem)}/{file.name}")
    return {**files, "all": archive}, notes


def separate_apart(
    model: Network, song: Path, limits: Limits, advance: Callable[[int, int], None]
) -> tuple[dict[str, Path], list[str]]:
    """Call :func:`separate_upload` with a new folder, which is removed if that fails.

    It lies in gradio's temporary folder, so gradio serves its files and removes them when old.
    """
    top = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(dir=top))
    try:
        return separate_upload(model, song, folder, limits, advance)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if is_out_of_memory(error):
            raise UserError(
                "this song needs more memory than is there; send a shorter one"
            ) from error
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise UserError(f"the song could not be read or its stems kept ({reason})") from error
        raise


def _words(said: object, song: str) -> str:
    """A sentence as HTML, which gradio expects, without the path of the upload."""
    text = printable(said).replace(printable(song), printable(Path(song).name))
    return html.escape(text, quote=False)


def options_for(model: Network) -> Options:
    """FLAC of every stem, or of every output if they have no names yet."""
    return Options(all_channels=getattr(model, "stems", None) is None, audio_format="flac")


def build_demo(model: Network, title: str, limits: Limits):
    """Build the page, as ``gradio.Blocks``.

    Raises:
        UserError: gradio is not installed.
    """
    gradio = import_gradio()
    names = list(output_names(model, options_for(model)))

    def separate(song: str | None, progress=gradio.Progress()):  # noqa: B008 - gradio's own way
        if not song:
            raise gradio.Error("Choose a song first.", print_exception=False)
        try:
            files, notes = separate_apart(
                model,
                Path(song),
                limits,
                lambda done, total: progress((done, max(total, 1)), unit="samples"),
            )
        except UserError as error:
            raise gradio.Error(_words(error, song), print_exception=False) from error
        for note in notes:
            gradio.Warning(_words(note, song))
        *stems, everything = map(str, files.values())
        return [*stems, gradio.update(value=everything, interactive=True)]

    with gradio.Blocks(
        title=title, analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEPT_SECONDS)
    ) as page:
        gradio.Markdown(f"# {title}\n{EXPLAINED}")
        song = gradio.Audio(
            label=f"A song, up to {limits.minutes:g} minutes and {limits.megabytes:g} MB",
            sources=["upload"],
            type="filepath",
            editable=False,
            buttons=[],
            elem_id="song",
        )
        button = gradio.Button("Separate", variant="primary", elem_id="separate")
        with gradio.Row():
            stems = [
                gradio.Audio(
                    label=name,
                    interactive=False,
                    buttons=["download"],  # gradio's other button would publish the audio
                    min_width=400,
                    elem_id=f"stem-{name}",
                )
                for name in names
            ]
        archive = gradio.DownloadButton("Download all stems", interactive=False, elem_id="archive")
        button.click(separate, song, [*stems, archive], concurrency_limit=1)
    page.queue(max_size=WAITING)
    return page


@contextlib.contextmanager
def serving(
    model: Network, title: str, limits: Limits, host: str = "127.0.0.1", port: int | None = 7860
) -> Iterator[str]:
    """Serve the page within a ``with`` block, which yields its address; clean up at its end.

    Raises:
        UserError: gradio is not installed, or the address cannot be served.
    """
    require_gradio()
    sweep()
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    prefix = f"mixit-mss-demo-{os.getpid()}-{HOST}-"
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
        stack.enter_context(_environment(folder))
        gradio = import_gradio()
        stack.enter_context(_kept_apart(folder))
        page = build_demo(model, title, limits)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                share=False,
                max_file_size=round(limits.megabytes * 1e6),
                prevent_thread_lock=True,
                quiet=True,
                show_error=True,
                ssr_mode=False,
                footer_links=["gradio"],
                app_kwargs={"middleware": [(OnlyKnownHosts, (), {"names": names_of(host)})]},
                theme=gradio.themes.Soft(**fonts),
            )
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be served ({error}); try --port") from error
        try:
            yield address
        finally:
            page.close(verbose=False)


def sweep() -> None:
    """Remove the folders of demos on this machine that were killed."""
    for entry in os.scandir(tempfile.gettempdir()):
        match = FOLDER.match(entry.name)
        if match is None or match[2] != HOST or is_running(int(match[1])):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)


def require_gradio() -> None:
    """Check that gradio, an optional package, is installed.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError(MISSING)


def import_gradio():
    """Import gradio, which takes its temporary folder from the environment.

    Raises:
        UserError: it is not installed.
    """
    try:
        with _environment():
            import gradio
    except ImportError as error:
        raise UserError(MISSING) from error
    return gradio


@contextlib.contextmanager
def _kept_apart(folder: str) -> Iterator[None]:
    """Give every upload its own folder; gradio would store equal files in the same folder."""
    from gradio import route_utils, routes

    class Upload(route_utils.GradioUploadFile):
        def __init__(self, *values, **named) -> None:
            super().__init__(*values, **named)
            self.sha.update(secrets.token_bytes(32))  # the folder's name

    wanted: list[tuple[Any, str, Any]] = [(route_utils, "GradioUploadFile", Upload)]
    for module in (route_utils, routes):  # in case it was imported before
        if hasattr(module, "DEFAULT_TEMP_DIR"):
            wanted.append((module, "DEFAULT_TEMP_DIR", folder))
    before = [(module, name, getattr(module, name)) for module, name, _ in wanted]
    for module, name, value in wanted:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextlib.contextmanager
def _environment(folder: str | None = None) -> Iterator[None]:
    """Set gradio's environment variables: no telemetry, and the folder of uploads and results."""
    wanted = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
    if folder is not None:
        wanted["GRADIO_TEMP_DIR"] = folder
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
