"""Broken YAML and JSON: values of other types and sizes, and files that are none."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml

from test.robustness import calls
from test.robustness.mutations import NAMES, NUMBERS, PATHS, Generator, break_bytes, encode, pick
from test.robustness.sandbox import Call, Sandbox

WITH_YAML = ("plan", "check", "check", *("pretrain",) * 5, *("finetune",) * 4)
LONG = ("epochs", "steps_per_epoch", "validation_chunks", "chunk_seconds")
"""What makes a training long, as it should: such configs are planned, not followed."""
WITH_JSON = (
    *("separate",) * 3,
    *("report",) * 3,
    *("separate_again",) * 3,
    *("segment_again",) * 3,
)
WITH_JSON += ("diagnose", "select_channels", "resume", "load_model", "load_model", "finetune")
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        7,
        64,
        4000,
        100_000,
        10**6,
        10**9,
        2**31,
        2**63,
        2**64,
        10**20,
    ),
    *(
        0.5,
        -0.0,
        1e-320,
        1e308,
        1e-9,
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        "x",
        "12",
        "1e-3",
    ),
    *(
        [],
        {},
        [1],
        [[]],
        [None],
        {"a": 1},
        [1] * 1000,
        ["low"],
        ["low", "low"],
        ["a", "b"],
        [["a"], ["b"]],
    ),
    *(
        {"low": "high"},
        [1, 2],
        [-1, 65],
        [65],
        [0.1, 0.9],
        [2.0, 3.0],
        "medium",
        "bs_roformer",
        "auto",
    ),
)
LAYERS = {
    "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]\n"
        for p, n in zip("abcdefghi", "bcdefghij", strict=True)
    ),
    "deep flow": "[" * 20_000,
    "deep map": "{a: " * 3000,
    "deep block": "\n".join(" " * n + "a:" for n in range(500)),
    "itself": "&a [*a]",
    "itself in a map": "a: &a\n  run: *a\nrun: *a\n",
    "code": "!!python/object/apply:os.system ['touch pwned']",
    "tag": "run: !!binary x\n",
    "set": "run: !!set {a, b}\n",
    "date": "run: {epochs: 2024-99-99}\n",
    "another date": "optimizer: {lr: 2024-01-01}\n",
    "octal": "num_outputs: 0o17\n",
    "sexagesimal": "num_outputs: 1:99:99\n",
    "digits": f"num_outputs: {'9' * 5000}\n",
    "float digits": f"optimizer: {{lr: {'9' * 5000}.0}}\n",
    "integer key": "1: 2\n",
    "null key": "~: 2\n",
    "list key": "? [a, b]\n: 2\n",
    "map key": "? {a: b}\n: 2\n",
    "twice": "run: {epochs: 1}\nrun: {epochs: 2}\n",
    "documents": "a: 1\n---\nb: 2\n",
    "list": "- a\n- b\n",
    "word": "word\n",
    "number": "1\n",
    "tab": "\ta: 1\n",
    "nul": "a: \0\n",
    "merge": "<<: 1\n",
    "merge of itself": "a: &a\n  <<: *a\n",
    "anchor": "a: *nowhere\n",
    "nothing": "",
}


def paths_of(content: Any, here: tuple = ()) -> list[tuple]:
    """Every place in a nest of maps and lists."""
    if not isinstance(content, (dict, list)):
        return [here]
    items = content.items() if isinstance(content, dict) else enumerate(content)
    return ([here] if here else []) + [
        p for key, value in items for p in paths_of(value, (*here, key))
    ]


def replaced(content: Any, path: tuple, value: Any) -> Any:
    """A copy with another value at a place."""
    if not path:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


def break_nest(content: Any, generator: Generator) -> tuple[Any, str]:
    """Another value at one place, a key less, or a key more."""
    path = pick(generator, paths_of(content) or [()])
    draw = generator.random()
    if draw < 0.2 and path:
        outer = content
        for key in path[:-1]:
            outer = outer[key]
        if isinstance(outer, dict):
            value = outer.pop(path[-1])
            if draw < 0.1:
                return content, f"without {path[-1]}"
            name = pick(generator, (*NAMES, *PATHS))
            outer[name] = value
            return content, f"{path[-1]} called {name[:60]!r}"
    if draw < 0.25 and isinstance(content, dict):
        key = pick(
            generator, ("base", "name", "size", "x", "", "stems", "num_sources", "__class__")
        )
        value = pick(generator, (*VALUES, *PATHS[:20]))
        return {**content, key: value}, f"{key}: {value!r:.60}"
    pool = VALUES if generator.random() < 0.75 else pick(generator, (NUMBERS, NAMES, PATHS))
    value = pick(generator, pool)
    return replaced(content, path, value), f"{'.'.join(map(str, path))}: {value!r:.60}"


def yaml_files(box: Sandbox, generator: Generator) -> Call:
    """Broken configs of trainings and networks."""
    call = calls.CALLS[pick(generator, WITH_YAML)](box)
    path = pick(generator, call.aims["yaml"])
    text, draw = path.read_text(), generator.random()
    if draw < 0.6:
        content, way = break_nest(yaml.safe_load(text), generator)
        text = yaml.safe_dump(_plain(content), allow_unicode=True)
        if any(key in way for key in LONG):
            _only_plan(call)
    elif draw < 0.75:
        way = pick(generator, tuple(LAYERS))
        text = LAYERS[way] if generator.random() < 0.6 else text + LAYERS[way]
    elif draw < 0.85:
        value = pick(generator, PATHS)
        text, way = f"base: {json.dumps(value)}\n" + text, f"base: {value!r:.60}"
    else:
        content, way = break_bytes(path.read_bytes(), generator)
        path.write_bytes(content)
        call.note = f"{path.name}: {way}"
        return call
    path.write_bytes(encode(text.replace("{root}", str(box.root)), generator))
    call.note = f"{path.name}: {way}"
    return call


def _only_plan(call: Call) -> None:
    """Ask for the cost of a training in place of the training."""
    if call.argv[0] in ("pretrain", "finetune"):
        kept = ("--config", "--model", "--init")
        pairs = zip(call.argv, call.argv[1:], strict=False)
        words = [word for pair in pairs if pair[0] in kept for word in pair]
        call.argv = ["plan", *words, "--stage", call.argv[0], "--no-dry-run"]


def _plain(content: Any) -> Any:
    """Without surrogates, which YAML cannot write."""
    if isinstance(content, str):
        return content.encode("utf-8", "surrogateescape").decode("latin-1")
    if isinstance(content, dict):
        return {_plain(key): _plain(value) for key, value in content.items()}
    return [_plain(value) for value in content] if isinstance(content, list) else content


def json_files(box: Sandbox, generator: Generator) -> Call:
    """Broken model configs, stamps and notes."""
    call = calls.CALLS[pick(generator, WITH_JSON)](box)
    path = pick(generator, call.aims["json"])
    text, draw = path.read_text(), generator.random()
    if call.argv[0] == "separate" and generator.random() < 0.3:
        call.argv += pick(
            generator, (("--stems", "low"), ("--format", "flac16"), ("--all-channels",))
        )
    if draw < 0.75:
        lines = text.splitlines(keepends=True) if path.suffix == ".jsonl" else [text]
        line = int(generator.integers(len(lines)))
        content, way = break_nest(json.loads(lines[line]), generator)
        lines[line] = json.dumps(content) + "\n"
        text = "".join(lines)
    elif draw < 0.9:
        deep = '{"model": ' + '{"a": ' * 100_000
        texts = (
            "[" * 100_000,
            deep,
            "[]",
            "null",
            "1",
            '"x"',
            "{}",
            "NaN",
            '{"model": {}}',
            "9" * 5000,
        )
        text = pick(generator, texts)
        way = f"{text:.30}"
    else:
        content, way = break_bytes(path.read_bytes(), generator)
        path.write_bytes(content)
        call.note = f"{path.name}: {way}"
        return call
    path.write_bytes(encode(text.replace("{root}", str(box.root)), generator))
    call.note = f"{path.name}: {way}"
    return call
