import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mixit_mss.parallel import run_parallel


def square(number):
    return number * number


def die_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def ask_for_too_much(number):
    return np.zeros(1 << 56) if number == 3 else number


def raise_at_three(number):
    if number == 3:
        raise KeyError("three")
    return number


@pytest.mark.parametrize("processes", [1, 2])
def test_all_results_arrive(processes):
    assert sorted(run_parallel(square, range(12), processes)) == [(i, i * i) for i in range(12)]
    assert list(run_parallel(square, [], processes)) == []


def test_a_dying_process_costs_its_own_job_only():
    results = dict(run_parallel(die_at_three, range(8), 2))
    assert results == {i: None if i == 3 else i * i for i in range(8)}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_asks_for_too_much_memory_costs_itself_only(processes):
    results = dict(run_parallel(ask_for_too_much, range(8), processes))
    assert results == {i: None if i == 3 else i for i in range(8)}


@pytest.mark.parametrize("processes", [1, 2])
def test_errors_arrive_here(processes):
    with pytest.raises(KeyError, match="three"):
        list(run_parallel(raise_at_three, range(5), processes))


def test_workers_end_with_a_killed_parent(tmp_path):
    program = f"""
import os, sys
from mixit_mss.parallel import run_parallel
sys.path.insert(0, {str(tmp_path)!r})
import slow
if __name__ == "__main__":
    list(run_parallel(slow.work, range(2), 2))
"""
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "def work(i):\n"
        f"    open({str(tmp_path)!r} + f'/pid{{i}}.part', 'w').write(str(os.getpid()))\n"
        f"    os.rename({str(tmp_path)!r} + f'/pid{{i}}.part', {str(tmp_path)!r} + f'/pid{{i}}')\n"
        "    time.sleep(60)\n"
    )
    (tmp_path / "main.py").write_text(program)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")])
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    wait_until(lambda: all(file.exists() for file in files))
    workers = [int(file.read_text()) for file in files]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(map(alive, workers)))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
