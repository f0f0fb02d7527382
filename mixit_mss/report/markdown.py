"""Markdown in which names from outside are shown literally.

A plain string is shown as it is; :class:`Marked` is our own Markdown.  The result contains no HTML,
and links only to the web and to files beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mixit_mss.names import printable

# an underscore within a word is literal in Markdown
_SPECIAL = re.compile(r"[\\`*\[\]~|]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\[([^]]*)\]\(([^)]*)\)")
_FOREIGN = re.compile(r"\s*(?!https?:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)


class Marked(str):
    """Our own Markdown, in which names are already :func:`literal` or :func:`code`."""


def literal(text: object) -> Marked:
    """Escape a name so that Markdown shows it literally, on one line."""
    return Marked(_SPECIAL.sub(r"\\\g<0>", _without_html(printable(text))))


def code(text: object) -> Marked:
    """Format a name as Markdown code, on one line."""
    text = printable(text)
    if re.search(r"[`<>&\\]", text) or not text.strip():
        return Marked(f"<code>{literal(text)}</code>")
    return Marked(f"`{text}`")


def marked(words: str) -> Marked:
    """Clean our own Markdown that contains arbitrary names: no HTML, no unsafe links."""
    parts, end = [], 0
    for span in _CODE.finditer(words):
        parts += [_safe(words[end : span.start()]), span[0]]
        end = span.end()
    return Marked("".join(parts) + _safe(words[end:]))


def table(header: Sequence[object], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """Make a Markdown table; the first ``left`` columns are text, the others right-aligned.

    Cells are shown literally unless they are :class:`Marked`; none can break out of its cell.
    """
    rule = [Marked("---" if i < left else "---:") for i in range(len(header))]
    cells = ([_cell(cell) for cell in line] for line in (header, rule, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def link(path: str | Path, out: str | Path) -> str:
    """Link target of a file, relative to the document ``out``."""
    relative = os.path.relpath(path, Path(out).absolute().parent)
    return quote(os.fsencode(Path(relative).as_posix()))


def _cell(cell: object) -> str:
    if isinstance(cell, Marked):
        return re.sub(r"(?<!\\)\|", r"\\|", printable(cell))
    return literal(cell)


def _safe(words: str) -> str:
    def without_bad_links(match: re.Match[str]) -> str:
        return match[1] if _FOREIGN.match(match[2]) else match[0]

    return (
        _without_html(_LINK.sub(without_bad_links, words))
        .replace("]:", "]\\:")
        .replace("![", "\\![")
    )


def _without_html(text: str) -> str:
    return re.sub("[&<>]", lambda match: _ENTITIES[match[0]], text)
