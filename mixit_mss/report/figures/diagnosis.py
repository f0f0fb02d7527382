"""Figure of a diagnosis, as SVG: each output's share of the stems, and its content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from mixit_mss.files import atomic_path
from mixit_mss.report.figures.plain_text import name_in_legend, take_literally

COLOURS = colormaps["tab20"].colors[::2] + colormaps["tab20"].colors[1::2]  # type: ignore[attr-defined]


def draw_diagnosis(path: str | Path, summary: Mapping[str, Any], title: str) -> None:
    """Draw a row per output: left its shares of the stems, right its activity, content and level.

    A column with several dark cells is a stem spread over outputs; a bar of several colours is an
    output that mixes stems.

    Args:
        path: SVG to write.  The same input gives the same file.
        summary: what :func:`mixit_mss.diagnosis.songs.summarise` returns.
        title: heading, such as the network's name.
    """
    stems, outputs = summary["stems"], np.arange(summary["num_outputs"])
    width = (1.2 + 0.62 * len(stems), 4.2)
    height = 1.9 + 0.36 * len(outputs)
    with rc_context({"svg.hashsalt": "mixit_mss", "font.size": 9}):
        figure = Figure(figsize=(sum(width), height), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=width)
        _draw_shares(left, _matrix(summary["shares"], stems))
        contents = _matrix(summary["contents"], stems)
        bars = _draw_activity(right, contents, summary["activity"])
        for row, level in enumerate(summary["levels"]):
            text = f"{level:.0f} dB".replace("-", "\N{MINUS SIGN}")
            right.text(1.02, row, text, va="center", fontsize=8)
        turned = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        long = max(map(len, stems)) > 8
        left.set_xticks(range(len(stems)), stems, **(turned if long else {}))
        left.set_yticks(outputs, list(map(str, outputs)))
        left.set_ylabel("output")
        figure.suptitle(title, fontsize=10)
        place = {"loc": "outside lower center", "ncols": min(len(stems), 5), "frameon": False}
        name_in_legend(figure, bars, stems, **place)
        FigureCanvasSVG(figure)
        with atomic_path(path) as partial:
            take_literally(figure)
            figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})


def _draw_shares(axes: Axes, shares: np.ndarray) -> None:
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if abs(share) >= 0.005:
            colour = "white" if share > 0.6 else "black"
            text = f"{100 * share:.0f}".replace("-", "\N{MINUS SIGN}")
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_title("% of each stem", fontsize=9)


def _draw_activity(axes: Axes, contents: np.ndarray, activity: list[float]) -> list[BarContainer]:
    """Draw the share of chunks in which each output is active, split by its content."""
    bars = []
    rows = np.arange(len(activity))
    start = np.zeros(len(activity))
    for k in range(contents.shape[1]):
        part = np.nan_to_num(contents[:, k]) * np.asarray(activity)
        colour = COLOURS[k % len(COLOURS)]
        bars.append(axes.barh(rows, part, 0.7, left=start, color=colour))
        start += part
    # active, but similar to no stem
    axes.barh(rows, np.asarray(activity) - start, 0.7, left=start, color="0.85")
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 5), ["0", "25", "50", "75", "100"])
    axes.set_xlabel("% of chunks")
    axes.set_title("sounds, consists of, level relative to the mixture", fontsize=9)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return bars


def _matrix(columns: Mapping[str, list[float | None]], stems: list[str]) -> np.ndarray:
    """(source, stem), None as nan."""
    return np.array([columns[stem] for stem in stems], dtype=float).T
