"""What the documents tell to type exists, and what they link to is there."""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mixit_mss.bin.main import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "egs/*.md", "egs/*/README.md", "docs/*.rst", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def commands(text):
    """What stands in backquotes or blocks of code and begins with a command of ours."""
    text = re.sub(r"\\\n\s*", " ", text)
    code = re.findall(r"``?([^`\n]+)``?", text) + re.findall(r"^ *([^`\s].*)$", text, re.MULTILINE)
    starts = r"(?:\.venv/bin/)?(mixit-mss|python) |(\S*(?:run|run_\w+|wheel)\.sh)(?: |$)"
    return sorted({line.split("  #")[0].strip() for line in code if re.match(starts, line)})


def options_of(parser, words):
    """All options of a parser, and of the sub-command that the words name."""
    known = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word in words:
                if word in action.choices:
                    known |= set(action.choices[word]._option_string_actions)
    return known


def test_commands_are_found():
    found = commands((ROOT / "README.md").read_text())
    assert ".venv/bin/mixit-mss separate SONG... --model FOLDER --out separated" in found
    assert "./run.sh --stage 4 --stop-stage 4" in found


@pytest.mark.parametrize("document", NAMES)
def test_every_option_exists(document):
    for line in commands((ROOT / document).read_text(encoding="utf-8")):
        words = shlex.split(line.replace("...", " "))
        asked = {word.split("=")[0] for word in words if word.startswith("--") and word != "--"}
        if "mixit-mss" in words[0]:
            if len(words) < 2 or words[1].isupper() or words[1].startswith("-"):
                continue
            assert words[1] in COMMANDS, line
            module = importlib.import_module(f"mixit_mss.bin.{words[1].replace('-', '_')}")
            known = options_of(module.build_parser(), words)
        elif words[0].endswith("python"):
            if len(words) < 3 or not words[2].startswith("benchmarks."):
                continue
            known = options_of(importlib.import_module(words[2]).build_parser(), words)
        elif words[0].endswith("run.sh") and "test" not in words[0]:
            here = (ROOT / document).parent
            scripts = [here / words[0], ROOT / words[0], ROOT / "egs/midi_band/run.sh"]
            text = next(script for script in scripts if script.is_file()).read_text()
            text += (ROOT / "utils/cluster_options.sh").read_text()
            known = {f"--{name.replace('_', '-')}" for name in re.findall(r"^(\w+)=", text, re.M)}
            known |= {"--help", *re.findall(r"^ +(--[a-z-]+)\)", text, re.M)}
        else:
            continue
        assert asked <= known, f"{document}: {line}: no {', '.join(sorted(asked - known))}"


def test_the_readme_shows_results_that_were_obtained():
    def rows(path):
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        return {line for line in lines if line.startswith("| ") and "**" in line}

    def cut(row):  # the columns after the average are about the run
        return "|".join(row.split("|")[:7])

    shown = rows("README.md")
    assert len(shown) == 7
    assert {cut(row) for row in shown} <= {cut(row) for row in rows("egs/midi_band/RESULTS.md")}


@pytest.mark.parametrize("document", [name for name in NAMES if name.endswith(".md")])
def test_every_link_leads_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    "line",
    [
        "mixit-mss import-official list",
        "mixit-mss plan --no-dry-run --config egs/midi_band/conf/pretrain.yaml "
        "--model egs/midi_band/conf/model_tiny.yaml",
        "mixit-mss download fma --help",
    ],
)
def test_a_command_of_the_readme_runs(line):
    command = [sys.executable, "-m", "mixit_mss.bin.main", *line.split()[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
