"""Names in figures are shown as they are, also those that matplotlib takes for something else."""

from __future__ import annotations

import pandas as pd
import pytest

from mixit_mss.report.figures import diagnosis as diagnosis_figure
from mixit_mss.report.figures import pictures as figures
from mixit_mss.report.figures import plain_text
from mixit_mss.report.figures import spread as spread_figure
from mixit_mss.report.figures.spread import Curve, Panel, draw_panels
from mixit_mss.report.seeds import spread

NAMES = ["_first", "__init__", "Ke$ha - 100% $wag", "<b>&", "plain"]


@pytest.fixture
def made(monkeypatch):
    """The figures that are drawn."""
    drawn = []

    def remember(figure):
        drawn.append(figure)
        plain_text.take_literally(figure)

    for module in (figures, spread_figure, diagnosis_figure):
        monkeypatch.setattr(module, "take_literally", remember)
    return drawn


def in_legend(figure):
    figure.draw_without_rendering()
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts() if text.get_visible()]


def test_bars_of_scores(tmp_path, made):
    summary = pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 3.0], index=[*NAMES, "average"])
    figures.draw_scores(tmp_path / "a.png", {"_row": summary, "other": summary}, "dB")
    assert in_legend(made[0]) == [*NAMES, "average"]
    labels = [text.get_text() for text in made[0].axes[0].get_yticklabels()]
    assert labels == ["_row", "other"]


def test_curves_of_trainings(tmp_path, made):
    table = pd.DataFrame({"step": [1.0, 2.0], "train_loss": [1.0, 2.0]})
    table[["val_loss", "val_usdr", "lr"]] = float("nan")
    figures.draw_curves(tmp_path / "a.png", dict.fromkeys(NAMES, table))
    assert in_legend(made[0]) == NAMES


def test_curves_with_error_bars(tmp_path, made):
    curves = [Curve(name, [1, 2], [spread([1, 2]), spread([2, 3])]) for name in NAMES]
    draw_panels(tmp_path / "a.svg", [Panel(curves, "x", "y"), Panel(curves[:2], "x", "y")])
    assert in_legend(made[0]) == NAMES


def test_bars_of_a_diagnosis(tmp_path, made):
    one = {name: [0.5, 0.5] for name in NAMES}
    summary = {"stems": NAMES, "num_outputs": 2, "shares": one, "contents": one}
    summary |= {"activity": [1.0, 0.5], "levels": [-3.0, -6.0]}
    diagnosis_figure.draw_diagnosis(tmp_path / "a.svg", summary, "_title $x$")
    assert in_legend(made[0]) == NAMES
