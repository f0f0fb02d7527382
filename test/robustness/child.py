"""One input in a process of its own, forked from one that has everything loaded."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import io
import json
import os
import pickle
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mixit_mss.bin import main as door
from mixit_mss.errors import UserError
from test.robustness.sandbox import Call, Sandbox, listing

PR_SET_PDEATHSIG = 1
LARGEST_FILE = 500 * 2**20
Make = Callable[[Sandbox], Call]


class Places:
    """Where one input works (``root``), and what is noted of it beside that."""

    def __init__(self, folder: Path):
        self.folder, self.root = folder, folder / "root"
        self.out, self.err = folder / "stdout", folder / "stderr"
        self.call, self.result, self.stack = folder / "call", folder / "result", folder / "stack"


def become(make: Make, seeds: Path, folder: Path) -> NoReturn:
    """Make the input, run it, note how it ended; never returns. Called in a fork."""
    status = 1
    try:
        status = _run(make, seeds, Places(folder))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _run(make: Make, seeds: Path, places: Places) -> int:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should the campaign be killed
    # on a machine that runs out of memory all the same, this ends first
    Path("/proc/self/oom_score_adj").write_text("1000")
    places.folder.mkdir(parents=True)
    places.root.mkdir()
    for number, path, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, places.out, 1),
        (2, places.err, 1),
    ):
        _redirect(number, path, mode)
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
    faulthandler.register(signal.SIGUSR1, file=places.stack.open("w"), all_threads=True)
    box = Sandbox(places.root, seeds)
    call = make(box)
    _enter(box)
    if call.stdin is not None:
        _redirect(0, call.stdin, os.O_RDONLY)
    places.call.write_bytes(pickle.dumps((call, listing(places.root))))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    with _server(call):
        status = _status_of(call)
        sys.stdout.flush()
    places.result.write_text(json.dumps({"status": status}))
    return 0


def _redirect(number: int, path: str | Path, mode: int) -> None:
    flags = mode if mode == os.O_RDONLY else os.O_WRONLY | os.O_CREAT | os.O_APPEND
    opened = os.open(path, flags, 0o600)
    os.dup2(opened, number)
    os.close(opened)


def _stream(number: int, mode: str) -> io.TextIOWrapper:
    """As Python opens its own: errors appear at once, line by line."""
    errors = "strict" if number == 0 else "backslashreplace"
    file = os.fdopen(number, mode, encoding="utf-8", errors=errors, closefd=False)
    file.reconfigure(line_buffering=number == 2)
    return file


def _enter(box: Sandbox) -> None:
    os.chdir(box.work)
    tempfile.tempdir = None
    os.environ |= {
        "TMPDIR": str(box.root / "tmp"),
        "XDG_STATE_HOME": str(box.root / "state"),
        "XDG_CACHE_HOME": str(box.root / "home"),
        "HOME": str(box.root / "home"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        os.environ.pop(name, None)


@contextlib.contextmanager
def _server(call: Call):
    if not call.serve:
        yield
        return
    from test.corpus_server import serving

    with serving({name: path.read_bytes() for name, path in call.serve.items()}) as server:
        call.argv = [word.replace("{url}", server.url) for word in call.argv]
        yield


def _status_of(call: Call) -> int | None:
    """Of the command; None where an exception left it, whose traceback is printed."""
    try:
        if call.python:
            module, name = call.python.split(":")
            getattr(importlib.import_module(module), name)(*call.argv)
            return 0
        return door.main(call.argv)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        if not call.python:
            traceback.print_exc()
            return None
        print(error, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return None
