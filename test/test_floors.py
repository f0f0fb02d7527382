"""Imports point one way: a module imports from its own floor or from the floors below."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mixit_mss"
FLOORS = {
    "errors": 0,
    "files": 0,
    "hosts": 0,
    "imports": 0,
    "names": 0,
    "stamps": 0,
    "tables": 0,
    "limits": 0,
    "machine": 0,
    "reading": 0,
    "models": 1,
    "losses": 1,
    "evaluation": 2,
    "data": 2,
    "training": 3,
    "report": 3,
    "demo": 3,
    "bin": 4,
}
PURE = ("losses", "evaluation/metrics.py", "data/mixing.py")


def imports(path):
    """Names of the package's parts that the file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("mixit_mss."):
                yield name.split(".")[1]


def floor_of(path):
    return FLOORS[path.relative_to(PACKAGE).parts[0].removesuffix(".py")]


def test_every_part_has_a_floor():
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert parts - {"__init__"} == set(FLOORS)


def test_no_import_points_up():
    modules = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE]
    assert len(modules) > 30
    upward = [
        f"{path.relative_to(PACKAGE)} imports {part}"
        for path in modules
        for part in imports(path)
        if FLOORS[part] > floor_of(path)
    ]
    assert upward == []


def test_pure_mathematics_knows_no_file_and_no_arguments():
    for place in PURE:
        target = PACKAGE / place
        for path in [target] if target.suffix else target.glob("*.py"):
            assert not set(imports(path)) & {"files", "bin", "training"}, path
            assert "argparse" not in path.read_text(), path


def test_no_file_is_too_long():
    root = PACKAGE.parent
    files = [*PACKAGE.rglob("*.py"), *root.glob("egs/*/local/*.py"), *root.glob("utils/*.sh")]
    long = [str(path) for path in files if len(path.read_text().splitlines()) > 400]
    assert long == []
