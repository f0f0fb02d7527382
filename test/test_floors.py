"""Imports point one way: a module imports from its own floor or from the floors below."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mixit_mss"
FLOORS = (
    "disk errors failures files imports limits machine names parallel progress reading stamps tables yaml_files",
    "losses",
    "models audio fetch band",
    "corpora data",
    "selection separation preparation",
    "scoring diagnosis",
    "training",
    "report cost checks cluster",
    "bin",
)
FLOOR_OF = {part: number for number, parts in enumerate(FLOORS) for part in parts.split()}
PURE = ("losses", "models", "scoring/metrics.py", "data/mixing.py", "diagnosis/grouping.py")
OUTSIDE = {"files", "names", "tables", "bin", "training", "data", "audio"}
FILES_OF_A_ROOM = 15  # "about a dozen"; commands are as many as there are
MOST_LINES = 400


def imports(path):
    """Names of the package's parts that the file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "mixit_mss":
            names = [f"mixit_mss.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("mixit_mss.") and name != "mixit_mss.__version__":
                yield name.split(".")[1]


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules():
    found = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]
    assert len(found) > 100
    return found


def test_every_part_has_a_floor():
    assert {part_of(path) for path in modules()} == set(FLOOR_OF)
    assert sorted(FLOOR_OF) == sorted(" ".join(FLOORS).split())


def test_no_import_points_up():
    upward = [
        f"{path.relative_to(PACKAGE)} imports {part}"
        for path in modules()
        for part in imports(path)
        if FLOOR_OF[part] > FLOOR_OF[part_of(path)]
    ]
    assert upward == []


def test_no_circle_between_rooms():
    graph = defaultdict(set)
    for path in modules():
        graph[part_of(path)] |= set(imports(path)) - {part_of(path)}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FLOOR_OF)


def test_pure_mathematics_knows_no_file_and_no_arguments():
    for place in PURE:
        target = PACKAGE / place
        for path in [target] if target.suffix else target.glob("*.py"):
            assert not set(imports(path)) & OUTSIDE, path
            assert "argparse" not in path.read_text(), path


def test_a_room_is_what_one_person_keeps_in_mind():
    lines = {path: len(path.read_text().splitlines()) for path in modules()}
    rooms, files = defaultdict(int), defaultdict(int)
    for path, length in lines.items():
        rooms[part_of(path)] += length
        files[path.parent] += path.name != "__init__.py"
    del files[PACKAGE / "bin"]
    assert max(files.values()) <= FILES_OF_A_ROOM, files
    assert max(rooms.values()) < sum(lines.values()) / 8, rooms


def test_no_file_is_too_long():
    root = PACKAGE.parent
    files = [*PACKAGE.rglob("*.py"), *root.glob("egs/*/local/*.py"), *root.glob("utils/*.sh")]
    long = [str(path) for path in files if len(path.read_text().splitlines()) > MOST_LINES]
    assert long == []


def test_no_name_stutters():
    stutters = [
        str(path.relative_to(PACKAGE))
        for path in modules()
        if path.parent.name in path.stem.split("_")
    ]
    assert stutters == []
