"""The paper's published scores beside ours.

Rows of the paper are matched to our experiments by the labels that the recipe gives them: ``medium,
from scratch`` or ``medium, MixIT FMA large, then fine-tuned``, and in table 2 ``..., encoder and
decoder only``.
"""

from __future__ import annotations

import math
from importlib.resources import files

import pandas as pd

from mixit_mss.report.results import NOTHING, Experiment, markdown_table
from mixit_mss.scoring.songs import summarise

SIZES = ("small", "medium", "large")
TABLES = {
    1: "sizes, from scratch and after MixIT on FMA large",
    2: "only encoder and decoder fine-tuned",
    3: "how much of FMA is pre-trained on",
}
PART = ", encoder and decoder only"
NOT_RUN = "not run here"
METRICS = {"csdr": "cSDR", "usdr": "uSDR"}
TEXT_COLUMNS = 3
NOTE = "In dB on the test songs of MUSDB18-HQ; the rows of others are as the paper quotes them."


def paper_rows(table: int) -> pd.DataFrame:
    """Read one table of the paper.

    Returns:
        Columns ``model``, ``pretraining`` and ``<stem>_csdr``, ``<stem>_usdr`` (dB; nan where the
        paper has none) for every stem and ``average``; and ``label``, the label of our experiment
        with the same training, empty for other authors' models.
    """
    source = files("mixit_mss.report") / "paper_tables.csv"
    with source.open(encoding="utf-8") as file:
        rows = pd.read_csv(file)
    rows = rows[rows["table"] == table].drop(columns="table").reset_index(drop=True)
    rows["label"] = [
        our_label(model, pretraining, table)
        for model, pretraining in zip(rows["model"], rows["pretraining"], strict=True)
    ]
    return rows


def our_label(model: str, pretraining: str, table: int) -> str:
    """The recipe's label for a row of the paper."""
    size = model.split()[-1]
    if size not in SIZES:
        return ""
    start = "from scratch" if pretraining == "scratch" else f"{pretraining}, then fine-tuned"
    return f"{size}, {start}{PART if table == 2 else ''}"


def beside_the_paper(table: int, experiments: list[Experiment]) -> str:
    """A section of ``RESULTS.md``: each row of one of the paper's tables, with ours below it."""
    header, lines = comparison(table, experiments)
    return f"## {heading(table)}\n\n{NOTE}\n\n" + markdown_table(header, lines, left=TEXT_COLUMNS)


def heading(table: int) -> str:
    """Title of the section on one of the paper's tables."""
    return f"Beside the paper, table {table}: {TABLES[table]}"


def comparison(table: int, experiments: list[Experiment]) -> tuple[list[str], list[list[str]]]:
    """One of the paper's tables as text: the header, and each row with ours below it.

    The first :data:`TEXT_COLUMNS` columns are text, the others dB.
    """
    rows = paper_rows(table)
    columns = [name for name in rows.columns if name.rsplit("_")[-1] in METRICS]
    ours = [(experiment, _our_scores(experiment)) for experiment in experiments]
    lines = []
    for row in rows.to_dict("records"):
        lines.append([row["model"], row["pretraining"], "paper", *_cells(row, columns)])
        if not row["label"]:
            continue
        same = [(e, scores) for e, scores in ours if e.facts["label"] == row["label"]]
        for experiment, scores in same:
            lines.append(
                ["", "", f"ours, seed {experiment.facts['seed']}", *_cells(scores, columns)]
            )
        if not same:
            lines.append(["", "", f"ours: {NOT_RUN}", *("" for _ in columns)])
    titles = [f"{name.rsplit('_')[0]} {METRICS[name.rsplit('_')[1]]}" for name in columns]
    return ["model", "pre-training", "", *titles], lines


def _our_scores(experiment: Experiment) -> dict[str, float]:
    """Scores by the names of the paper's columns."""
    return {
        f"{stem}_{metric}": value
        for metric in METRICS
        for stem, value in summarise(experiment.scores, metric).items()
    }


def _cells(scores: dict, columns: list[str]) -> list[str]:
    values = [scores.get(name, math.nan) for name in columns]
    return [NOTHING if math.isnan(value) else f"{value:.2f}" for value in values]
