"""A page on this machine: drop a song, hear its stems, download them.

It listens to this machine only unless it is told otherwise, sends nothing anywhere, and keeps
nothing: every file lies in one temporary folder, which is emptied while it runs and goes at its end.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mixit_mss.data import audio
from mixit_mss.errors import UserError
from mixit_mss.evaluation.request import Options
from mixit_mss.evaluation.song_stream import output_names, separate_song
from mixit_mss.evaluation.songs import Song
from mixit_mss.models.network import Network

SWEEP_SECONDS, KEPT_SECONDS = 300, 3600  # how often old files are looked for, and what is old
WAITING = 8  # songs in the queue; one is separated at a time
EXPLAINED = (
    "Drop a song, in any format; hear each stem, and download it by the arrow above its waveform. "
    "Nothing leaves the machine that this page runs on, and files are removed after an hour."
)


@dataclass(frozen=True)
class Limits:
    """What is turned away: larger uploads, longer songs."""

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
        folder: for the stems, and an archive that holds them all; it must exist.
        limits: what is turned away.
        advance: hears of samples done, and of all.

    Returns:
        Name of each output and its file, last ``all``, the archive; and sentences on what the
        listener should know.

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
    files = {name: folder / f"{name}.flac" for name in output_names(model, options)}
    archive = folder / f"{song.stem} stems.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for name, file in files.items():
            packed.write(file, f"{song.stem}/{name}.flac")
    return {**files, "all": archive}, notes


def options_for(model: Network) -> Options:
    """FLAC of every stem, or of every output where they have no names yet."""
    return Options(all_channels=getattr(model, "stems", None) is None, audio_format="flac")


def build_demo(model: Network, title: str, limits: Limits):
    """The page, as ``gradio.Blocks``.

    Raises:
        UserError: gradio is not installed.
    """
    gradio = import_gradio()
    names = list(output_names(model, options_for(model)))

    def separate(song: str | None, progress=gradio.Progress()):  # noqa: B008 - gradio's own way
        if not song:
            raise gradio.Error("Choose a song first.", print_exception=False)
        with tempfile.TemporaryDirectory() as folder:
            try:
                files, notes = separate_upload(
                    model,
                    Path(song),
                    Path(folder),
                    limits,
                    lambda done, total: progress((done, max(total, 1)), unit="samples"),
                )
            except UserError as error:
                words = str(error).replace(song, Path(song).name)
                raise gradio.Error(words, print_exception=False) from error
            for note in notes:
                gradio.Warning(note.replace(song, Path(song).name))
            *stems, everything = map(str, files.values())
            yield [*stems, gradio.update(value=everything, interactive=True)]
            # gradio has copied them when it asks for more, and the folder can go

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
                    buttons=["download"],  # gradio's other button would publish the sound
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
    """Serve the page; gives its address, and ends the server and its files with the block.

    Raises:
        UserError: gradio is not installed, or nothing can listen there.
    """
    gradio = import_gradio()
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    with tempfile.TemporaryDirectory(prefix="mixit-mss-demo-") as folder, _environment(folder):
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
                theme=gradio.themes.Soft(**fonts),
            )
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be served ({error}); try --port") from error
        try:
            yield address
        finally:
            page.close(verbose=False)


def import_gradio():
    """The optional package that draws the page.

    Raises:
        UserError: it is not installed.
    """
    try:
        with _environment():
            import gradio
    except ImportError as error:
        raise UserError(
            "the demo needs gradio, which is not installed: pip install 'mixit_mss[demo]'"
        ) from error
    return gradio


@contextlib.contextmanager
def _environment(folder: str | None = None) -> Iterator[None]:
    """Gradio reads these: no reports to its makers, and where uploads and results lie."""
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
