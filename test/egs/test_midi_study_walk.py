"""The walk over the steps of a study: what is done stays done, what can be run side by side is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from mixit_mss.errors import UserError

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "egs/midi_study/local"))

import walk
from steps import RECIPE, Step, steps_of
from study import CUTS

QUICK = CUTS["quick"]


def chain(folder, calls=()):
    """Two steps, of which the second reads what the first writes."""
    first = Step("seed1/first", (("make", "a"),), (), (folder / "a",))
    spent = (folder / "spent",)
    return [first, Step("seed1/second", (("make", "b"),), first.writes, (folder / "b",), spent)]


@pytest.fixture
def make(tmp_path):
    """Stands for programs: writes a file with what it is told to, and remembers that."""

    def call(command, log):
        call.made.append(command[1])
        if command[1] in call.broken:
            return 3
        (tmp_path / command[1]).write_text(call.content)
        return 0

    call.made, call.broken, call.content = [], set(), "x"
    return call


def test_what_is_done_is_not_done_again(tmp_path, make):
    steps, folder = chain(tmp_path), tmp_path / "quick"
    (tmp_path / "spent").mkdir()
    assert walk.walk(steps, folder, make) == 2
    assert not (tmp_path / "spent").exists()
    assert walk.walk(steps, folder, make) == 0
    (tmp_path / "a").unlink()
    make.content = "another"
    assert walk.walk(steps, folder, make) == 2
    assert make.made == ["a", "b", "a", "b"]
    seconds = pd.read_csv(folder / "seconds.csv")
    assert list(seconds.step) == ["seed1/first", "seed1/second"] * 2
    assert json.loads((folder / "machines.json").read_text())[0]["cores"] >= 1
    assert "0 minutes of it to do" in walk.outline(steps, folder)


def test_a_step_that_fails_is_named_and_taken_up_again(tmp_path, make):
    steps, folder = chain(tmp_path), tmp_path / "quick"
    make.broken = {"b"}
    with pytest.raises(UserError, match="seed1/second: 'make b' ended with status 3"):
        walk.walk(steps, folder, make)
    make.broken = set()
    assert walk.walk(steps, folder, make) == 1
    assert make.made == ["a", "b", "b"]


def test_steps_run_side_by_side_and_wait_for_what_they_read(tmp_path):
    """Two that read nothing meet; a third begins when both have written."""
    both = threading.Barrier(2, timeout=30)
    made = []

    def call(command, log):
        if command[1] != "c":
            both.wait()
        made.append(command[1])
        (tmp_path / command[1]).write_text("x")
        return 0

    first, second = ((tmp_path / name,) for name in "ab")
    steps = [
        Step("seed1/a", (("make", "a"),), (), first),
        Step("seed1/b", (("make", "b"),), (), second),
        Step("seed1/c", (("make", "c"),), first + second, (tmp_path / "c",)),
    ]
    assert walk.walk(steps, tmp_path / "quick", call, jobs=2) == 3
    assert set(made[:2]) == {"a", "b"} and made[2] == "c"
    assert len(pd.read_csv(tmp_path / "quick/seconds.csv")) == 3


def test_what_jobs_print_is_kept_in_files(tmp_path):
    """Side by side, each has its share of the cores and a file for what it says."""
    log = tmp_path / "logs/a.log"
    words = (sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])")
    assert walk.call(words, log, jobs=10_000) == 0
    assert log.read_text().strip() == os.environ.get("OMP_NUM_THREADS", "1")
    assert walk.call((sys.executable, "-c", "raise SystemExit(3)"), log, jobs=2) == 3


def test_the_number_of_processes_changes_nothing(tmp_path):
    few, many = (
        [walk.identity(step).options for step in steps_of(QUICK, 1, tmp_path, n, n)[:1]]
        for n in (1, 8)
    )
    assert few == many


def test_a_cut_is_listed_without_running_it(tmp_path):
    command = [RECIPE / "run.sh", "--quick", "--dry-run", "--work-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    steps = steps_of(QUICK, 1, tmp_path)
    assert all(step.name in done.stdout for step in steps)
    assert f"{len(steps)} steps, " in done.stdout
    assert not list(tmp_path.iterdir())
