"""Planted faults: the fuzz reports each of them, and calls nothing sound a fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from test.robustness.kinds import KINDS, generator_of
from test.robustness.mutations import NAMES, OUTPUTS
from test.robustness.sandbox import WORK, Call, Sandbox, listing
from test.robustness.verdict import Verdict, place_of, same_fault

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by /proc")


# planted faults: each is run in a sandbox, whose work folder is the current one


def sound():
    Path("out/result.txt").write_text("fine")
    Path("out/deep/er").mkdir(parents=True)


def raises():
    raise ZeroDivisionError("planted")


def prints_a_traceback():
    import traceback

    try:
        raises()
    except ZeroDivisionError:
        traceback.print_exc()


def saves_a_traceback():
    folder = Path(os.environ["XDG_STATE_HOME"]) / "mixit_mss"
    folder.mkdir()
    lines = (
        "Traceback (most recent call last):",
        '  File "/x/mixit_mss/a.py", line 3, in f',
        "KeyError: 1",
    )
    (folder / "x.txt").write_text("\n".join(lines))
    sys.exit(1)


def writes_outside():
    Path("../../elsewhere.txt").write_text("oh")


def writes_among_the_inputs():
    Path("in/more").mkdir()


def removes():
    Path("out/photos/mine.jpg").unlink()


def changes():
    Path("../precious/vocals.wav").write_text("other")


def replaces_a_pipe():
    Path("in/fifo").unlink()
    Path("in/fifo").write_text("a file")


def leaves_a_temporary_file():
    Path("out/.a.12.partial.wav").write_text("half")


def ends_with_a_strange_status():
    sys.exit(77)


def fails_in_silence():
    sys.exit(1)


def is_killed():
    os.abort()


def sleeps():
    time.sleep(60)


def starts_a_sleeper():
    subprocess.Popen(["sleep", "6123.75"])


def eats():
    kept = bytearray(10**9)
    for place in range(0, len(kept), 4096):
        kept[place] = 1
    time.sleep(60)


def eats_in_a_child():
    code = "import time; kept = b'x' * 10**9; time.sleep(60)"
    subprocess.run([sys.executable, "-c", code])


def opens_what_is_not_given():
    Path("../../../secret/album/mixture.wav").read_bytes()


def forks():
    for _ in range(30):
        subprocess.Popen(["sleep", "60"])
    time.sleep(60)


FAULTS = {
    "raises": ("traceback", "ZeroDivisionError"),
    "prints_a_traceback": ("traceback", "ZeroDivisionError"),
    "saves_a_traceback": ("traceback", "KeyError in a.py:3 f (1)"),
    "writes_outside": ("written outside of its folder", "disk/elsewhere.txt"),
    "writes_among_the_inputs": ("written outside of its folder", f"{WORK}/in/more"),
    "removes": ("removed", f"{WORK}/out/photos/mine.jpg"),
    "changes": ("changed", "disk/home/precious/vocals.wav"),
    "replaces_a_pipe": ("changed", f"{WORK}/in/fifo"),
    "leaves_a_temporary_file": ("left behind", f"{WORK}/out/.a.12.partial.wav"),
    "ends_with_a_strange_status": ("status", "a status of 77"),
    "fails_in_silence": ("silence", "status 1"),
    "is_killed": ("killed", "SIGABRT"),
    "sleeps": ("time", "test_harness.py"),
    "eats": ("memory", ""),
    "eats_in_a_child": ("memory", ""),
    "forks": ("processes", ""),
    "opens_what_is_not_given": ("let in", "planted"),
}


def planted(name: str, box: Sandbox) -> Call:
    python = f"test.robustness.test_harness:{name}"
    forbidden = "planted" if name == "opens_what_is_not_given" else ""
    return Call([], out=(box.out,), python=python, forbidden=forbidden)


def unmakeable(box: Sandbox) -> Call:
    raise OSError("no such seed")


PROGRAM = """
import sys
from pathlib import Path
from test.robustness import campaign, test_harness as t
from functools import partial
jobs = [campaign.Job(name, 0, partial(t.planted, name)) for name in sys.argv[2:]]
jobs.append(campaign.Job("unmakeable", 0, t.unmakeable))
folder = Path(sys.argv[1])
(folder / "sounds").mkdir()
(folder / "sounds/song.wav").write_bytes(b"a sound")
for verdict in campaign.run(jobs, folder, folder / "work", 4, campaign.Limits(4, 700, 10)):
    print(verdict.as_json(), flush=True)
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """In a process of its own, since threads that a test has started would not survive a fork."""
    names = [*FAULTS, "sound", "starts_a_sleeper"]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("planted")), *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {v.kind: v for v in map(Verdict.from_json, done.stdout.splitlines())}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_reported(verdicts, name):
    group, place = FAULTS[name]
    assert [(g, place in p) for g, p in verdicts[name].faults] == [(group, True)]


def test_what_does_no_harm_has_no_fault(verdicts):
    assert (verdicts["sound"].status, verdicts["sound"].faults) == (0, [])
    assert verdicts["starts_a_sleeper"].faults == []
    assert verdicts["sleeps"].seconds < 10


def test_nothing_is_left_running(verdicts):
    running = [Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit()]
    assert not any(b"sleep\x006123.75" in path.read_bytes() for path in running if path.exists())


def test_an_input_that_cannot_be_made_is_a_fault_of_the_fuzz(verdicts):
    ((group, what),) = verdicts["unmakeable"].faults
    assert group == "harness" and "no such seed" in what


def test_an_input_depends_on_seed_kind_and_number_alone(tmp_path):
    from test.robustness import seeds

    seeds.build(tmp_path / "seeds")

    def made(kind, number, name):
        box = Sandbox(tmp_path / name, tmp_path / "seeds")
        call = KINDS[kind](box, generator_of(3, kind, number))
        root = str(box.root)
        return (
            call.note.replace(root, ""),
            [w.replace(root, "") for w in call.argv],
            listing(box.root),
        )

    for kind in set(KINDS) - {"checkpoints", "zips"}:
        for number in range(3):
            first, second = (made(kind, number, f"{kind}{number}{side}") for side in "ab")
            assert first[:2] == second[:2]
            texts = {name for name in first[2] if first[2][name] != second[2][name]}
            assert not texts or all(name.endswith((".csv", ".m3u8")) for name in texts), texts


def test_places_are_the_same_whatever_the_message():
    text = 'Traceback (most recent call last):\n  File "/a/mixit_mss/data/b.py", line 7, in read\n'
    text += '    x\n  File "/lib/c.py", line 9, in d\n    y\n    ^^^\nfoo.Bar: {}\n'
    assert place_of(text.format("one")) == "foo.Bar in data/b.py:7 read (one)"
    first, second = (("traceback", place_of(text.format(word))) for word in ("one", "two"))
    assert same_fault(first) == same_fault(second) == ("traceback", "foo.Bar in data/b.py:7 read")


def test_no_hostile_name_leads_out_of_a_sandbox(tmp_path):
    root = tmp_path / "root"
    for base in (root / WORK, root / WORK / "out", root / WORK / "in"):
        for name in (*NAMES, *OUTPUTS):
            path = os.path.normpath(os.path.join(base, name.replace("{root}", str(root))))
            assert path.startswith(f"{root}/"), name


def test_a_report_reads_back():
    verdict = Verdict(
        "audio", 3, 1, 0.5, 400.0, [("time", "x")], ["separate", "caf\udce9"], "note", "said"
    )
    assert Verdict.from_json(verdict.as_json()) == verdict
    assert json.loads(verdict.as_json())["number"] == 3
