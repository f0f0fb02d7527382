"""No name that somebody else gave becomes a path but through ``mixit_mss.names``.

Every place in the package is looked at where a path is put together: with ``/``, ``joinpath``,
``with_name``, ``os.path.join`` or a text such as ``f"{stem}.wav"``.  Where what is put in is called like
something that others name, it has to come from a function of :mod:`mixit_mss.names`, or stand in the list
below with the reason why it leads nowhere.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "song",
    "stem",
    "label",
    "split",
    "track",
    "member",
    "title",
    "name",
    "names",
    "filename",
}
DOORS = {"place", "file_name", "relative_path", "inside", "stored_path", "hexdigest", "len"}
# how many places, and why: what the package itself calls something, or finds in a listing of the disk
OURS = {
    "mixit_mss/band/render.py": (2, "kinds, numbers and stems of the package"),
    "mixit_mss/band/songs.py": (5, "kinds, numbers and stems of the package"),
    "mixit_mss/failures.py": (2, "names of our own reports"),
    "mixit_mss/bin/score.py": (1, "the user's own --out"),
    "mixit_mss/fetch/archives.py": (
        8,
        "names of the two published corpora, from a table in the code",
    ),
    "mixit_mss/corpora/fma.py": (4, "small, medium, large, full; numbers of tracks"),
    "mixit_mss/corpora/folder.py": (6, "reads what a listing of the disk has"),
    "mixit_mss/corpora/musdb18hq.py": (2, "reads what a listing of the disk has"),
    "mixit_mss/preparation/corpus.py": (1, "prunes what a listing of the disk has"),
    "mixit_mss/disk.py": (1, "counts what a listing of the disk has"),
    "mixit_mss/fetch/download.py": (1, "beside the archive"),
    "mixit_mss/fetch/extraction.py": (
        4,
        "members were refused unless they stay inside; reads and sweeps",
    ),
    "mixit_mss/preparation/joining.py": (1, "a song's name, no path"),
    "mixit_mss/preparation/leaks.py": (1, "looks a journal's paths up in a table"),
    "mixit_mss/data/manifest.py": (2, "the user's own path of a manifest"),
    "mixit_mss/fetch/partial.py": (2, "beside the archive"),
    "mixit_mss/separation/demo.py": (1, "a file of output_files"),
    "mixit_mss/selection/channel_votes.py": (1, "a division"),
    "mixit_mss/separation/delivery.py": (5, "names made by output_files"),
    "mixit_mss/separation/stream.py": (1, "names made by output_files"),
    "mixit_mss/names.py": (2, "the door itself"),
    "mixit_mss/report/page.py": (1, "templates of the package"),
    "mixit_mss/stamps.py": (2, "reads what a stamp lists: sizes of files"),
    "mixit_mss/training/records.py": (4, "run.json, history.csv, bad_batches.csv"),
    "mixit_mss/training/trainer.py": (1, "digits of a digest"),
    "mixit_mss/yaml_files.py": (1, "a key of a configuration"),
}


def called(node):
    function = node.func
    return getattr(function, "attr", getattr(function, "id", ""))


def outside_words(node):
    """Words of OUTSIDE in an expression, but for what went through a door."""
    if isinstance(node, ast.Name):
        return {node.id} & OUTSIDE
    if isinstance(node, ast.Attribute):  # the path of a track is no name
        return {node.attr} & OUTSIDE
    if isinstance(node, ast.Subscript):
        return outside_words(node.value)
    parts = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Call):
        if called(node) in DOORS:
            return set()
        parts = [*node.args, getattr(node.func, "value", node.func)]
    return set().union(*map(outside_words, parts))


def looks_like_a_path(text):
    """A literal with a variable next to a slash, or before a suffix."""
    plain = "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in text.values)
    return re.search(r"\0/[\0\w]|\w/\0(?!\w* )|\0\.\w{2,5}$|\0\.\0$", plain) and " " not in plain


def is_constant(node):
    """A literal or a name in capitals, or a list of such."""
    if isinstance(node, (ast.Tuple, ast.List)):
        return all(map(is_constant, node.elts))
    if isinstance(node, ast.Starred):
        return is_constant(node.value)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.isupper())


def own_words(function):
    """Words of OUTSIDE that a function uses for nothing but our own constants, one after another."""
    loops = [node for node in ast.walk(function) if isinstance(node, (ast.For, ast.comprehension))]
    known = {word: [] for word in OUTSIDE}
    for loop in loops:
        for target in ast.walk(loop.target):
            if isinstance(target, ast.Name) and target.id in OUTSIDE:
                known[target.id].append(is_constant(loop.iter))
    arguments = {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
    return {word for word, loops in known.items() if loops and all(loops)} - arguments


def joined(tree):
    """(line, path) of every path that is put together with words of others."""
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    for part in (*functions, *(node for node in tree.body if node not in functions)):
        ours = own_words(part)
        yield from ((line, path) for line, path, words in joins_in(part) if words - ours)


def joins_in(tree):
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts = [node.right]
        elif isinstance(node, ast.Call) and called(node) in ("joinpath", "with_name", "with_stem"):
            parts = node.args
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "os.path.join":
            parts = node.args[1:]
        elif isinstance(node, ast.JoinedStr) and looks_like_a_path(node):
            parts = [node]
        words = set().union(*map(outside_words, parts))
        if words:
            yield node.lineno, ast.unparse(node), words


def found(path):
    return list(joined(ast.parse(path.read_text())))


def modules():
    return [path.relative_to(ROOT).as_posix() for path in (ROOT / "mixit_mss").rglob("*.py")]


@pytest.mark.parametrize("module", sorted(modules()))
def test_names_of_others_go_through_the_door(module):
    joins, (known, _) = found(ROOT / module), OURS.get(module, (0, ""))
    assert len(joins) <= known, joins


def test_the_list_of_exceptions_is_no_longer_than_it_must_be():
    assert [module for module in OURS if not found(ROOT / module)] == []


@pytest.mark.parametrize(
    "line",
    [
        'folder / f"{stem}.wav"',
        "Path(out) / song.name",
        'f"audio/{song.name}.{store}"',
        "os.path.join(out, row.song)",
        'path.with_name(label + ".svg")',
        "folder / (title or 'x')",
        'f"{song}/{printable(stem)}.flac"',
        "folder.joinpath(member.name)",
        "for name in table: folder / name",
    ],
)
def test_what_would_be_found(line):
    assert list(joined(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        'place(folder, song.name, ".wav")',
        'folder / f"{file_name(stem)}.wav"',
        'f"{song}: {stem} has no score"',
        "total / tracks",
        "for name in (CONFIG, 'x'): folder / name",
    ],
)
def test_what_would_not(line):
    assert not list(joined(ast.parse(line)))
