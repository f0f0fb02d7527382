"""Show labels literally in Matplotlib: ``Ke$ha - 100% $wag`` is not a formula."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text


def take_literally(figure: Figure) -> None:
    """Show all text of a figure literally, including dollar signs; call it just before drawing."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def name_in_legend(figure: Figure, handles: Iterable[Any], names: Iterable[str], **options) -> None:
    """Add a legend with all names: matplotlib would skip those that begin with ``_``."""
    handles = list(handles)
    legend = figure.legend(handles, list(map(str, range(len(handles)))), **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
