"""utils/parse_options.sh, sourced by small scripts that print what became of their variables."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """#!/usr/bin/env bash
# Cook a song.
#
#   ./run.sh --stage 1
set -euo pipefail

stage=0                    # first stage to run
stop_stage=6               # last stage to run
init="scratch mixit"       # scratch|mixit: where it starts
plots=true                 # draw the pictures
song_dir=                  # the songs in this folder instead
title="a b"                # what to call it
nj=$((1 + 1))
ROOT_FOLDER=x
  indented=1
. {parser} "$@"
later=1
echo "$stage,$stop_stage,$init,$plots,$song_dir,$title,$nj"
"""


@pytest.fixture
def run(tmp_path):
    """Run the script with these arguments: exit status, standard output, standard error."""
    script = tmp_path / "recipe" / "run.sh"
    script.parent.mkdir()
    script.write_text(SCRIPT.replace("{parser}", str(ROOT / "utils" / "parse_options.sh")))

    def call(*arguments: str, path: str = "recipe/run.sh") -> tuple[int, str, str]:
        done = subprocess.run(
            ["bash", path, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    call.folder = tmp_path
    call.script = script
    return call


DEFAULTS = "0,6,scratch mixit,true,,a b,2"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], DEFAULTS),
        (["--stage", "3", "--stop-stage=4"], "3,4,scratch mixit,true,,a b,2"),
        (["--stop_stage", "4"], "0,4,scratch mixit,true,,a b,2"),
        (["--stage", "08"], "8,6,scratch mixit,true,,a b,2"),
        (["--stage", "1", "--stage", "2"], "2,6,scratch mixit,true,,a b,2"),
        (["--init", "mixit"], "0,6,mixit,true,,a b,2"),
        (["--init", "mixit scratch"], "0,6,mixit scratch,true,,a b,2"),
        (["--plots", "false", "--nj", "8"], "0,6,scratch mixit,false,,a b,8"),
        (["--song-dir", "/my $(songs)"], "0,6,scratch mixit,true,/my $(songs),a b,2"),
        (["--song-dir", ""], DEFAULTS),
        (["--title=x=y --z"], "0,6,scratch mixit,true,,x=y --z,2"),
        (["--title", "-x"], "0,6,scratch mixit,true,,-x,2"),
        (["--title="], "0,6,scratch mixit,true,,,2"),
    ],
)
def test_sets_the_variable_of_the_same_name(run, arguments, expected):
    assert run(*arguments) == (0, expected, "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--stage", "-1"], "run.sh: --stage must be a whole number, 0 or above, not '-1'"),
        (
            ["--stop-stage=two"],
            "run.sh: --stop-stage must be a whole number, 0 or above, not 'two'",
        ),
        (["--nj", "1.5"], "run.sh: --nj must be a whole number, 0 or above, not '1.5'"),
        (["--stage", ""], "run.sh: --stage must be a whole number, 0 or above, not ''"),
        (
            ["--stage", "9" * 20],
            f"run.sh: --stage must be a whole number, 0 or above, not '{'9' * 20}'",
        ),
        (["--init", "mixits"], "run.sh: --init must be out of scratch|mixit, not 'mixits'"),
        (["--init", ""], "run.sh: --init must be out of scratch|mixit, not ''"),
        (["--plots", "ture"], "run.sh: --plots must be out of true|false, not 'ture'"),
        (["--title"], "run.sh: --title needs a value"),
        (["--title", "--stage", "1"], "run.sh: --title needs a value"),
        (["3"], "run.sh: unexpected argument '3'; options are written --name value"),
        (
            ["--stage", "1", "2"],
            "run.sh: unexpected argument '2'; options are written --name value",
        ),
        (["--"], "run.sh: unexpected argument '--'; options are written --name value"),
    ],
)
def test_refuses_in_one_sentence(run, arguments, sentence):
    assert run(*arguments) == (1, "", sentence)


@pytest.mark.parametrize(
    "name", ["--stag", "--ROOT_FOLDER", "--indented", "--later", "--PATH", "--="]
)
@pytest.mark.parametrize("value", [[], ["1"]])
def test_names_an_unknown_option_and_the_known_ones(run, name, value):
    known = "--stage --stop-stage --init --plots --song-dir --title --nj"
    assert run(name, *value) == (1, "", f"run.sh: unknown option {name}; the options are {known}")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--stage", "3", "--help"]])
def test_help_shows_the_head_of_the_script_and_the_defaults(run, arguments):
    status, output, errors = run(*arguments)
    assert (status, errors) == (0, "")
    assert output.startswith("Cook a song.\n\n  ./run.sh --stage 1\n\nOptions")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "--stage 0 first stage to run" in lines
    assert "--init scratch mixit scratch|mixit: where it starts" in lines
    assert '--song-dir "" the songs in this folder instead' in lines
    assert len(lines) == 5 + 7


def test_a_relative_folder_counts_from_where_one_is(run):
    status, output, _ = run("--song-dir", "my songs")
    assert (status, output.split(",")[4]) == (0, f"{run.folder}/my songs")


def test_finds_the_options_of_a_script_that_changed_its_folder(run):
    text = run.script.read_text()
    run.script.write_text(text.replace("\nstage=0", '\ncd "$(dirname "$0")"\nstage=0', 1))
    assert run("--stage", "2") == (0, "2,6,scratch mixit,true,,a b,2", "")
    shutil.copy(run.script, run.folder / "run.sh")
    assert run("--stage", "2", path="./run.sh") == (0, "2,6,scratch mixit,true,,a b,2", "")
    assert run("--stage", "2", path=str(run.script)) == (0, "2,6,scratch mixit,true,,a b,2", "")


def test_reads_the_options_of_a_file_that_is_sourced(run):
    shared = ROOT / "utils" / "cluster_options.sh"
    text = run.script.read_text()
    text = text.replace("\n  indented", f'\n. "{shared}"\n  indented').replace("$nj", "$num_jobs")
    run.script.write_text(text)
    assert run("--num-jobs", "3") == (0, "0,6,scratch mixit,true,,a b,3", "")
    assert run("--num-jobs", "x")[0] == 1
    assert "--num-jobs 8" in " ".join(run("--help")[1].split())


def test_leaves_nothing_of_its_own_in_the_script(run):
    with run.script.open("a") as script:
        script.write("compgen -v _options || true\ncompgen -A function || true\n")
    assert run() == (0, DEFAULTS, "")


RECIPES = sorted(path.relative_to(ROOT) for path in ROOT.glob("egs/*/run.sh"))


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_every_recipe_explains_its_options_and_refuses_others(recipe):
    def call(*arguments: str) -> subprocess.CompletedProcess:
        command = ["bash", str(recipe), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    asked = call("--help")
    assert (asked.returncode, asked.stderr) == (0, "")
    options = [line.split() for line in asked.stdout.splitlines() if line.startswith("  --")]
    number = "--jobs" if recipe.parent.name == "midi_study" else "--stage"
    assert number in {words[0] for words in options}
    assert all(len(words) > 2 for words in options), "an option without a word of help"
    refused = call("--no-such-option", "1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--no-such-option" in refused.stderr
    negative = call(number, "-1")
    assert (negative.returncode, negative.stdout) == (1, "")
    assert number in negative.stderr


def test_the_script_is_read_by_the_oldest_bash_that_systems_ship():
    """macOS has bash 3.2: no associative arrays, no mapfile, no ${name,,}, no named references."""
    for path in ["utils/parse_options.sh", "tools/setup_env.sh", "tools/system_programs.sh"]:
        text = (ROOT / path).read_text()
        for word in ("declare -A", "local -A", "local -n", "mapfile", "readarray", ",,}", "^^}"):
            assert word not in text, (path, word)
    assert os.access(ROOT / "tools" / "setup_env.sh", os.X_OK)
