"""Curves over seeds: nothing of a figure is cut off, and equal input gives an equal file."""

from __future__ import annotations

import pytest

from mixit_mss.report.figures import spread as spread_figure
from mixit_mss.report.figures.spread import Curve, Panel, draw_panels
from mixit_mss.report.seeds import spread

SCORES = [spread([1.0, 2.0, 4.0]), spread([3.0, 3.5, 4.0])]


def panels(names, count):
    curves = [Curve(name, (1, 2), SCORES, colour=i) for i, name in enumerate(names)]
    return [Panel(curves, "steps", "dB")] * count


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "names", [["a", "b", "c", "d", "e"], ["from scratch, separator frozen"] * 5]
)
def test_the_legend_stays_within_the_figure(tmp_path, monkeypatch, names, count):
    made = []

    class Figure(spread_figure.Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(spread_figure, "Figure", Figure)
    names = [f"{name} {i}" for i, name in enumerate(names)]
    draw_panels(tmp_path / "a.svg", panels(names, count))
    legend = made[0].legends[0].get_window_extent()
    assert len(made[0].legends[0].get_texts()) == 5
    assert legend.x0 >= 0 and legend.x1 <= made[0].bbox.width


def test_equal_input_gives_equal_files(tmp_path):
    for name in "ab":
        draw_panels(tmp_path / f"{name}.svg", panels(["one", "two"], 1), "title")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
