#!/usr/bin/env python3
"""Run the steps of the study that are not done yet, and record their wall time.

A step is done if it ran with the same commands, configs and input files, so a killed study resumes,
even in the middle of a training.  Several steps run at a time, each as soon as its inputs exist.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from steps import RECIPE, Step, planned, steps_of
from study import CUTS, PARTS

from mixit_mss.bin.main import run
from mixit_mss.errors import UserError
from mixit_mss.files import write_json
from mixit_mss.stamps import Fingerprint
from mixit_mss.training.config import read_yaml

SECONDS, MACHINES = "seconds.csv", "machines.json"
NOTING = threading.Lock()  # held while a job writes to shared files
VOLATILE = ("--nj", "--ngpu")  # how work is distributed; results do not depend on them


def identity(step: Step) -> Fingerprint:
    """Fingerprint of everything the result of a step depends on."""
    commands = [
        [word for i, word in enumerate(words) if not {words[i - 1], word} & set(VOLATILE)]
        for words in step.commands
    ]
    configs = [path for path in step.reads if path.suffix == ".yaml"]
    files = [path for path in step.reads if path.suffix != ".yaml"]
    told = {path.name: read_yaml(path) for path in configs}
    inputs = {f"{number} {path.name}": path for number, path in enumerate(files)}
    return Fingerprint("study", {"commands": commands, "configs": told}, inputs)


def is_over(step: Step, folder: Path) -> bool:
    """Whether the step is done."""
    there = all(path.exists() for path in step.writes)
    return there and identity(step).is_done(stamp(step, folder))


def stamp(step: Step, folder: Path) -> Path:
    """Folder of the stamp that marks a step as done."""
    return folder / ".steps" / step.name


Call = Callable[[Sequence[str], Path | None], int]


def call(command: Sequence[str], log: Path | None, jobs: int = 1) -> int:
    """Run a command in the recipe's folder; returns its exit status.

    With several jobs, output is appended to ``log``, and each job gets a share of the cores (unless
    ``OMP_NUM_THREADS`` is set): small networks train faster side by side.
    """
    if jobs == 1 or log is None:
        return subprocess.run(command, cwd=RECIPE, check=False).returncode
    threads = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.run(
            command,
            cwd=RECIPE,
            check=False,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={"OMP_NUM_THREADS": threads, **os.environ},
        ).returncode


def walk(steps: Sequence[Step], folder: Path, call: Call = call, jobs: int = 1) -> int:
    """Run the steps that are not done, ``jobs`` at a time; returns how many ran.

    Raises:
        UserError: a command failed; no further steps start, and finished ones stay done.
    """
    writer = {path: step.name for step in steps for path in step.writes}
    needs = {step.name: {writer[path] for path in step.reads if path in writer} for step in steps}
    waiting, running, over, ran = list(steps), set[Future[str]](), set[str](), 0
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            step = next((step for step in waiting if needs[step.name] <= over), None)
            if step is None or len(running) == jobs:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                over |= {future.result() for future in ended}
                continue
            waiting.remove(step)
            if is_over(step, folder):
                over.add(step.name)
                continue
            print(f"== {len(steps) - len(waiting)}/{len(steps)} {step.name} ==", flush=True)
            ran += 1
            if jobs == 1:
                over.add(take(step, folder, call))
            else:
                running.add(pool.submit(take, step, folder, call))
    return ran


def take(step: Step, folder: Path, call: Call) -> str:
    """Run one step and mark it as done; returns its name."""
    started, log = time.monotonic(), folder / "logs" / f"{step.name}.log"
    for command in step.commands:
        status = call(command, log)
        if status:
            where = f" (see {log})" if log.exists() else ""
            raise UserError(
                f"{step.name}: '{shlex.join(command)}' ended with status {status}{where}; "
                "when that is mended, the same command goes on from here"
            )
    for spent in step.spent:
        shutil.rmtree(spent, ignore_errors=True)
    seconds = time.monotonic() - started
    with NOTING:
        note_machine(folder / MACHINES)
        note_seconds(folder / SECONDS, step, seconds)
    print(f"{step.name}: done in {seconds:.0f} s", flush=True)
    identity(step).mark_done(stamp(step, folder), [path for path in step.writes if path.is_file()])
    return step.name


def note_seconds(path: Path, step: Step, seconds: float) -> None:
    """Append the wall time of a step; for an interrupted step, the time since it was resumed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(["step", "expected", "seconds"])
        table.writerow([step.name, f"{step.seconds:.0f}", f"{seconds:.1f}"])


def note_machine(path: Path) -> None:
    """Add this machine to the list, if it is not in it yet."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    here = {"processor": processor(), "cores": len(os.sched_getaffinity(0))}
    if here not in known:
        write_json(path, [*known, here])


def processor() -> str:
    """Name of the processor, as reported by Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown processor"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def outline(steps: Sequence[Step], folder: Path, jobs: int = 1) -> str:
    """List all steps with their expected wall time, and the actual one for those that are done."""
    took: dict[str, float] = {}
    if (folder / SECONDS).exists():
        with (folder / SECONDS).open(encoding="utf-8", newline="") as file:
            took = {row["step"]: float(row["seconds"]) for row in csv.DictReader(file)}
    lines, left = [f"{'expected':>9}  {'took':>9}  step (seconds)"], []
    for step in steps:
        over = is_over(step, folder)
        if not over:
            left.append(step)
        known = f"{took[step.name]:9.0f}" if over and step.name in took else " " * 9
        lines.append(f"{step.seconds:9.0f}  {known}  {step.name}{', done' if over else ''}")
    total, rest = in_words(planned(steps, jobs)), in_words(planned(left, jobs))
    lines.append(f"{len(steps)} steps, {total} in all, {rest} of it to do")
    return "\n".join(lines)


def in_words(seconds: float) -> str:
    """Format in minutes, or in hours from two hours on."""
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.0f} minutes"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="walk.py",
        description="Run every step of the study that is not done yet, or (--dry-run) list them all "
        "with the time that each should take. run.sh calls this.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--cut", choices=tuple(CUTS), default="full", help="size of the study")
    parser.add_argument("--work-dir", default="exp/study", help="folder for everything")
    parser.add_argument("--seeds", default="", help="such as '1 2 3'; the cut's if left out")
    parser.add_argument("--part", choices=("all", *PARTS), default="all", help="of the study")
    parser.add_argument("--jobs", type=int, default=2, help="steps at a time, if it may be")
    parser.add_argument("--nj", type=int, default=2, help="processes for audio")
    parser.add_argument("--ngpu", type=int, default=1, help="devices for training")
    parser.add_argument("--dry-run", action="store_true", help="list, run nothing")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the steps, or list them."""
    args = build_parser().parse_args(argv)
    cut = CUTS[args.cut]
    seeds = parse_seeds(args.seeds) or cut.seeds
    parts = PARTS if args.part == "all" else (args.part,)
    folder = Path(os.path.abspath(args.work_dir)) / cut.name
    options = (args.work_dir, args.nj, args.ngpu, parts)
    steps = [step for seed in seeds for step in steps_of(cut, seed, *options)]
    if args.dry_run:
        print(outline(steps, folder, args.jobs))
        return
    ran = walk(steps, folder, partial(call, jobs=args.jobs), args.jobs)
    print(f"{folder}: {ran} of {len(steps)} steps run, the others were done")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse integers separated by spaces; an empty text gives none."""
    if not all(word.isascii() and word.isdigit() for word in text.split()):
        raise UserError(f"--seeds {text!r}: give whole numbers, separated by spaces")
    return tuple(dict.fromkeys(map(int, text.split())))


if __name__ == "__main__":
    sys.exit(run(main, "walk.py"))
