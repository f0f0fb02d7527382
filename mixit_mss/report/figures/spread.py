"""Curves with error bars over seeds, as SVG: one or several panels side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from mixit_mss.files import atomic_path
from mixit_mss.report.figures.plain_text import name_in_legend, take_literally
from mixit_mss.report.seeds import Spread


@dataclass(frozen=True)
class Curve:
    """One curve: a value with its spread at every ``x``; ``style`` is a matplotlib style.

    ``across`` is the spread of ``x``, if that was measured too.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Spread]
    style: str = "-"
    colour: int = 0
    across: Sequence[Spread] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over a shared axis.

    Attributes:
        curves: at least one curve.
        x_label: label of the horizontal axis.
        y_label: label of the vertical axis.
        names: names of the positions 0, 1, ... on a categorical horizontal axis.
        log: make the horizontal axis logarithmic, with a tick at every position.
        level: value of a horizontal line, such as 0 dB.
    """

    curves: Sequence[Curve]
    x_label: str
    y_label: str
    names: Sequence[str] | None = None
    log: bool = False
    level: float | None = None


def draw_panels(path: str | Path, panels: Sequence[Panel], title: str = "") -> None:
    """Write one SVG; the same input gives the same file.

    Error bars are one standard deviation over the seeds in each direction, and absent for one seed.
    Curves with the same name in several panels share one legend entry.
    """
    with rc_context({"svg.hashsalt": "mixit_mss", "font.size": 9}):
        width = 0.6 + 3.6 * len(panels)  # inches
        figure = Figure(figsize=(width, 3.5), layout="constrained")
        entries: dict[str, Any] = {}
        for i, panel in enumerate(panels):
            for name, handle in _draw(figure.add_subplot(1, len(panels), i + 1), panel):
                entries.setdefault(name, handle)
        longest = 0.5 + 0.065 * max(map(len, entries), default=0)  # a line, its name and a gap
        columns = max(1, min(len(entries), int(width / longest)))
        name_in_legend(
            figure,
            entries.values(),
            entries.keys(),
            loc="outside lower center",
            ncols=columns,
            frameon=False,
        )
        if title:
            figure.suptitle(title, fontsize=10)
        FigureCanvasSVG(figure)
        with atomic_path(path) as partial:
            take_literally(figure)
            figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})


def _draw(axes: Axes, panel: Panel) -> list[tuple[str, Any]]:
    """Draw a panel; returns the name and the legend handle of each curve."""
    handles = []
    if panel.level is not None:
        axes.axhline(panel.level, color="0.6", linewidth=0.8)
    for curve in panel.curves:
        mean = np.array([value.mean for value in curve.y])
        bars: dict[str, Any] = {}
        if any(value.count > 1 for value in curve.y):
            bars["yerr"] = np.nan_to_num([value.std for value in curve.y])
        if curve.across is not None and any(value.count > 1 for value in curve.across):
            bars["xerr"] = np.nan_to_num([value.std for value in curve.across])
        look: dict[str, Any] = {
            "color": f"C{curve.colour}",
            "linestyle": curve.style,
            "marker": "o",
        }
        look |= {"markersize": 3.5, "linewidth": 1.4, "capsize": 2.5, "elinewidth": 0.9}
        handles.append((curve.name, axes.errorbar(curve.x, mean, **bars, **look)))
    if panel.log:
        places = sorted({x for curve in panel.curves for x in curve.x})
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([f"{place:g}" for place in places])
    if panel.names is not None:
        turned = max(map(len, panel.names)) > 7
        slope: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(panel.names)), panel.names, **(slope if turned else {}))
        axes.set_xlim(-0.4, len(panel.names) - 0.6)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(axis="y", alpha=0.35)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return handles
