"""A few hundred broken inputs over all commands, in less than a minute; sound ones succeed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from test.robustness.__main__ import again
from test.robustness.calls import CALLS
from test.robustness.kinds import KINDS
from test.robustness.known import KNOWN, reason
from test.robustness.verdict import Verdict

ROOT = Path(__file__).parents[2]
SEED, INPUTS = 0, 22
# At least so many per cent must get to the end, or the kind breaks too much to test anything.
LEAST_DONE = {"arguments": 5, "checkpoints": 5, "json": 15, "tables": 5, "zips": 15}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by /proc")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What became of every input, by kind; ``plain`` are the calls with nothing broken."""
    report = tmp_path_factory.mktemp("fuzz") / "report.jsonl"
    command = [sys.executable, "-m", "test.robustness", "--report", str(report)]
    command += ["--seed", str(SEED)]
    for name in CALLS:
        command += ["--only", f"plain:{name}"]
    for kind in KINDS:
        for number in range(INPUTS):
            command += ["--only", f"{kind}:{number}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    found = defaultdict(list)
    for line in report.read_text().splitlines():
        verdict = Verdict.from_json(line)
        found[verdict.kind].append(verdict)
    return found


def described(verdict):
    faults = "; ".join(f"{group}: {place}" for group, place in verdict.faults)
    return f"{faults}\n  {verdict.note}\n  {again(verdict, SEED)}"


@pytest.mark.parametrize("name", CALLS)
def test_nothing_broken_succeeds(verdicts, name):
    (verdict,) = [v for v in verdicts["plain"] if list(CALLS)[v.number] == name]
    assert verdict.status == 0, verdict.said
    assert not verdict.faults, described(verdict)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_broken_ends_well(verdicts, kind):
    assert len(verdicts[kind]) == INPUTS
    faulty = [v for v in verdicts[kind] if any(not reason(fault) for fault in v.faults)]
    assert not faulty, "\n".join(map(described, faulty))


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_broken_enough_and_not_too_much(verdicts, kind):
    done = sum(verdict.status == 0 for verdict in verdicts[kind])
    refused = sum(verdict.status in (1, 2) for verdict in verdicts[kind])
    assert 100 * done >= LEAST_DONE.get(kind, 20) * INPUTS
    assert 100 * refused >= 10 * INPUTS


def test_few_faults_are_accepted():
    assert len(KNOWN) <= 5 and all(len(why.split()) > 4 for why in KNOWN.values())
