"""``RESULTS.md``: the experiments of one recipe as tables.

The text depends only on the experiment folders, the manifests and the installed packages.  It holds
no date or duration, so the same results give the same file.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mixit_mss.data.manifest import manifest_paths, read_manifest
from mixit_mss.errors import UserError
from mixit_mss.report.markdown import Marked, code, link, literal
from mixit_mss.report.markdown import table as markdown_table
from mixit_mss.scoring.experiments import read_experiment
from mixit_mss.scoring.songs import SCORES_FILE, read_scores, summarise

NOTHING = "-"
FACTS = ("parameters", "steps", "seed", "commit")
PACKAGES = ("torch", "torchaudio", "pytorch-lightning", "asteroid", "numpy", "scipy", "museval")


@dataclass(frozen=True)
class Experiment:
    """One row: the facts in ``experiment.json``, and the scores of every song and stem."""

    folder: Path
    facts: dict
    scores: pd.DataFrame

    def stems_of(self, tracks: pd.DataFrame) -> list[str] | None:
        """The scored stems among the tracks of a song; None if none of them was scored."""
        scored = set(self.scores["stem"])
        return [stem for stem in tracks["stem"] if stem in scored] or None


@dataclass(frozen=True)
class Figures:
    """Figures to show; any may be missing."""

    spectrograms: Path | None = None
    votes: Path | None = None
    scores: Path | None = None


def read_experiments(folders: list[str | Path]) -> list[Experiment]:
    """Read experiment folders, sorted by ``order``; all must have scores of the same songs."""
    experiments = []
    for folder in map(Path, folders):
        experiments.append(
            Experiment(folder, read_experiment(folder), read_scores(folder / SCORES_FILE))
        )
    experiments.sort(key=lambda experiment: (experiment.facts["order"], str(experiment.folder)))
    wanted = _cells(experiments[0])
    for experiment in experiments[1:]:
        if _cells(experiment) != wanted:
            raise UserError(
                f"{experiment.folder / SCORES_FILE} scores other songs or stems than "
                f"{experiments[0].folder / SCORES_FILE}; score both on the same split"
            )
    return experiments


def comparable(folders: Sequence[str | Path], first: str | Path) -> list[Path]:
    """The experiment folders with scores of the same songs and stems as ``first``.

    Prints a line for each folder that is left out.
    """
    wanted = set(read_scores(Path(first) / SCORES_FILE)[["song", "stem"]].itertuples(index=False))
    kept = []
    for folder in map(Path, folders):
        try:
            scores = read_scores(folder / SCORES_FILE)
        except UserError as error:
            print(f"{folder}: left out ({error})")
            continue
        if set(scores[["song", "stem"]].itertuples(index=False)) == wanted:
            kept.append(folder)
        else:
            print(f"{folder}: left out, it was scored on other songs or stems")
    return kept


def unique_titles(experiments: Sequence[Experiment]) -> dict[Path, str]:
    """Folder -> label, with the seed if several experiments have the same label."""
    labels = Counter(row.facts["label"] for row in experiments)
    return {
        row.folder: row.facts["label"]
        + (f" (seed {row.facts['seed']})" if labels[row.facts["label"]] > 1 else "")
        for row in experiments
    }


def results_text(
    recipe: str,
    experiments: list[Experiment],
    manifests: str | Path,
    out: str | Path,
    figures: Figures | None = None,
    votes: pd.DataFrame | None = None,
    paper: str = "",
) -> str:
    """The full text of ``RESULTS.md``.

    Args:
        recipe: name of the recipe.
        experiments: from :func:`read_experiments`.
        manifests: folder of the manifests ``unlabelled`` and ``labelled``.
        out: where the text will be written; links to figures are relative to it.
        figures: figures already drawn.
        votes: counts (stem, channel), a row per stem, if channels were selected.
        paper: sections that compare with the paper's scores.
    """
    figures = figures or Figures()
    sections = [
        _head(recipe, Path(manifests)),
        _score_table("uSDR", "usdr", "mean over songs", experiments, FACTS),
        _score_table("cSDR", "csdr", "median over 1-s windows, then over songs", experiments),
        _score_table("uSDR (per channel)", "usdr_per_channel", "mean over songs", experiments),
        _missing(experiments),
        paper,
        _picture("Scores", figures.scores, out, "uSDR of every experiment and stem"),
        _votes(votes, figures.votes, out),
        _picture(
            "One test song", figures.spectrograms, out, "Spectrograms: mixture, stems, estimates"
        ),
        _how_to(recipe, experiments),
        _environment(),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(recipe: str, manifests: Path) -> str:
    rows = []
    for corpus in ("unlabelled", "labelled"):
        if corpus == "unlabelled" and not manifest_paths(manifests / corpus)[0].exists():
            continue  # not used for training
        manifest = read_manifest(manifests / corpus, check_files=False)
        for split in dict.fromkeys(manifest.tracks.split):
            part = manifest.select(split=split)
            tracks = part.tracks
            if corpus == "labelled":
                # all files of a song have the same length: count it once
                tracks = tracks.drop_duplicates("song")
            seconds = (tracks.frames / tracks.sample_rate).sum()
            segments = len(part.segments.track)
            rows.append([corpus, split, len(tracks), f"{seconds / 60:.1f}", segments])
    table = markdown_table(["corpus", "split", "songs", "minutes", "segments"], rows, left=2)
    return (
        f"# Results of {literal(recipe)}\n\nMade by `mixit-mss report`; run the recipe to make it again. "
        "Scores are in dB, higher is better.\n\n## Corpora\n\n" + table
    )


def _score_table(
    title: str, metric: str, over: str, experiments: list[Experiment], facts: tuple[str, ...] = ()
) -> str:
    stems = list(dict.fromkeys(experiments[0].scores.stem))
    rows = []
    for experiment in experiments:
        summary = summarise(experiment.scores, metric)
        cells = [experiment.facts["label"], *(decibels(summary[stem]) for stem in stems)]
        cells.append(Marked(f"**{decibels(summary['average'])}**"))
        rows.append(cells + [fact_text(experiment.facts, key) for key in facts])
    header = ["", *stems, "average", *facts]
    return f"## {title}\n\nIn dB, {over}.\n\n" + markdown_table(header, rows)


def _missing(experiments: list[Experiment]) -> str:
    rows = []
    for experiment in experiments:
        missing = experiment.scores[experiment.scores[["usdr", "csdr"]].isna().any(axis=1)]
        if len(missing):
            names = ", ".join(f"{row.song} ({row.stem})" for row in missing.itertuples())
            rows.append([experiment.facts["label"], len(missing), names])
    if not rows:
        return "Every song and stem has a score."
    return (
        "## Without a score\n\nA stem that is silent, in the reference or for cSDR in the estimate, "
        "has no SDR. These are left out of the means and medians.\n\n"
        + markdown_table(["", "count", "songs"], rows, left=3)
    )


def _votes(votes: pd.DataFrame | None, picture: Path | None, out: str | Path) -> str:
    if votes is None:
        return ""
    text = (
        "## Votes\n\nHow often each output of the pre-trained network was the best match of a stem "
        "in a chunk of the validation songs. Channels without a vote are left out.\n\n"
    )
    voted = votes.loc[:, votes.sum() > 0]
    rows = [
        [stem, *(int(count) for count in row)]
        for stem, row in zip(voted.index, voted.to_numpy(), strict=True)
    ]
    table = markdown_table(["", *(f"channel {channel}" for channel in voted.columns)], rows)
    return text + table + (f"\n\n![Votes]({link(picture, out)})" if picture else "")


def _picture(title: str, picture: Path | None, out: str | Path, caption: str) -> str:
    return f"## {title}\n\n![{caption}]({link(picture, out)})" if picture else ""


def _how_to(recipe: str, experiments: list[Experiment]) -> str:
    rows = []
    for experiment in experiments:
        facts = experiment.facts
        command, config = facts["command"] or NOTHING, facts["config"]
        rows.append([facts["label"], code(command), code(config) if config else NOTHING])
    return (
        f"## How to reproduce\n\n{code(f'./egs/{recipe}/run.sh')} runs every stage. The commands behind the "
        "rows, from the recipe's folder:\n\n"
        + markdown_table(["", "command", "config"], rows, left=3)
    )


def environment() -> list[list[str]]:
    """Versions of Python and of the packages that the numbers depend on."""
    rows = [["python", platform.python_version()]]
    return rows + [[package, importlib.metadata.version(package)] for package in PACKAGES]


def _environment() -> str:
    return "## Environment\n\n" + markdown_table(["package", "version"], environment(), left=2)


def _cells(experiment: Experiment) -> set[tuple[str, str]]:
    return set(zip(experiment.scores.song, experiment.scores.stem, strict=True))


def decibels(value: float) -> str:
    """Format a score with two decimals, or ``-``."""
    return NOTHING if math.isnan(value) else f"{value:.2f}"


def fact_text(facts: dict, key: str) -> str:
    """Format one of :data:`FACTS`, with commas in large counts."""
    value = facts[key]
    if value is None:
        return NOTHING
    return f"{value:,}" if key in ("parameters", "steps") else str(value)
