"""Whatever ends a command is one sentence and a status, with and without streams to say it on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixit_mss import failures
from mixit_mss.bin.main import COMMANDS, main, run
from mixit_mss.errors import Preempted, UsageError, UserError


class OutOfMemoryError(RuntimeError):
    """Called as torch's."""


def fail(error, capsys, *argv):
    """Status and sentence of a command that raises ``error``."""

    def command(words):
        assert "--debug" not in words
        raise error

    status = run(command, "mixit-mss x", list(argv))
    printed = capsys.readouterr()
    assert printed.out == ""
    return status, printed.err


def refusal(number, *paths):
    return OSError(number, os.strerror(number), *paths)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "mixit_mss"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (refusal(errno.ENOSPC, "out/a.wav"), "'out/a.wav': the disk is full"),
        (refusal(errno.ENOSPC), "the disk is full"),
        (refusal(errno.EROFS, b"out"), "'out': the disk is read-only"),
        (refusal(errno.EACCES, "a"), "'a': permission denied"),
        (refusal(errno.ENAMETOOLONG, "a" * 5000), "the name is too long"),
        (refusal(errno.EISDIR, "a"), "'a': it is a folder, not a file"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), "'a' -> 'b': Invalid link"),
        (OSError("no number"), "no number"),
        (MemoryError(), "the memory does not suffice"),
        (OutOfMemoryError("CUDA"), "the memory does not suffice"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            "the memory does not",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "nobody reads the output"),
        (RecursionError("maximum"), "nested too deeply"),
        (UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"), "not valid UTF-8"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), "not valid UTF-8"),
        (ModuleNotFoundError("No module", name="gradio.x"), "package gradio is not installed"),
        (ValueError("embedded null byte"), "holds NUL"),
        (UserError("two\nlines and \x1b[2J"), "two lines and \\x1b[2J"),
        (
            UserError(
                "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent "
                "call last):\n  File ...\nmixit_mss.errors.UserError: 'a.wav' is gone\n"
            ),
            "mixit-mss x: 'a.wav' is gone",
        ),
    ],
)
def test_what_lies_outside_is_a_sentence(error, sentence, capsys, state):
    status, said = fail(error, capsys)
    assert status == 1
    assert said.startswith("mixit-mss x: ") and said.count("\n") == 1
    assert sentence in said and "Traceback" not in said
    assert not state.exists(), "nothing of ours failed, so nothing is kept"


def test_a_fault_of_ours_leaves_its_traceback_in_a_file(capsys, state):
    status, said = fail(KeyError("odd\nkey"), capsys)
    assert status == 1 and said.count("\n") == 1
    (path,) = state.iterdir()
    assert f"'{path}'" in said and "KeyError" in said
    assert "Traceback (most recent call last)" in path.read_text()
    fail(KeyError("again"), capsys)
    assert len(list(state.iterdir())) == 2


def test_debug_shows_it_at_once(capsys):
    for argv in (["--debug"], ["a", "--debug"], ["a", "--debug", "--", "b"]):
        for error in (KeyError("x"), refusal(errno.EACCES, "a"), UserError("mend it")):
            _, said = fail(error, capsys, *argv)
            assert "Traceback (most recent call last)" in said
            assert said.splitlines()[-1].startswith("mixit-mss x: ")


def test_debug_belongs_to_every_command_and_place(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "--debug" in capsys.readouterr().out
    for argv in (["--debug", "plan"], ["plan", "--debug"]):
        assert main([*argv, "--config", "gone.yaml"]) == 1
        assert "Traceback" in capsys.readouterr().err
    got = []
    run(got.append, "x", ["--jobs", "--debug", "--", "plan", "--debug"])
    assert got == [["--jobs", "--", "plan", "--debug"]]


@pytest.mark.parametrize("step", ["mkstemp", "replace", "mkdir"])
def test_a_traceback_that_cannot_be_saved_is_said_too(step, capsys, state, monkeypatch):
    def full(*_, **__):
        raise refusal(errno.ENOSPC, "x")

    owner = {"mkstemp": failures.tempfile, "replace": failures.os, "mkdir": Path}[step]
    monkeypatch.setattr(owner, step, full)
    status, said = fail(KeyError("x"), capsys)
    monkeypatch.undo()
    assert status == 1 and said.count("\n") == 1 and "could not be saved" in said
    assert not state.exists() or list(state.iterdir()) == []


def test_the_temporary_folder_takes_it_where_no_other_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setattr(failures.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    fail(KeyError("x"), capsys)
    assert len(list((tmp_path / "temporary").iterdir())) == 1


def test_statuses(capsys):
    assert fail(UsageError("x"), capsys)[0] == 2
    assert fail(KeyboardInterrupt(), capsys)[0] == 130
    assert fail(Preempted(15, 3), capsys)[0] == 143
    assert run(lambda words: None, "x", []) == 0
    with pytest.raises(SystemExit, match="7"):
        run(lambda words: sys.exit(7), "x", [])
    assert main(["sing"]) == 1
    assert "no command 'sing'" in capsys.readouterr().err


PROGRAM = """
import sys
from mixit_mss.bin.main import run
def work(words):
    print("result" * 10)
    if words:
        raise KeyError("ours")
sys.exit(run(work, "mixit-mss x", sys.argv[1:]))
"""


def shell(tail, *words):
    line = f'"$0" -c "$1" {" ".join(words)} {tail}'
    command = ["bash", "-c", f"set -o pipefail; {line}", sys.executable, PROGRAM]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [(), ("fail",)])
@pytest.mark.parametrize("tail", ["2>&-", ">&- 2>&-", "<&- 2>&-", "2>/dev/full"])
def test_without_streams_the_status_is_the_same(tail, words):
    done = shell(tail, *words)
    assert (done.returncode, done.stderr) == (len(words), "")


def test_output_that_nobody_takes():
    full = shell(">/dev/full")
    assert full.returncode == 1 and full.stderr.count("\n") == 1
    assert full.stderr.startswith("mixit-mss x: the disk is full")
    gone = shell("| exec 0<&-; exit ${PIPESTATUS[0]}")
    assert gone.returncode in (0, 1)
    assert "Traceback" not in gone.stderr and "Exception" not in gone.stderr


def test_a_missing_stream_is_not_the_next_file(tmp_path):
    """What is opened first must not become standard error."""
    code = (
        "import os, sys; from mixit_mss.bin.main import run; "
        "run(lambda words: (open('a', 'w'), os.write(2, b'noise')), 'x', [])"
    )
    command = ["bash", "-c", '"$0" -c "$1" 2>&-', sys.executable, code]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=60)
    assert (tmp_path / "a").read_bytes() == b""


def test_names_that_are_not_text_are_printed(tmp_path):
    code = "from mixit_mss.bin.main import run; run(lambda w: print('caf\\udce9'), 'x', [])"
    env = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env)
    assert done.stdout == b"caf\\udce9\n" and done.stderr == b""


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from mixit_mss.bin.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_disk_that_takes_no_more(tmp_path):
    """``curves`` on a disk with room for a thousand bytes."""
    (tmp_path / "exp").mkdir()
    history = "step,epoch,train_loss,val_loss,lr,seconds\n1,0,1.0,1.0,0.1,1\n2,1,0.5,0.6,0.1,1\n"
    (tmp_path / "exp/history.csv").write_text(history)
    argv = ["curves", str(tmp_path / "exp"), "--out", str(tmp_path / "curves.png")]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *argv], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]  # a new matplotlib says first that it cannot keep its fonts
    assert "curves.png': the file would be larger than is allowed here" in last
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*curves*"))
