"""Small charts as inline SVG, in the page's light and dark colours.

Charts are 360 units wide, so that their text is readable on a phone, and scale up.  Colours are
the page's ``var(--c0)``, ``var(--c1)``, ...; text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

WIDTH = 360
NUM_COLOURS = 8
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 24, 34  # margins of a line chart


@dataclass(frozen=True)
class Line:
    """One curve: ``x`` and ``y`` of equal length, without nan; ``colour`` is an index from 0."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dots: bool = False


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, height: int = 220) -> Markup:
    """Draw curves over a shared axis: thick with ``dots``, thin without."""
    xs = np.concatenate([line.x for line in lines]).astype(float)
    ys = np.concatenate([line.y for line in lines]).astype(float)
    x_ticks, y_ticks = _ticks(xs, 5), _ticks(ys, 5)
    across = _scale(min(xs.min(), x_ticks[0]), max(xs.max(), x_ticks[-1]), LEFT, WIDTH - RIGHT)
    up = _scale(y_ticks[0], y_ticks[-1], height - BOTTOM, TOP)
    parts = []
    for tick in y_ticks:
        y = up(tick)
        parts.append(_tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(_text(_number(tick), LEFT - 6, y + 4, anchor="end"))
    for tick in x_ticks:
        parts.append(_text(_number(tick), across(tick), height - BOTTOM + 15, anchor="middle"))
    parts.append(_text(x_label, (LEFT + WIDTH - RIGHT) / 2, height - 4, anchor="middle"))
    parts.append(_text(y_label, LEFT, 11))
    for line in lines:
        points = [(across(x), up(y)) for x, y in zip(line.x, line.y, strict=True)]
        kind = f"curve {'strong' if line.dots else 'thin'}"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(_tag("polyline", points=path, class_=kind, style=_colour(line.colour)))
        if line.dots:
            for (x, y), step, value in zip(points, line.x, line.y, strict=True):
                title = f"{line.name}, {x_label} {step:g}: {value:.2f}"
                parts.append(
                    _tag("circle", _title(title), cx=x, cy=y, r=3, style=_colour(line.colour))
                )
    names = ", ".join(line.name for line in lines)
    return _svg(parts, height, f"{y_label} over {x_label}: {names}")


def box_plot(
    rows: Sequence[tuple[str, pd.Series]], limits: tuple[float, float], what: str
) -> Markup:
    """Draw horizontal boxes: median, quartiles, whiskers to the furthest song within 1.5 boxes.

    Args:
        rows: title, and a score in dB for every song (index = song; nan is skipped).
        limits: lowest and highest score of all charts to be compared.
        what: description of the chart.
    """
    ticks = _ticks(np.array(limits), 6)
    across = _scale(ticks[0], ticks[-1], 12, WIDTH - 16)
    step, top = 44, 4
    height = top + step * len(rows) + 22
    parts = []
    for tick in ticks:
        kind = "zero" if tick == 0 else "grid"
        x = across(tick)
        parts.append(_tag("line", x1=x, x2=x, y1=top, y2=height - 20, class_=kind))
        parts.append(_text(_number(tick), x, height - 6, anchor="middle"))
    for i, (title, scores) in enumerate(rows):
        values = scores.dropna()
        parts.append(_text(title, 12, top + i * step + 13, class_="row"))
        if len(values):
            parts += _box(values, across, top + i * step + 29, i)
    return _svg(parts, height, what)


def _box(values: pd.Series, across, y: float, colour: int) -> list[Markup]:
    low, median, high = np.percentile(values, [25, 50, 75])
    inside = values[(values >= low - 1.5 * (high - low)) & (values <= high + 1.5 * (high - low))]
    style = _colour(colour)
    left, right = across(low), across(high)
    parts = [
        _tag(
            "line", x1=across(inside.min()), x2=across(inside.max()), y1=y, y2=y, class_="whisker"
        ),
        _tag(
            "rect",
            _title(f"median {median:.2f} dB, quartiles {low:.2f} and {high:.2f} dB"),
            x=left,
            y=y - 9,
            width=max(right - left, 0.5),
            height=18,
            rx=3,
            class_="box",
            style=style,
        ),
    ]
    for song, value in values.items():
        title = _title(f"{song}: {value:.2f} dB")
        parts.append(_tag("circle", title, cx=across(value), cy=y, r=2.6, style=style))
    x = across(median)
    parts.append(_tag("line", x1=x, x2=x, y1=y - 9, y2=y + 9, class_="median"))
    return parts


def heat_map(counts: pd.DataFrame, chosen: Mapping[str, int]) -> Markup:
    """Draw votes as cells: a row per stem, a column per output channel, the chosen cells framed."""
    cell, top = 30, 6
    left = 20 + 7 * max(len(str(stem)) for stem in counts.index)
    width = left + cell * counts.shape[1] + 6
    height = top + cell * counts.shape[0] + 34
    most = max(int(counts.to_numpy().max()), 1)
    parts = []
    for i, stem in enumerate(counts.index):
        y = top + i * cell
        parts.append(_text(stem, left - 8, y + cell / 2 + 4, anchor="end"))
        for j, channel in enumerate(counts.columns):
            count = int(counts.iloc[i, j])
            box: dict[str, Any] = {
                "x": left + j * cell + 1.5,
                "y": y + 1.5,
                "width": cell - 3,
                "height": cell - 3,
            }
            title = _title(f"{stem}, channel {channel}: {count} chunks")
            share = count / most
            parts.append(
                _tag("rect", title, **box, rx=4, class_="cell", style=f"--share:{share:.3f}")
            )
            if chosen.get(stem) == int(channel):
                parts.append(_tag("rect", **box, rx=4, class_="chosen"))
            if count:
                kind = "count high" if share > 0.5 else "count"
                x = left + (j + 0.5) * cell
                parts.append(_text(count, x, y + cell / 2 + 4, anchor="middle", class_=kind))
    for j, channel in enumerate(counts.columns):
        parts.append(_text(int(channel), left + (j + 0.5) * cell, height - 20, anchor="middle"))
    middle = left + cell * counts.shape[1] / 2
    parts.append(_text("output channel", middle, height - 4, anchor="middle"))
    kept = ", ".join(f"{stem}: channel {channel}" for stem, channel in chosen.items())
    return _svg(parts, height, f"Votes for output channels; chosen {kept}", width)


def _ticks(values: np.ndarray, number: int) -> Sequence[float]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 1, high + 1
    return MaxNLocator(number, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)


def _scale(low: float, high: float, start: float, end: float):
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _number(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e4:
        exponent = math.floor(math.log10(abs(value)))
        return f"{value / 10**exponent:g}e{exponent}".replace("-", "\N{MINUS SIGN}")
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _colour(index: int) -> str:
    return f"--c:var(--c{index % NUM_COLOURS})"


def _text(content: object, x: float, y: float, anchor: str = "start", **attributes) -> Markup:
    return _tag("text", escape(content), x=x, y=y, text_anchor=anchor, **attributes)


def _title(content: str) -> Markup:
    return _tag("title", escape(content))


def _tag(name: str, content: Markup | str = "", **attributes: object) -> Markup:
    """Make an element; ``class_`` and ``text_anchor`` become ``class`` and ``text-anchor``."""
    words = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"),
            f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value,
        )
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, words, content)


def _svg(parts: list[Markup], height: float, label: str, width: int = WIDTH) -> Markup:
    return _tag(
        "svg",
        Markup("").join(parts),
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        xmlns="http://www.w3.org/2000/svg",
    )
