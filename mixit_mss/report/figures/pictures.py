"""Figures of a report, as PNG: spectrograms of a song, votes for channels, scores, losses.

The same input gives the same files: they record neither machine nor time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mixit_mss.files import atomic_path
from mixit_mss.report.figures.plain_text import name_in_legend, take_literally
from mixit_mss.report.figures.power import LOWEST_HZ, RANGE_DB, power_image


def draw_spectrograms(
    path: str | Path,
    mixture: np.ndarray,
    references: Mapping[str, np.ndarray],
    estimates: Mapping[str, np.ndarray],
    sample_rate: int,
    title: str,
) -> None:
    """Draw the mixture on top, and below it each stem's reference (left) and estimate (right).

    Args:
        path: PNG to write.
        mixture: (channel, sample), full scale 1.
        references: stem -> (channel, sample).
        estimates: stem -> (channel, sample), the same stems.
        sample_rate: Hz.
        title: title of the figure, such as the song's name.

    All panels share one colour scale, in dB relative to the mixture's loudest bin.
    """
    figure = Figure(figsize=(11, 2.2 * (len(references) + 1)), layout="constrained")
    grid = figure.add_gridspec(len(references) + 1, 2)
    loudest = max(power_image(mixture, sample_rate).max(), 1e-12)
    image = _spectrogram(figure.add_subplot(grid[0, :]), mixture, sample_rate, loudest, "mixture")
    for row, stem in enumerate(references, start=1):
        for column, (kind, signals) in enumerate([("", references), (", estimate", estimates)]):
            axes = figure.add_subplot(grid[row, column])
            _spectrogram(axes, signals[stem], sample_rate, loudest, stem + kind)
            if row == len(references):
                axes.set_xlabel("seconds")
            axes.label_outer()
    figure.colorbar(
        image, ax=figure.axes, label="dB relative to the mixture's loudest bin", fraction=0.03
    )
    figure.suptitle(title)
    _save(figure, path)


def draw_votes(path: str | Path, votes: pd.DataFrame, chosen: Mapping[str, int]) -> None:
    """Draw a heat map of votes: a row per stem, a column per channel, the chosen cells framed.

    Args:
        path: PNG to write.
        votes: counts, index = stems, columns = channels.
        chosen: stem -> its channel.
    """
    figure = Figure(figsize=(1.6 + 0.55 * votes.shape[1], 1.2 + 0.55 * votes.shape[0]))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    counts = votes.to_numpy()
    image = axes.imshow(counts, cmap="Blues", vmin=0, aspect="equal")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(int(count)), ha="center", va="center", color=colour)
    channels = [int(channel) for channel in votes.columns]
    for row, stem in enumerate(votes.index):
        corner = (channels.index(chosen[stem]) - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="crimson", linewidth=2.5))
    axes.set_xticks(range(len(channels)), list(map(str, channels)))
    axes.set_yticks(range(len(votes.index)), votes.index)
    axes.set_xlabel("output channel (framed: chosen)")
    figure.colorbar(image, label="chunks", fraction=0.03)
    _save(figure, path)


def draw_scores(path: str | Path, summaries: Mapping[str, pd.Series], unit: str) -> None:
    """Draw horizontal bars: for every experiment one per stem, and one for their average.

    Args:
        path: PNG to write.
        summaries: row title -> score per stem, then ``average``; the first row is at the top.
        unit: label of the axis.
    """
    names = list(next(iter(summaries.values())).index)
    height = 0.8 / len(names)
    figure = Figure(figsize=(9, 0.6 + 0.17 * len(names) * len(summaries)), layout="constrained")
    axes = figure.add_subplot()
    rows, bars = np.arange(len(summaries)), []
    for i, name in enumerate(names):
        values = [summary[name] for summary in summaries.values()]
        colour = "black" if name == "average" else None
        places = rows + (i - (len(names) - 1) / 2) * height
        bars.append(axes.barh(places, values, height, color=colour))
    axes.set_yticks(rows, list(summaries))
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.4)
    axes.set_xlabel(unit)
    name_in_legend(figure, bars, names, loc="outside upper center", ncols=len(names))
    _save(figure, path)


def draw_curves(path: str | Path, histories: Mapping[str, pd.DataFrame]) -> None:
    """Plot losses, validation uSDR and learning rate against steps, in a column of panels.

    Args:
        path: PNG to write.
        histories: title -> table of :func:`~mixit_mss.report.history.read_history`.  A quantity
            in no table gets no panel; training losses are thin lines.
    """
    panels = {
        "loss (dB; thin: training)": {"val_loss": "o-", "train_loss": "-"},
        "uSDR (dB), validation": {"val_usdr": "o-"},
        "learning rate": {"lr": "-"},
    }
    panels = {
        label: columns
        for label, columns in panels.items()
        if any(table[name].notna().any() for table in histories.values() for name in columns)
    }
    figure = Figure(figsize=(9, 0.6 + 2.7 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False).ravel()
    for axes, (label, columns) in zip(grid, panels.items(), strict=True):
        for i, table in enumerate(histories.values()):
            for name, style in columns.items():
                known = table[table[name].notna()]
                thin = {"linewidth": 0.8, "alpha": 0.7} if name == "train_loss" else {}
                axes.plot(known.step, known[name], style, color=f"C{i}", markersize=3, **thin)
        axes.set_ylabel(label)
        axes.grid(alpha=0.4)
    grid[-1].set_xlabel("step")
    lines = [Line2D([], [], color=f"C{i}") for i in range(len(histories))]
    width = max(90 // (8 + max(map(len, histories))), 1)
    name_in_legend(figure, lines, histories, loc="outside upper center", ncols=width)
    _save(figure, path)


def _spectrogram(
    axes: Axes, signal: np.ndarray, sample_rate: int, loudest: float, title: str
) -> AxesImage:
    """Draw one panel; its vertical axis is in octaves above the lowest frequency shown."""
    octaves = math.log2(sample_rate / 2 / LOWEST_HZ)
    image = axes.imshow(
        10 * np.log10(power_image(signal, sample_rate) / loudest + 1e-12),
        vmin=-RANGE_DB,
        vmax=0,
        cmap="magma",
        aspect="auto",
        extent=(0, signal.shape[-1] / sample_rate, 0, octaves),
    )
    axes.set_title(title, fontsize=10)
    kilohertz = [tick for tick in (0.1, 0.5, 1, 2, 4, 8, 16) if tick < sample_rate / 2000]
    axes.set_yticks(
        [math.log2(1000 * tick / LOWEST_HZ) for tick in kilohertz], [f"{t:g}" for t in kilohertz]
    )
    axes.set_ylabel("kHz")
    return image


def _save(figure: Figure, path: str | Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_path(path) as partial:
        take_literally(figure)
        figure.savefig(partial, dpi=110, format="png", metadata={"Software": None})
