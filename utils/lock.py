#!/usr/bin/env python3
"""Lock a file for the shell that calls this, or say who holds it.

The lock belongs to the shell's open file, which its commands inherit: it ends with the last of them,
however that ends, so nobody has to clear one away.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import sys
import time

MODES = {"alone": fcntl.LOCK_EX, "shared": fcntl.LOCK_SH}


def main(descriptor: int, path: str, mode: str, problem: str, advice: str) -> int:
    """Lock the shell's ``descriptor``, which is open on ``path``; returns the exit status.

    Where it is locked already, the words ``problem`` and ``advice`` are printed around its holders.
    """
    try:
        fcntl.flock(descriptor, MODES[mode] | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{problem} ({holders(path)}): {advice}", file=sys.stderr)
        return 1
    except OSError:
        return 0  # a file system without locks
    if mode == "alone":
        os.truncate(path, 0)
    since = time.strftime("%Y-%m-%d %H:%M")
    os.write(
        descriptor, f"process {os.getppid()} on {socket.gethostname()} since {since}\n".encode()
    )
    return 0


def holders(path: str) -> str:
    """Who has noted itself in the file and is not known to be gone."""
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read(2**16).splitlines()
    return ", ".join(line for line in lines if not is_gone(line)) or "it does not say who"


def is_gone(line: str) -> bool:
    """Whether the line names a process of this machine that is no more."""
    match = re.match(r"process (\d{1,9}) on (\S+) ", line)
    if match is None or match[2] != socket.gethostname():
        return match is None
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


if __name__ == "__main__":
    number, *words = sys.argv[1:]
    sys.exit(main(int(number), *words))
