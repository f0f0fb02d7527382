"""``report.html``: a self-contained page with tables, figures and players that works offline.

Jinja escapes every name and number; the page's content security policy forbids it to load or run
anything that is not part of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd
import yaml
from jinja2 import Environment, FunctionLoader
from markupsafe import Markup

from mixit_mss.errors import UserError
from mixit_mss.reading import read_text
from mixit_mss.report import paper
from mixit_mss.report.figures import svg
from mixit_mss.report.history import find_history, read_history
from mixit_mss.report.listening import Song
from mixit_mss.report.results import (
    FACTS,
    NOTHING,
    Experiment,
    decibels,
    environment,
    fact_text,
    unique_titles,
)
from mixit_mss.scoring.songs import summarise
from mixit_mss.stamps import read_stamp

TRAININGS = ("pretrain", "finetune")
MOST_CONFIG = 2**20  # bytes
METRICS = {
    "usdr": ("uSDR", "mean over songs"),
    "csdr": ("cSDR", "median over 1-s windows, then over songs"),
}


@dataclass(frozen=True)
class Table:
    """Rows of text; the first ``left`` columns are words.  ``own`` rows are highlighted."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]
    left: int = 1
    own: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plot:
    """A figure with its title; ``names`` are its curves, each with its colour index."""

    title: str
    drawing: Markup
    names: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How one experiment was run: the command, and its config as YAML."""

    label: str
    command: str
    config: str


def page_text(
    title: str,
    shown: Sequence[Experiment],
    everything: Sequence[Experiment],
    votes: tuple[pd.DataFrame, dict[str, int]] | None = None,
    songs: Sequence[Song] = (),
    paper_tables: Sequence[int] = (),
) -> str:
    """Render the whole page.

    Args:
        title: heading.
        shown: experiments that the page is about.
        everything: experiments in the score tables, including ``shown``.
        votes: counts (stem, channel), and the channel of each stem.
        songs: excerpts to play.
        paper_tables: numbers of the paper's tables to compare with.

    Sections without data (no votes, no estimates, no history) are omitted.
    """
    titles = unique_titles(shown).values()
    script = _part("player.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    loader = FunctionLoader(_part)
    template = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
    tables = [_scores(metric, shown, everything) for metric in METRICS]
    tables += [_paper(number, everything) for number in paper_tables]
    return template.render(
        title=title,
        style=Markup(_part("page.css")),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        headline=_headline(shown),
        tables=tables,
        boxes=_boxes(shown),
        curves=_curves(shown),
        votes=None if votes is None else svg.heat_map(*votes),
        songs=songs,
        recipes=[_recipe(row, title) for row, title in zip(shown, titles, strict=True)],
        environment=environment(),
    )


@cache
def _part(name: str) -> str:
    return (files("mixit_mss.report") / "templates" / name).read_text(encoding="utf-8")


def _headline(shown: Sequence[Experiment]) -> list[tuple[str, str]]:
    """The key facts, each as a label and a value."""
    trained = [row for row in shown if row.facts["parameters"]] or list(shown)
    best = max(trained, key=lambda row: summarise(row.scores, "usdr")["average"])
    summaries = [
        (f"average {name}", f"{decibels(summarise(best.scores, metric)['average'])} dB")
        for metric, (name, _) in METRICS.items()
    ]
    songs = str(best.scores.song.nunique())
    if len(shown) > 1:
        return [
            ("best experiment", unique_titles(shown)[best.folder]),
            *summaries,
            ("test songs", songs),
        ]
    known = [(key, fact_text(best.facts, key)) for key in FACTS]
    return [*summaries, ("test songs", songs), *(pair for pair in known if pair[1] != NOTHING)]


def _scores(metric: str, shown: Sequence[Experiment], everything: Sequence[Experiment]) -> Table:
    name, over = METRICS[metric]
    stems = list(dict.fromkeys(everything[0].scores.stem))
    facts = FACTS if metric == "usdr" else ()
    rows = []
    for row in everything:
        summary = summarise(row.scores, metric)
        cells = [decibels(summary[stem]) for stem in (*stems, "average")]
        rows.append([row.facts["label"], *cells, *(fact_text(row.facts, key) for key in facts)])
    own = () if len(shown) == len(everything) else _places(shown, everything)
    header = ["", *stems, "average", *facts]
    return Table(name, f"In dB, {over}; higher is better.", header, rows, own=own)


def _paper(number: int, everything: Sequence[Experiment]) -> Table:
    """One of the paper's tables beside our results, without trainings that were not run."""
    header, rows = paper.comparison(number, list(everything))
    run = [row for row in rows if paper.NOT_RUN not in row[2]]
    note = paper.NOTE
    if len(run) < len(rows):
        note += f" {len(rows) - len(run)} of the paper's trainings were not run here."
    own = tuple(i for i, row in enumerate(run) if row[2].startswith("ours"))
    return Table(paper.heading(number), note, header, run, paper.TEXT_COLUMNS, own)


def _places(shown: Sequence[Experiment], everything: Sequence[Experiment]) -> tuple[int, ...]:
    folders = [row.folder for row in shown]
    return tuple(i for i, row in enumerate(everything) if row.folder in folders)


def _boxes(shown: Sequence[Experiment]) -> list[Plot]:
    """Plot uSDR of every song: a chart per stem, or for a single experiment a row per stem."""
    stems, titles = list(dict.fromkeys(shown[0].scores.stem)), unique_titles(shown)
    scores = pd.concat([row.scores.usdr for row in shown]).dropna()
    if not len(scores):
        return []
    limits = (float(scores.min()), float(scores.max()))

    def of(row: Experiment, stem: str) -> pd.Series:
        return row.scores[row.scores.stem == stem].set_index("song").usdr

    if len(shown) == 1:
        rows = [(stem, of(shown[0], stem)) for stem in stems]
        return [Plot("", svg.box_plot(rows, limits, "uSDR of every song, a row per stem"))]
    plots = []
    for stem in stems:
        rows = [(titles[row.folder], of(row, stem)) for row in shown]
        what = f"uSDR of every song for {stem}, a row per experiment"
        plots.append(Plot(stem, svg.box_plot(rows, limits, what)))
    return plots


def _curves(shown: Sequence[Experiment]) -> list[Plot]:
    """Plot the losses of every experiment with a history, then their validation scores together."""
    plots: list[Plot] = []
    scores: list[svg.Line] = []
    titles = unique_titles(shown)
    for row in shown:
        path = find_history(row.folder)
        if path is None:
            continue
        table = read_history(path)
        lines = [
            _line(name, table, column, colour, dots)
            for name, column, colour, dots in (
                ("training", "train_loss", 1, False),
                ("validation", "val_loss", 0, True),
            )
            if table[column].notna().any()
        ]
        if lines:
            drawing = svg.line_chart(lines, "step", "loss in dB")
            plots.append(Plot(titles[row.folder], drawing, tuple(_legend(line) for line in lines)))
        if table.val_usdr.notna().any():
            scores.append(_line(titles[row.folder], table, "val_usdr", len(scores), True))
    if scores:
        drawing = svg.line_chart(scores, "step", "uSDR in dB")
        plots.append(
            Plot("uSDR of the validation songs", drawing, tuple(_legend(line) for line in scores))
        )
    return plots


def _line(name: str, table: pd.DataFrame, column: str, colour: int, dots: bool) -> svg.Line:
    known = table[table[column].notna()]
    return svg.Line(name, known.step.tolist(), known[column].tolist(), colour, dots)


def _legend(line: svg.Line) -> tuple[str, int]:
    return line.name, line.colour % svg.NUM_COLOURS


def _recipe(row: Experiment, title: str) -> Recipe:
    return Recipe(title, row.facts["command"] or "", _config(row))


def _config(row: Experiment) -> str:
    """The run's config as YAML: from its stamp, which holds every value, or else from its file."""
    for result in read_stamp(row.folder):
        if result.command in TRAININGS:
            return yaml.safe_dump(result.options, sort_keys=False, default_flow_style=None)
    config = str(row.facts["config"] or "")
    try:
        return read_text(config, MOST_CONFIG) if config.endswith((".yaml", ".yml")) else ""
    except UserError:
        return ""
