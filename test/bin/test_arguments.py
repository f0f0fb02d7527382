"""No word on a command line ends in a traceback: every option of every command, every odd value."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys

import pytest

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import COMMANDS, main
from mixit_mss.errors import UsageError, UserError
from mixit_mss.separation.request import Options

ABSURD = [
    "inf",
    "-inf",
    "nan",
    "-1",
    "0",
    "1e20",
    "1e309",
    "9" * 5000,
    "",
    " ",
    "a\0b",
    "²",
    "\u0661",
]
ABSURD += ["1_0", "0x10", "1.5.2", "x" * 5000, "..", "/dev/zero", "a\nb", "\udce9", "cuda:²", "5/3"]
LEGITIMATE = {"-1", "0", "1e20"}
"""Of these, what some number may be."""


def parsers():
    """Each command's parser, and those of its corpora."""
    for command in COMMANDS:
        module = importlib.import_module(f"mixit_mss.bin.{command.replace('-', '_')}")
        parser = module.build_parser()
        yield command, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{command} {name}", sub) for name, sub in action.choices.items())


def options(parser):
    """The actions of a parser that take a word."""
    for action in parser._actions:
        if action.nargs != 0 and not isinstance(action, argparse._SubParsersAction):
            yield action


def words(action, value):
    return [f"{action.option_strings[0]}={value}"] if action.option_strings else ["--", value]


ALL = [
    pytest.param(parser, action, id=f"{command}-{action.dest}")
    for command, parser in parsers()
    for action in options(parser)
]


def test_there_are_all_commands():
    assert len(COMMANDS) >= 15 and len(ALL) > 100


@pytest.mark.parametrize(("parser", "action"), ALL)
def test_every_option_is_checked_at_the_door(parser, action):
    assert action.choices is not None or callable(action.type), "no type looks at this option"
    assert action.type not in (int, float)
    for value in ABSURD:
        try:
            parser.parse_args(words(action, value))
        except UsageError as error:
            sentence = str(error)
            assert "\n" not in sentence and len(sentence) < 800
        # any other exception is a fault


NUMBERS = [
    pytest.param(parser, action, id=f"{command}-{action.dest}")
    for command, parser in parsers()
    for action in options(parser)
    if getattr(action.type, "__qualname__", "").startswith("ranged")
]


@pytest.mark.parametrize(("parser", "action"), NUMBERS)
def test_a_number_out_of_its_range_is_refused_by_name(parser, action):
    for value in ABSURD:
        if value in LEGITIMATE:
            continue
        with pytest.raises(UsageError, match=f"^{action.option_strings[0]} .* must be .*number"):
            parser.parse_args(words(action, value))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("separate a --chunk-seconds inf", "--chunk-seconds inf must be a number of seconds"),
        ("separate a --chunk-seconds 0", "--chunk-seconds 0 must be"),
        ("separate a --chunk-seconds 1e9", "from 0.01 to 600"),
        ("separate a --shifts 100000", "each takes as long as the whole song"),
        ("separate a --batch-size 0", "--batch-size 0 must be"),
        ("separate a --device gpu", "--device gpu must be one of auto, cpu"),
        ("separate a --stems vocals,vocals", "the name of stem 'vocals' is given twice"),
        ("separate a --stems ../x", "it is a path"),
        ("separate a --model hf:x", "must be written as hf:USER/NAME"),
        ("separate a --shard \u0661/\u0663", "must be written as 3/8"),
        ("separate --no-such-option", "unrecognized|required"),
        ("pretrain --seed -1", "--seed -1 must be a whole number from 0 to 4294967295"),
        ("pretrain --seed 1e20", "--seed 1e20 must be a whole number"),
        ("segment --nj 1000", "--nj 1000 must be a whole number of processes from 1 to 256"),
        ("segment --silence-rule other", "--silence-rule 'other' is unknown; choose one of"),
        ("download fma --base-url http://[::1", "is no address"),
        ("download fma --base-url http://a:99999999", "is no address"),
        ("download fma --base-url file:///etc", "must begin with http"),
        ("report --paper-tables 4", "--paper-tables 4 must be"),
    ],
)
def test_the_sentence_says_the_range(line, sentence, capsys):
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"mixit-mss {line.split()[0]}: ")
    assert re.search(sentence, said)


def test_paths_are_what_is_needed(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    file, folder, pipe = (str(tmp_path / name) for name in ("file", "folder", "pipe"))
    wrong = {
        arguments.input_file: (folder, pipe, "/dev/zero", f"{file}/x", "", "a\0", "x" * 300),
        arguments.input_folder: (file, pipe, "/dev/null", f"{file}/x", ""),
        arguments.input_path: (pipe, "/dev/zero", ""),
        arguments.output_file: (folder, pipe, "/dev/null", f"{file}/x/y", f"{tmp_path}/new/", ""),
        arguments.output_folder: (file, pipe, f"{file}/x/y", f"{folder}/{'x' * 300}", "y/" * 3000),
    }
    for kind, values in wrong.items():
        for value in values:
            with pytest.raises(argparse.ArgumentTypeError):
                kind(value)
    right = {
        arguments.input_file: (file, str(tmp_path / "gone")),
        arguments.input_folder: (folder, str(tmp_path / "gone")),
        arguments.output_file: (file, f"{tmp_path}/a/b/c"),
        arguments.output_folder: (folder, f"{tmp_path}/a/b/c/"),
        arguments.output_folder_or_pipe: ("-", folder),
        arguments.model: (folder, "hf:a/b", "official:x"),
    }
    for kind, values in right.items():
        assert [kind(value) for value in values] == list(values)


def test_python_calls_have_the_same_limits():
    inf, nan = float("inf"), float("nan")
    for name, value in (
        *(("chunk_seconds", v) for v in (inf, nan, 0, -1, 1e9, "12", None, True)),
        *(("hop_seconds", v) for v in (nan, 0)),
        *(("batch_size", v) for v in (0, 10**9, 1.0, "1", True)),
        *(("shifts", v) for v in (0, 100000, nan)),
    ):
        with pytest.raises(UserError, match=f"^--{name.replace('_', '-')} .* must be"):
            Options(**{name: value})


def test_limits_read_plain_digits_only():
    assert limits.SEED.parse("4294967295") == 2**32 - 1
    assert limits.CHUNK_SECONDS.parse("6e0") == 6
    assert limits.Whole(-5, 5).parse("-5") == -5
    for word in ("1e3", "1.0", "+1", " 1", "१", "--1", "-"):
        with pytest.raises(ValueError, match="must be a whole number from 0"):
            limits.SEED.parse(word)
    with pytest.raises(ValueError, match=r"^one of about \d+ digits must be"):
        limits.SEED.check(10**6000)


def test_names_are_those_of_files():
    assert limits.check_names(["Ke$ha", "caf\u00e9", ".x", "x" * 100]) == (
        *("Ke$ha", "caf\u00e9", ".x"),
        "x" * 100,
    )
    for names in (["a", "a"], [""], [".."], ["a/b"], ["a\\b"], ["a\0"], ["a\n"], ["x" * 101], [3]):
        with pytest.raises(ValueError, match="name"):
            limits.check_names(names)


WRITES = {
    "curves": ("a.csv", "file"),
    "report": ("R.md", "file"),
    "score": ("scores.csv", "file"),
    "segment": ("data", "folder"),
    "make-manifests": ("lists", "folder"),
    "select-channels": ("model", "folder"),
    "pretrain": ("exp", "folder"),
    "finetune": ("exp", "folder"),
    "separate": ("stems", "folder"),
    "import-official": ("model", "folder"),
}


@pytest.mark.parametrize("command", WRITES)
def test_where_the_result_cannot_be_is_known_before_the_work(command, tmp_path, monkeypatch):
    name, kind = WRITES[command]
    known = dict(parsers())
    (action,) = [a for a in known[command]._actions if "--out" in a.option_strings]
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    wrong = tmp_path / ("folder" if kind == "file" else "file")
    right = tmp_path / ("file" if kind == "file" else "folder")
    for place in (wrong, tmp_path / "file" / name, tmp_path / "new" / ".." / "file" / name):
        with pytest.raises(argparse.ArgumentTypeError):
            action.type(str(place))
    for place in (right, tmp_path / name, tmp_path / "new/er" / name):
        assert action.type(str(place)) == str(place)
    # a disk that cannot be written; what is there may be finished
    monkeypatch.setattr(os, "access", lambda path, mode, **_: str(path) != str(tmp_path))
    assert action.type(str(right)) == str(right)
    for place in (tmp_path / name, tmp_path / "new/er" / name):
        with pytest.raises(
            argparse.ArgumentTypeError, match=f"nothing can be made in '{tmp_path}'"
        ):
            action.type(str(place))


WALK = """
import importlib, json, sys
from mixit_mss.bin.main import COMMANDS
from mixit_mss.errors import UsageError
refused = 0
for command in COMMANDS:
    parser = importlib.import_module("mixit_mss.bin." + command.replace("-", "_")).build_parser()
    for action in parser._actions:
        for value in json.load(open(sys.argv[1])) if action.nargs != 0 else ():
            try:
                parser.parse_args([f"{action.option_strings[0]}={value}"]
                                  if action.option_strings else ["--", value])
            except UsageError:
                refused += 1
assert refused > 1000
heavy = {"torch", "numpy", "pandas", "scipy", "soundfile"} & set(sys.modules)
assert not heavy, heavy
"""


def test_all_of_it_needs_no_torch(tmp_path):
    (tmp_path / "absurd.json").write_text(json.dumps(ABSURD))
    program = [sys.executable, "-c", WALK, str(tmp_path / "absurd.json")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
