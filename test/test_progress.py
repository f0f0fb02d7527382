"""The bar of long transfers: there on a terminal, silent elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from mixit_mss import progress

PROGRAM = """
import time
from mixit_mss.progress import byte_bar
with byte_bar("fetching a.zip", 2**24, 2**22) as bar:
    for _ in range(5):
        bar.advance(2**20)
        time.sleep(0.05)
    bar.say("the connection was cut")
    time.sleep(0.2)
"""


def test_a_terminal_shows_amount_rate_and_time_left():
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-c", PROGRAM]
    subprocess.run(command, stderr=terminal, env=environment, check=True)
    os.close(terminal)
    shown = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:  # how Linux says that nothing more comes
            break
        if not block:
            break
        shown += block
    os.close(main)
    for part in (b"fetching a.zip", b"9.0/16.0 MiB", b"MB/s", b"0:0", b"the connection was cut"):
        assert part in shown, part


def test_without_a_terminal_nothing_is_shown():
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert result.stdout + result.stderr == b""


def test_a_log_gets_a_line_a_minute(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 61.0, 61.0, 70.0, 122.0, 122.0, 300.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.counted("abcde", "scoring", 5)) == list("abcde")
    assert capsys.readouterr().err == "scoring: 2 of 5 songs\nscoring: 4 of 5 songs\n"
