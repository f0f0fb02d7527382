"""Many inputs, a few at a time: forked, watched, ended where they take too much, and judged."""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pickle
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mixit_mss.bin import main as door
from test.robustness.child import Make, Places, become
from test.robustness.sandbox import Sandbox, damage
from test.robustness.verdict import Verdict, spoken_faults

PAUSE = 0.01
MODULES = (
    *("separate", "segment", "make_manifests", "plan", "pretrain", "finetune", "select_channels"),
    *("diagnose", "score", "import_official", "report", "curves", "download", "dispatch"),
)
HEAVY = (
    *("mixit_mss.training.fitting", "mixit_mss.cost.plan", "mixit_mss.separation.separator"),
    *("mixit_mss.diagnosis.songs", "mixit_mss.selection.select", "mixit_mss.preparation.corpus"),
    *(
        "mixit_mss.preparation.joining",
        "mixit_mss.report.build",
        "mixit_mss.report.figures.diagnosis",
    ),
    *("mixit_mss.models.hub.published", "mixit_mss.scoring.songs", "mixit_mss.fetch.archives"),
    *(
        "mixit_mss.separation.pipes",
        "museval",
        "scipy.signal",
        "tensorboard.backend",
        "rich.progress",
    ),
    *(
        "matplotlib.pyplot",
        "torch.utils.tensorboard",
        "torch.utils.flop_counter",
        "test.corpus_server",
    ),
)


@dataclass(frozen=True)
class Limits:
    """What one input may take.

    Attributes:
        seconds: from its start.
        megabytes: resident, with its child processes.
        processes: at a time.
    """

    seconds: float = 20.0
    megabytes: float = 2000.0
    processes: int = 24


@dataclass(frozen=True)
class Job:
    """An input to run: how it is made, and what it goes by."""

    kind: str
    number: int
    make: Make


class _Running:
    def __init__(self, job: Job, seeds: Path, folder: Path):
        self.job, self.places = job, Places(folder)
        self.start, self.megabytes, self.ended = time.monotonic(), 0.0, ""
        self.pid = os.fork()
        if self.pid == 0:
            become(job.make, seeds, folder)

    def watch(self, limits: Limits) -> Verdict | None:
        """The verdict if it is over; else look how much it takes, and end it if that is too much."""
        pid, code, usage = os.wait4(self.pid, os.WNOHANG)
        if pid:
            return self._judge(code, usage.ru_maxrss / 1024, limits)
        processes = descendants(self.pid)
        self.megabytes = max(self.megabytes, together(processes, limits.megabytes))
        late = time.monotonic() - self.start > limits.seconds
        if self.megabytes > limits.megabytes:
            self.ended = "memory"
        elif len(processes) > limits.processes:
            self.ended = "processes"
        elif late:
            self.ended = "time"
        if self.ended:
            return self._kill(processes, limits)
        return None

    def end(self) -> None:
        """End it without a verdict, with all that it has started."""
        _end(descendants(self.pid))
        os.waitpid(self.pid, 0)
        _end_session(self.pid)

    def _kill(self, processes: list[int], limits: Limits) -> Verdict:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)  # notes where it is
            time.sleep(0.2 if self.ended == "time" else 0.05)
        _end(processes)
        _, code, usage = os.wait4(self.pid, 0)
        return self._judge(code, usage.ru_maxrss / 1024, limits)

    def _judge(self, code: int, peak: float, limits: Limits) -> Verdict:
        _end_session(self.pid)
        job, places = self.job, self.places
        seconds = time.monotonic() - self.start
        megabytes = max(self.megabytes, peak)
        if megabytes > limits.megabytes and not self.ended:
            self.ended = "memory"  # between two looks
        verdict = Verdict(job.kind, job.number, None, seconds, megabytes)
        out, err = (_end_of(path) for path in (places.out, places.err))
        verdict.said = err[-2000:]
        if not places.call.exists():
            verdict.faults.append(("harness", f"the input could not be made: {err[-500:]}"))
            return verdict
        call, before = pickle.loads(places.call.read_bytes())
        verdict.argv, verdict.note = call.argv, call.note
        if places.result.exists():
            verdict.status = json.loads(places.result.read_text())["status"]
        elif not self.ended:
            verdict.faults.append(("killed", _signal_of(code)))
        if self.ended:
            stack = places.stack.read_text(errors="replace") if places.stack.exists() else ""
            verdict.faults.append((self.ended, _innermost(stack)))
        verdict.faults += spoken_faults(verdict.status, out, err, places.root / "state")
        if call.forbidden and verdict.status == 0:
            verdict.faults.append(("let in", call.forbidden))
        killed = bool(self.ended) or verdict.status is None
        for text in damage(places.root, call, before, killed):
            group, name = text.split(": ", 1)
            verdict.faults.append((group, name))
        return verdict


def run(
    jobs: Iterable[Job],
    seeds: Path,
    scratch: Path,
    workers: int,
    limits: Limits,
    keep: Callable[[Verdict], bool] = lambda verdict: False,
) -> Iterator[Verdict]:
    """Run the jobs, and give the verdicts as they come.

    Args:
        jobs: inputs.
        seeds: see :mod:`test.robustness.seeds`.
        scratch: folder for the sandboxes.
        workers: inputs at a time.
        limits: of each.
        keep: whose sandbox stays.
    """
    waiting = iter(jobs)
    running: list[_Running] = []
    try:
        yield from _all_verdicts(waiting, running, seeds, scratch, workers, limits, keep)
    finally:
        for one in running:
            one.end()


def _all_verdicts(waiting, running, seeds, scratch, workers, limits, keep) -> Iterator[Verdict]:
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < workers:
            job = next(waiting, None)
            exhausted = job is None
            if job is not None:
                running.append(_Running(job, seeds, scratch / f"{job.kind}-{job.number}"))
        verdicts = [(one, one.watch(limits)) for one in running]
        running[:] = [one for one, verdict in verdicts if verdict is None]
        for one, verdict in verdicts:
            if verdict is not None:
                if not keep(verdict):
                    shutil.rmtree(one.places.folder, ignore_errors=True)
                yield verdict
        time.sleep(PAUSE)


def load_everything() -> None:
    """Load what the commands use, once, before the first fork."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    for name in (*(f"mixit_mss.bin.{name}" for name in MODULES), *HEAVY):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def descendants(pid: int) -> list[int]:
    """The process and all that it has started, and they."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                children = Path(f"/proc/{parent}/task/{task}/children").read_text()
                found += map(int, children.split())
    return found


def together(processes: list[int], enough: float) -> float:
    """Megabytes in memory; pages that they share count once where that would make it too much."""
    resident = sum(map(_resident, processes))
    if resident > enough and len(processes) > 1:
        return sum(map(_proportional, processes))
    return resident


def _resident(pid: int) -> float:
    with contextlib.suppress(OSError):
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def _proportional(pid: int) -> float:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


def _end(processes: list[int]) -> None:
    for pid in processes:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _end_session(session: int) -> None:
    """End what an input has left running: all processes of its session, which are ours alone."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(name)) == session:
                    os.kill(int(name), signal.SIGKILL)


def _end_of(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 200_000))
        return file.read().decode("utf-8", "replace")


def _signal_of(code: int) -> str:
    number = os.waitstatus_to_exitcode(code)
    return f"ended by {signal.Signals(-number).name}" if number < 0 else f"ended with {number}"


def _innermost(stack: str) -> str:
    """The innermost line of ours in what faulthandler wrote of the main thread."""
    main = stack.rsplit("Current thread", 1)[-1]
    calls = [line for line in main.splitlines() if 'File "' in line]
    lines = [line for line in calls if "/mixit_mss/" in line] or calls
    if not lines:
        return "an unknown place"
    file, _, rest = lines[0].strip().removeprefix('File "').partition('"')
    return f"{file.rpartition('/mixit_mss/')[2] or Path(file).name}{rest.replace(', line ', ':').replace(' in', '')}"


def warm_up(seeds: Path, folder: Path) -> None:
    """Run what is slow the first time here, before the first fork, so that no input pays for it."""
    from test.robustness import calls

    folder.mkdir()
    box = Sandbox(folder / "report", seeds)
    # no gradient may be taken here: torch takes none in a fork of a process that has taken one
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        door.main(calls.report(box).argv)
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page


def make_seeds(folder: Path) -> None:
    """Make the sound inputs in a fork, so that nothing of it stays in this process.

    Raises:
        RuntimeError: they cannot be made.
    """
    from test.robustness import seeds

    pid = os.fork()
    if pid == 0:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                seeds.build(folder)
            os._exit(0)
        except BaseException:
            print(said.getvalue(), file=sys.stderr)
            traceback.print_exc()
        finally:
            os._exit(1)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError(f"the inputs to break could not be made in {folder}")
