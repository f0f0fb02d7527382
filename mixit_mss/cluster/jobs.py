"""Both ends of a SLURM job: the command inside it, and the process that waits for it.

Each task of a job writes a file with the command's exit status.  A task stopped by a signal writes
none: its job is requeued and runs the same command again, which resumes.  So a job is over when all
of its tasks have a status, or when the queue says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mixit_mss.errors import UserError
from mixit_mss.files import write_text

if TYPE_CHECKING:
    from submitit import JobEnvironment

STOPPED_BY = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that SLURM sends before it ends a job: for pre-emption, and before the time limit."""

ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
}
"""States of a finished job in the queue; a pre-empted job may still be requeued."""

IMPORT_SECONDS = 0.2
"""Delay after which a signal that arrived during an import is sent again."""

SHORT_SECONDS, SHORT_STOPS = 300.0, 5
"""A job stopped within this time of its start, this many times in a row, is not requeued: its time
limit is too short to make progress."""

GONE = "gone from the queue"
GRACE_SECONDS = 10.0
"""How long a status file may take to appear on a network file system."""


@dataclass(frozen=True)
class Submission:
    """Jobs that were submitted together.

    Attributes:
        folder: folder of their logs and status files.
        ids: job ids: ``12``, or ``12_3`` in an array.
        tasks: number of processes of each job.
    """

    folder: Path
    ids: tuple[str, ...]
    tasks: int = 1

    @property
    def name(self) -> str:
        """The id that ``scancel`` takes for all of them."""
        return self.ids[0].split("_")[0]

    def log(self, job: str, task: int = 0) -> Path:
        """Path of a task's log."""
        return self.folder / f"{job}_{task}_log.out"

    def statuses(self, job: str) -> list[int | None]:
        """Exit status of each task; None while it is running."""
        return [_read(_status_file(self.folder, job, task)) for task in range(self.tasks)]


def run_in_job(main: Callable[[list[str]], int], argv: tuple[str, ...], place: str) -> None:
    """Inside a job, call ``main`` with these arguments in folder ``place``, in this process.

    A signal in :data:`STOPPED_BY` unwinds the command, unless the command handles it itself, and
    requeues the job.

    Raises:
        SystemExit: with the command's status, if that is not 0.
    """
    from submitit import JobEnvironment

    job, began = JobEnvironment(), time.monotonic()
    _install_handlers()
    status = _status_of(main, argv, place)
    _ignore_signals()
    stopped_by = status - 128
    if stopped_by in STOPPED_BY and "SLURM_JOB_ID" in os.environ:
        stops = _count_stops(job, short=time.monotonic() - began < SHORT_SECONDS)
        if stops < SHORT_STOPS:
            if job.global_rank == 0:
                _requeue(job.job_id, stopped_by)
            # with any other status, SLURM could end the first task before it requeues the job
            sys.exit(0)
        print(
            f"job {job.job_id} was stopped {stops} times in a row within {SHORT_SECONDS / 60:.0f} minutes "
            "of its start and does not come back: give it more --time, or a partition that lets it run",
            file=sys.stderr,
            flush=True,
        )
    write_text(_status_file(job.paths.folder, job.job_id, job.global_rank), f"{status}\n")
    if status:
        sys.exit(status)


def wait(submission: Submission, what: str) -> dict[str, int]:
    """Wait for jobs through all requeues, and print changes of state.

    Returns:
        The exit status of every job: the largest among its tasks.
    """
    ended: dict[str, int] = {}
    missed: dict[str, float] = {}  # job -> since when it has been over without a status
    states, asked, said = None, float("-inf"), ""
    begin = time.monotonic()
    while True:
        for job in set(submission.ids) - set(ended):
            found = [status for status in submission.statuses(job) if status is not None]
            if len(found) == submission.tasks:
                ended[job] = max(found)
        now = time.monotonic()
        # poll often at first, later once a minute, to limit the load on the cluster
        pause = GRACE_SECONDS if missed else min(60, max(2, (now - begin) / 10))
        if len(ended) < len(submission.ids) and now - asked >= pause:
            asked = now
            if (answer := queue_states()) is not None:
                states = answer
                over = [j for j in submission.ids if j not in ended and _is_over(states, j)]
                missed = {job: missed.get(job, now) for job in over}
                for job in over:
                    if now - missed[job] >= GRACE_SECONDS:
                        ended[job] = _last_word(submission, job, states, what)
        if (line := _summary(submission, ended, states)) != said:
            said = line
            print(f"{what}: {line}", flush=True)
        if len(ended) == len(submission.ids):
            return ended
        time.sleep(1)


def queue_states() -> dict[str, str] | None:
    """State of each of this user's jobs in the queue; None if the cluster does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}"]
    command.append("--format=%i %T")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split() for line in done.stdout.splitlines())


def is_waiting(submission: Submission) -> bool:
    """Whether any of the jobs is queued or running."""
    states = queue_states() or {}
    return not all(_is_over(states, job) for job in submission.ids)


def log_tail(path: Path, lines: int = 20) -> str:
    """The end of a log, without submitit's own lines."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    kept = [line for line in text.splitlines() if not line.startswith("submitit ")]
    return "\n".join(kept[-lines:])


def _status_of(main: Callable[[list[str]], int], argv: tuple[str, ...], place: str) -> int:
    try:
        try:
            os.chdir(place)
        except OSError as error:
            raise UserError(
                f"{os.uname().nodename} does not see '{place}'; all nodes must share that folder"
            ) from error
        return main(list(argv))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except UserError as error:
        print(error, file=sys.stderr)
    except Exception:
        traceback.print_exc()
    return 1


def _ignore_signals() -> None:
    """Ignore further signals while the process is about to end."""
    for number in (*STOPPED_BY, signal.SIGCONT):
        signal.signal(number, signal.SIG_IGN)


def _install_handlers() -> None:
    ours = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != ours:  # SLURM signals every process, including forked workers
            return
        if _is_importing(frame):  # torch's libraries abort if an exception interrupts their loading
            again = threading.Timer(IMPORT_SECONDS, os.kill, (ours, number))
            again.daemon = True
            again.start()
            return
        _ignore_signals()
        raise SystemExit(128 + number)

    for number in STOPPED_BY:
        signal.signal(number, stop)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported above or at this frame."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _requeue(job: str, stopped_by: int) -> None:
    """Requeue this job, unless it is being ended by scancel, or by SLURM, which requeues it itself.

    A job that was only warned still counts as running.
    """
    name = signal.Signals(stopped_by).name
    state = (queue_states() or {}).get(job, "RUNNING")
    if state != "RUNNING":
        fate = f"is {state.lower()} already and does not ask to come back"
    elif subprocess.call(["scontrol", "requeue", job]) == 0:
        fate = "goes back into the queue"
    else:
        fate = "cannot go back into the queue"
    print(f"job {job} {fate} ({name})", file=sys.stderr, flush=True)


def _count_stops(job: JobEnvironment, short: bool) -> int:
    """How often in a row this task was stopped soon after its start, including this time."""
    path = job.paths.folder / f"{job.job_id}_{job.global_rank}.stops"
    stops = (_read(path) or 0) + 1 if short else 0
    write_text(path, f"{stops}\n")
    return stops


def _status_file(folder: Path, job: str, task: int) -> Path:
    return folder / f"{job}_{task}.status"


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _last_word(submission: Submission, job: str, states: dict[str, str], what: str) -> int:
    """The status of a job in which some tasks left no status."""
    failed = [status for status in submission.statuses(job) if status]
    if not failed:
        print(f"{what}: {_loss(submission, job, states)}", file=sys.stderr, flush=True)
    return max(failed, default=1)


def _is_over(states: dict[str, str], job: str) -> bool:
    return states.get(job, GONE) in {*ENDED, GONE}


def _summary(submission: Submission, ended: dict[str, int], states: dict[str, str] | None) -> str:
    """Number of jobs in each state."""
    counts: dict[str, int] = {}
    for job in submission.ids:
        state = "done" if job in ended else (states or {}).get(job, "submitted").lower()
        counts[state] = counts.get(state, 0) + 1
    parts = (f"{number} {state}" for state, number in sorted(counts.items()))
    return f"job {submission.name}: " + ", ".join(parts)


def _loss(submission: Submission, job: str, states: dict[str, str]) -> str:
    """Why a job has no status."""
    state = states.get(job, GONE)
    if not submission.log(job).exists():
        return (
            f"job {job} left no log in '{submission.folder}' ({state}); --work-dir must lie on a "
            "file system that all nodes share"
        )
    return f"job {job} was ended by the cluster ({state}); run the same command again to go on"
