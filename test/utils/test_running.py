"""How the stages run a command: what stops the script stops it too, and one run at a time."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mixit_mss.files import is_running

UTILS = Path(__file__).parents[2] / "utils"
SCRIPT = """\
set -euo pipefail
work_dir={folder} exp=$work_dir/exp tag=small utils={utils}
. "$utils/running.sh"
{lines}
"""
# says that it is there, and at a signal that it saved
COMMAND = """\
import os, signal, sys, time
open("pid", "w").write(str(os.getpid()))
def save(number, frame):
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit(128 + number)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), save)
print("at work", flush=True)
time.sleep(60)
"""


def start(tmp_path, *lines):
    (tmp_path / "command.py").write_text(COMMAND)
    script = SCRIPT.format(folder=tmp_path, utils=UTILS, lines="\n".join(lines))
    return subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        # a test run in the background hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def command_of(tmp_path):
    return int((tmp_path / "pid").read_text())


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_for_the_script_reaches_its_command_which_may_save(tmp_path, name):
    process = start(tmp_path, f"run python {tmp_path}/command.py {name}", "echo and on")
    assert process.stdout.readline() == "at work\n"
    process.send_signal(getattr(signal, name))
    assert process.stdout.read() == "saved\n"
    assert process.wait(10) == 128 + getattr(signal, name)


def test_a_command_that_saves_nothing_ends_with_its_script(tmp_path):
    process = start(tmp_path, f"run python {tmp_path}/command.py", "echo and on")
    assert process.stdout.readline() == "at work\n"
    process.terminate()
    assert (process.wait(10), process.stdout.read()) == (143, "")
    assert not is_running(command_of(tmp_path))


def test_statuses_words_and_input_reach_a_command_as_they_are(tmp_path):
    lines = [
        "printf '%s\\n' 'what was typed' | run cat",
        "run printf '<%s>' 'a b' '' 'c*'",
        'if run false; then echo no; else echo " $?"; fi',
        "run bash -c 'exit 7'",
        "echo not reached",
    ]
    process = start(tmp_path, *lines)
    assert process.communicate(timeout=10)[0] == "what was typed\n<a b><><c*> 1\n"
    assert process.returncode == 7


def test_a_work_folder_has_one_run_that_changes_its_songs(tmp_path):
    process = start(tmp_path, "hold alone", f"run python {tmp_path}/command.py SIGTERM")
    assert process.stdout.readline() == "at work\n"
    for mode in ("alone", "shared"):
        said = start(tmp_path, f"hold {mode}", "echo held").communicate(timeout=10)
        assert said[0] == "" and said[1].count("\n") == 1
        assert f"another run is at work in '{tmp_path}' (process {process.pid} on " in said[1]
    process.terminate()
    assert process.wait(10) == 143
    assert start(tmp_path, "hold alone", "echo held").communicate(timeout=10)[0] == "held\n"


def test_networks_are_trained_side_by_side_but_not_one_twice(tmp_path):
    process = start(tmp_path, "hold shared", f"run python {tmp_path}/command.py SIGTERM")
    assert process.stdout.readline() == "at work\n"
    other = start(tmp_path, "tag=large", "hold shared", "echo held").communicate(timeout=10)
    assert other == ("held\n", "")
    same = start(tmp_path, "hold shared", "echo held").communicate(timeout=10)
    assert same[0] == "" and f"process {process.pid} on" in same[1]
    songs = start(tmp_path, "hold alone", "echo held").communicate(timeout=10)
    assert songs[0] == "" and "begin at --stage 3" in songs[1]
    process.terminate()
    process.wait(10)


def test_the_lock_of_a_killed_run_is_free_once_its_command_has_ended(tmp_path):
    process = start(tmp_path, "hold alone", f"run python {tmp_path}/command.py")
    assert process.stdout.readline() == "at work\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    # its training goes on, and would be disturbed
    refused = start(tmp_path, "hold alone", "echo held").communicate(timeout=10)
    assert refused[0] == "" and "another run is at work" in refused[1]
    os.kill(command_of(tmp_path), signal.SIGKILL)
    end = time.monotonic() + 10
    while is_running(command_of(tmp_path)) and time.monotonic() < end:
        time.sleep(0.05)
    assert start(tmp_path, "hold alone", "echo held").communicate(timeout=10)[0] == "held\n"
