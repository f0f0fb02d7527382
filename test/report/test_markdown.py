"""What others have called something is shown as text, by a renderer that believes in Markdown and HTML."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from mixit_mss.report.document import Bullets, Grid, Heading, Picture, Text, markdown, page
from mixit_mss.report.markdown import Marked, code, link, literal, marked, table

NAMES = (
    *("plain", "with_under_score", "<script>alert(1)</script>", "<img src=x onerror=y>", "a|b"),
    *("[x](javascript:alert(1))", "![x](http://example.org/a.png)", "&lt;b&gt;", "**b** _i_ ~~s~~"),
    *("`code`", "``a` b", "\\", "a\\|b", "_first", "last_", "__init__", "<https://example.org>"),
    *("[a]: javascript:x", "*", "\\[x\\](y)", "Ke$ha - 100% $wag", "Beyonc\u00e9", "[x][y]", "|"),
)
SPECIAL = re.compile("[<>&*`\\[\\]\\\\|~]")


def rendered(text):
    return MarkdownIt("gfm-like", {"linkify": False}).render(text)


def words(text):
    """What a reader sees."""
    return html.unescape(re.sub(r"<[^>]*>", "", text)).strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is_and_is_nothing_else(name):
    assert rendered(f"Of {literal(name)}.") == f"<p>Of {html.escape(name)}.</p>\n"
    assert rendered(f"Of {code(name)}.") == f"<p>Of <code>{html.escape(name)}</code>.</p>\n"
    assert literal(name) == name or SPECIAL.search(name) or "_" in name
    cells = rendered(table([name, "n"], [[name, code(name)], [1.5, Marked("**2**")]]))
    assert re.findall("<t[hd][^>]*>(.*?)</t[hd]>", cells) == [
        *(html.escape(name), "n", html.escape(name), f"<code>{html.escape(name)}</code>"),
        *("1.5", "<strong>2</strong>"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_block_of_a_document_becomes_html_or_a_bad_link(name, tmp_path):
    picture = tmp_path / "a b).svg"
    picture.write_text("<svg></svg>")
    blocks = [Heading(name), Text(name), Bullets([name]), Grid([name], [[name]])]
    blocks.append(Picture(picture, name))
    texts = (rendered(markdown(blocks, tmp_path / "out.md")), page("x", blocks).split("<main>")[1])
    for text in texts:
        assert not re.search("<(script|img src=.x)|=.javascript:|href=.https://example", text)
    assert texts[0].count("<img") == 1
    assert 'src="a%20b%29.svg"' in texts[0]


def test_markdown_of_ours_stays():
    words = "`a < b` is **bold**, [near](../x) and [far](https://example.org), a < b & c"
    assert marked(words) == words.replace("a < b & c", "a &lt; b &amp; c")
    assert marked("[x](JavaScript:y) [z](data:text/html,x) [w](mailto:x)") == "x z w"


def test_links_to_files_of_any_name(tmp_path):
    assert link(tmp_path / "exp/a b.png", tmp_path / "R.md") == "exp/a%20b.png"
    assert link(Path("x/caf\udce9)%.png"), Path("y/R.md")) == "../x/caf%E9%29%25.png"


def test_names_stay_on_one_line():
    assert literal("a\nb\r") == "a%0Ab%0D" and "\n" not in code("a\n\nb")
