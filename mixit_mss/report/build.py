"""Build a report: read the experiments, draw the figures, write RESULTS.md and the pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mixit_mss import audio
from mixit_mss.data.manifest import NO_SEGMENTS, Manifest, read_manifest
from mixit_mss.errors import UserError
from mixit_mss.files import sweep, write_text
from mixit_mss.names import place
from mixit_mss.report.figures.pictures import draw_scores, draw_spectrograms, draw_votes
from mixit_mss.report.listening import Song, listen, only
from mixit_mss.report.page import page_text
from mixit_mss.report.paper import beside_the_paper
from mixit_mss.report.results import (
    Experiment,
    Figures,
    read_experiments,
    results_text,
    unique_titles,
)
from mixit_mss.scoring.songs import Task, manifest_tasks, summarise
from mixit_mss.tables import Kind, columns_of, read_table

VOTES = "votes.csv"  # written by stage 4; repeated here to avoid importing torch
PAGE = "report.html"
EXCERPT_SECONDS = 10.0
MOST_CHANNELS = 512


def build_report(
    recipe: str,
    experiments: list[str | Path],
    manifests: str | Path,
    out: str | Path,
    figures: str | Path,
    paper_tables: Sequence[int] = (),
    page: str | Path | None = None,
    num_songs: int = 2,
    seconds: float | None = None,
) -> list[Path]:
    """Write ``out`` (Markdown), its figures, and the pages (HTML).

    Args:
        recipe: name of the recipe.
        experiments: folders with ``experiment.json`` and ``scores.csv``.  The report shows the
            votes of the first one with ``votes.csv``, and a song of the last with ``estimates/``.
        manifests: folder of the manifests ``unlabelled`` and ``labelled``.
        out: path of ``RESULTS.md``.
        figures: folder for the figures.
        paper_tables: numbers of the paper's tables to compare with.
        page: page that compares the experiments; ``report.html`` beside ``out`` if None.
        num_songs: number of songs to play in every page.
        seconds: length of each; see :func:`~mixit_mss.report.listening.listen`.

    Returns:
        The pages: ``page``, and ``report.html`` in the folder of every trained experiment.

    Raises:
        UserError: a file is missing, or the experiments were scored on different songs.
    """
    rows, folder = read_experiments(experiments), Path(figures)
    for ours in (folder, Path(out).parent):
        sweep(ours)  # left by killed processes
    votes, picture_of_votes = None, None
    voted = next((row.folder / VOTES for row in rows if (row.folder / VOTES).exists()), None)
    if voted is not None:
        votes, chosen = read_votes(voted)
        picture_of_votes = folder / "votes.png"
        draw_votes(picture_of_votes, votes, chosen)
    scores = folder / "usdr.png"
    draw_scores(
        scores,
        {row.facts["label"]: summarise(row.scores, "usdr") for row in rows},
        "uSDR in dB, mean over songs",
    )
    labelled = read_manifest(Path(manifests) / "labelled")
    spectrograms = _draw_song(folder / "spectrograms.png", rows, labelled)
    shown = Figures(spectrograms=spectrograms, votes=picture_of_votes, scores=scores)
    paper = "\n\n".join(beside_the_paper(table, rows) for table in paper_tables)
    write_text(out, results_text(recipe, rows, manifests, out, shown, votes, paper))
    songs = listen(rows, labelled, num_songs, seconds)
    page = Path(out).with_name(PAGE) if page is None else Path(page)
    _write_page(page, f"Results of {recipe}", rows, rows, songs, paper_tables)
    titles = unique_titles(rows)
    trained = [row for row in rows if row.facts["parameters"] is not None]
    for row in trained:
        label = titles[row.folder]
        _write_page(row.folder / PAGE, label, [row], rows, only(songs, row.folder), paper_tables)
    return [page, *(row.folder / PAGE for row in trained)]


def _write_page(
    path: Path,
    title: str,
    shown: list[Experiment],
    everything: list[Experiment],
    songs: list[Song],
    paper_tables: Sequence[int],
) -> None:
    voted = next((row.folder / VOTES for row in shown if (row.folder / VOTES).exists()), None)
    votes = None if voted is None else read_votes(voted)
    write_text(path, page_text(title, shown, everything, votes, songs, paper_tables))


def read_votes(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read the votes of stage 4 as (stem, channel), and the channel selected for each stem.

    Raises:
        UserError: the file is not a table of votes.
    """
    try:
        return _read_votes(path)
    except UserError as error:
        raise UserError(
            f"{path} is no table of votes ({error}); run select-channels again"
        ) from error


def _read_votes(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    kinds = {name: Kind.WHOLE for name in columns_of(path) if name != "chosen_for"}
    table = read_table(path, {**kinds, "channel": Kind.WHOLE, "chosen_for": Kind.TEXT})
    channels = table["channel"]
    if channels.duplicated().any() or len(table) > MOST_CHANNELS or table.shape[1] > MOST_CHANNELS:
        raise UserError("it lists a channel twice, or too many of them")
    table = table.set_index("channel")
    chosen = {stem: int(channel) for channel, stem in table.pop("chosen_for").items() if stem}
    if set(chosen) != set(table.columns) or not len(table) or (table < 0).any(axis=None):
        raise UserError("it needs votes for every stem, and a channel that was chosen for it")
    return table.T, chosen


def _draw_song(path: Path, rows: list[Experiment], labelled: Manifest) -> Path | None:
    """Draw the first scored song that has estimates, from the last experiment with any."""
    song = min(rows[0].scores.song)
    tracks = labelled.tracks[labelled.tracks.song == song].reset_index(drop=True)
    one = Manifest(tracks, NO_SEGMENTS, labelled.name)
    for row in reversed(rows):
        if not len(tracks) or not place(row.folder / "estimates", song).is_dir():
            continue
        split, stems = tracks.split.iloc[0], row.stems_of(tracks)
        (task,) = manifest_tasks(one, split, row.folder / "estimates", stems=stems)
        _draw_task(path, task, f"{song}, separated by: {row.facts['label']}")
        return path
    return None


def _draw_task(path: Path, task: Task, title: str) -> None:
    info = audio.probe(task.mixture[0])
    frames = min(info.frames, round(EXCERPT_SECONDS * info.sample_rate))
    start = (info.frames - frames) // 2

    def excerpt(file: Path) -> np.ndarray:
        return audio.read(file, start, frames)[0]

    mixture = np.sum([excerpt(part) for part in task.mixture], axis=0)
    references = {stem: excerpt(file) for stem, file in task.references.items()}
    estimates = {stem: excerpt(file) for stem, file in task.estimates.items()}
    draw_spectrograms(path, mixture, references, estimates, info.sample_rate, title)
