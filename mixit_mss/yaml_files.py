"""Read YAML from outside safely: strings, numbers, lists and mappings only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mixit_mss.errors import UserError
from mixit_mss.limits import shown
from mixit_mss.reading import read_text

MAX_BYTES = 64 * 1024
MAX_ALIASES, MAX_VALUES, MAX_DEPTH, MAX_BASES = 20, 10_000, 8, 20
LARGEST = 2**63

PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")


class _Loader(yaml.SafeLoader):
    """Load plain types only: dates stay text, keys must be unique, and aliases are limited."""

    aliases = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MAX_ALIASES:
                mark = self.peek_event().start_mark
                raise yaml.constructor.ConstructorError(
                    None, None, f"more than {MAX_ALIASES} aliases", mark
                )
        return super().compose_node(parent, index)

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rsplit(":", 1)[-1]
            value = shown(node.value) if isinstance(node.value, str) else "this"
            raise yaml.constructor.ConstructorError(
                None, None, f"{value} cannot be read as {kind}", node.start_mark
            ) from error

    def construct_mapping(self, node, deep=False):
        names = [key.value for key, _ in getattr(node, "value", []) if key.tag.endswith(":str")]
        for name in names:
            if isinstance(name, str) and names.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {shown(name)} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rsplit(":", 1)[-1] in PLAIN
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if tag.rsplit(":", 1)[-1] in (*PLAIN, "merge")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping and merge it over its ``base``, section by section.

    Raises:
        UserError: the file is missing or not valid YAML, a value is not of a plain type, or a base
            refers back to itself.
    """
    return _read(Path(path), seen=())


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    try:
        path = path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if path in seen:
        raise UserError(f"{path}: its 'base' leads back to itself")
    if len(seen) > MAX_BASES:
        raise UserError(f"{path}: is the base of more than {MAX_BASES} files, one upon the other")
    content = _load(path)
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str) or not base.strip() or len(base) > 4000:
        raise UserError(f"{path}: key 'base' must name a file, got {shown(base)}")
    return _merge(_read(path.parent / base, (*seen, path)), content)


def _load(path: Path) -> dict[str, Any]:
    text = read_text(path, MAX_BYTES)
    try:
        content = yaml.load(text, _Loader)
        content = {} if content is None else content
        if not isinstance(content, dict):
            raise UserError(f"{path}: must hold keys and values, not a {type(content).__name__}")
        _check(path, content, "", [0])
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML ({_short(error)})") from error
    except RecursionError as error:
        raise UserError(f"{path}: is nested too deeply") from error
    return content


def _check(path: Path, value: object, key: str, count: list[int], depth: int = 0) -> None:
    """Check that all values are plain, and not too many once aliases are expanded."""
    count[0] += 1
    if count[0] > MAX_VALUES or depth > MAX_DEPTH:
        what = "holds too many values" if depth <= MAX_DEPTH else "is nested too deeply"
        raise UserError(f"{path}: {f'key {shown(key)} ' if key else ''}{what}")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise UserError(f"{path}: key {shown(name)} must be text; write it in quotes")
            _check(path, inner, f"{key}.{name}" if key else name, count, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(path, inner, key, count, depth + 1)
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise UserError(f"{path}: key {shown(key)}: a number of so many digits cannot be")


def _merge(base: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in delta.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _short(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= 300 else f"{words[:200]} ... {words[-80:]}"
