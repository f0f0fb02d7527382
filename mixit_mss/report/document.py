"""A document of headings, paragraphs, tables and figures, written as Markdown and as HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup, escape

from mixit_mss.names import printable
from mixit_mss.report.markdown import link, literal, marked, table


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    words: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph with `code`, **bold** and [links](to) as in Markdown, but no HTML."""

    words: str


@dataclass(frozen=True)
class Bullets:
    """A list of paragraphs."""

    items: list[str]


@dataclass(frozen=True)
class Grid:
    """A table; its first ``left`` columns are text."""

    header: list[str]
    rows: list[list[str]]
    left: int = 1


@dataclass(frozen=True)
class Picture:
    """An SVG figure with its caption."""

    path: Path
    caption: str


Block = Heading | Text | Bullets | Grid | Picture


def markdown(blocks: Sequence[Block], out: str | Path) -> str:
    """Render the document as Markdown for the file ``out``, with links to the figures."""
    return "\n\n".join(_as_markdown(block, Path(out)) for block in blocks) + "\n"


def page(title: str, blocks: Sequence[Block]) -> str:
    """Render the document as one HTML page with inline figures, which loads and runs nothing."""
    style = (files("mixit_mss.report") / "templates/page.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True).from_string(_PAGE)
    body = Markup("\n").join(_as_html(block) for block in blocks)
    return template.render(title=title, style=Markup(style), body=body)


def _as_markdown(block: Block, out: Path) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {printable(marked(block.words))}"
    if isinstance(block, Text):
        return marked(block.words)
    if isinstance(block, Bullets):
        return "\n".join(f"- {marked(item)}" for item in block.items)
    if isinstance(block, Grid):
        rows = [list(map(marked, row)) for row in block.rows]
        return table(list(map(marked, block.header)), rows, block.left)
    return f"![{literal(block.caption)}]({link(block.path, out)})"


def _as_html(block: Block) -> Markup:
    if isinstance(block, Heading):
        return Markup("<h{0}>{1}</h{0}>").format(block.level, block.words)
    if isinstance(block, Text):
        return Markup("<p>{}</p>").format(_inline(block.words))
    if isinstance(block, Bullets):
        items = (Markup("<li>{}</li>").format(_inline(item)) for item in block.items)
        return Markup("<ul>{}</ul>").format(Markup("").join(items))
    if isinstance(block, Grid):
        head = Markup("").join(
            _cell("th", cell, i, block.left) for i, cell in enumerate(block.header)
        )
        rows = Markup("").join(
            Markup("<tr>{}</tr>").format(
                Markup("").join(_cell("td", cell, i, block.left) for i, cell in enumerate(row))
            )
            for row in block.rows
        )
        frame = '<div class="scroll tabled wide" tabindex="0"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
        return Markup(frame).format(head, rows)
    drawing = block.path.read_text(encoding="utf-8")
    svg = Markup(drawing[drawing.index("<svg") :])  # made here, by matplotlib
    frame = '<figure class="card picture">{}<figcaption>{}</figcaption></figure>'
    return Markup(frame).format(svg, block.caption)


def _cell(tag: str, cell: str, column: int, left: int) -> Markup:
    kind = Markup(' class="words"') if column < left else Markup("")
    return Markup("<{0}{1}>{2}</{0}>").format(tag, kind, _inline(cell))


def _inline(words: str) -> Markup:
    """Convert Markdown code, bold and links to HTML; links that are not to the web become text."""
    text = str(escape(words))
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"\[([^]]+)\]\((https?://[^)\s]+)\)", r'<a href="\2">\1</a>', text)
    return Markup(re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text))


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="mixit-mss">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>
{{ style }}
.picture { background: #fff; color: #1d1f24; }
.picture svg { max-width: 100%; height: auto; }
</style>
</head>
<body>
<main>
{{ body }}
</main>
</body>
</html>
"""
