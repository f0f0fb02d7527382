"""Show labels literally in Matplotlib: ``Ke$ha - 100% $wag`` is not a formula."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text


def take_literally(figure: Figure) -> None:
    """Let all text of a figure that is about to be drawn be shown as it is, dollar signs too."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def name_in_legend(figure: Figure, handles: Iterable[Any], names: Iterable[str], **options) -> None:
    """Add a legend with names as they are: matplotlib leaves out those that begin with ``_``."""
    handles = list(handles)
    legend = figure.legend(handles, list(map(str, range(len(handles)))), **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
