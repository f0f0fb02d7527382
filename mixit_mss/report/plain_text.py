"""Songs and labels may be called anything, also ``Ke$ha - 100% $wag``, which is no formula."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.text import Text


def take_literally(figure: Figure) -> None:
    """Let all text of a figure that is about to be drawn be shown as it is, dollar signs too."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
