"""Run any stage as SLURM jobs, through submitit."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mixit_mss import limits
from mixit_mss.bin import arguments
from mixit_mss.bin.main import COMMANDS, run
from mixit_mss.cluster import jobs
from mixit_mss.errors import UserError
from mixit_mss.files import write_json

ARRAYS = ("segment", "separate", "score")
TRAININGS = ("pretrain", "finetune")
ON_GPU = ("separate", "select-channels")
OURS = ("nodes", "ntasks", "ntasks_per_node", "array", "output", "error", "signal", "chdir")
"""sbatch options that follow from ours, or that waiting relies on."""

DESCRIPTION = """\
Run another command as jobs of a SLURM cluster, and wait for them:

  mixit-mss dispatch --partition gpu --time 24:00:00 --jobs-folder exp/jobs -- pretrain --config ...

  segment, separate --manifest and score --manifest become an array of --num-jobs jobs, each with a
  share of the songs; at the end the same command here puts their results together.
  pretrain and finetune become one job of --num-nodes nodes with --ngpu processes each.
  Any other command becomes one job with one process.

A job that is pre-empted, or whose time is up, is requeued and resumes. Ctrl-C stops waiting, not the jobs:
it says how to cancel them, and the same command waits for them again. All nodes must share the folders of
the songs, the results and this environment. The exit status is that of the command. A stage that is
already finished queues no job."""


def build_parser() -> argparse.ArgumentParser:
    """All options of ``mixit-mss dispatch``."""
    parser = arguments.Parser(
        prog="mixit-mss dispatch",
        description=DESCRIPTION,
        formatter_class=arguments.Help,
    )
    add = parser.add_argument
    add(
        "--jobs-folder",
        type=arguments.output_folder,
        required=True,
        metavar="DIR",
        help="gets the logs; shared by all nodes",
    )
    add(
        "--partition",
        type=arguments.text,
        default="",
        help="of the cluster (default: the cluster's own)",
    )
    add(
        "--time",
        type=arguments.text,
        default="24:00:00",
        help="limit of a job, as sbatch reads it (default: 24:00:00)",
    )
    add(
        "--num-jobs",
        type=arguments.whole(1, 10000),
        default=8,
        metavar="N",
        help="jobs of an array (default: 8)",
    )
    add(
        "--num-nodes",
        type=arguments.ranged(limits.NODES),
        default=1,
        metavar="N",
        help="nodes of a training (default: 1)",
    )
    add(
        "--ngpu",
        type=arguments.ranged(limits.DEVICES),
        default=1,
        metavar="N",
        help="GPUs per node (default: 1)",
    )
    add(
        "--cpus",
        type=arguments.whole(1, 4096),
        default=1,
        metavar="N",
        help="CPU cores of a process (default: 1)",
    )
    add(
        "--slurm-options",
        type=arguments.text,
        default="",
        metavar="'KEY=VALUE ...'",
        help="more options of sbatch, as in 'account=music qos=long mem=64G cpus-per-task=12'; one "
        "that is empty is not given, as in 'gpus-per-node=' where a cluster does not count GPUs",
    )
    add(
        "command",
        nargs="+",
        type=str,
        metavar="COMMAND",
        help="after --: a command with its options",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Submit the jobs, wait for them, and merge their results.

    Raises:
        UserError: something is missing, or the cluster refuses the job.
        SystemExit: with the command's status, if that is not 0.
    """
    args = build_parser().parse_args(argv)
    _check(args)
    command, name = args.command, args.command[0]
    if _is_done(command):
        _run_here(command)
        return
    submission = _submitted_before(args) or _submit(args)
    print(f"{name}: job {submission.name}; logs in {submission.folder}", flush=True)
    try:
        statuses = jobs.wait(submission, name)
    except KeyboardInterrupt:
        print(
            f"\n{name}: job {submission.name} goes on; 'scancel {submission.name}' ends it, and the "
            "same command waits for it again",
            file=sys.stderr,
        )
        raise
    _note_file(submission.folder).unlink(missing_ok=True)
    if failed := {job: status for job, status in statuses.items() if status}:
        _report(submission, name, failed)
        sys.exit(max(failed.values()))
    if len(submission.ids) > 1:
        _run_here(command)
    else:
        print(jobs.log_tail(submission.log(submission.ids[0]), lines=5))


def run_command(argv: tuple[str, ...], place: str) -> None:
    """Run ``mixit-mss`` with these arguments in folder ``place``; called inside a job."""
    from mixit_mss.bin.main import main as mixit_mss

    jobs.run_in_job(mixit_mss, argv, place)


def _is_done(command: list[str]) -> bool:
    """Whether the command has nothing to do, so that no job needs to be queued."""
    name, *words = command
    module = importlib.import_module(f"mixit_mss.bin.{name.replace('-', '_')}")
    try:
        return hasattr(module, "is_done") and module.is_done(words)
    except (UserError, OSError):
        return False  # the command itself will report the error


def _run_here(command: list[str]) -> None:
    from mixit_mss.bin.main import main as mixit_mss

    if status := mixit_mss(command):
        sys.exit(status)


def plan(args: argparse.Namespace) -> tuple[list[list[str]], dict[str, int | str]]:
    """The commands of the jobs, and the sbatch options.

    The options include a training's nodes and tasks per node; its command gets the number of nodes.
    """
    command, name = list(args.command), args.command[0]
    training, on_cpu = name in TRAININGS, _value_of(command, "--device") == "cpu"
    commands = [command]
    if training and args.num_nodes > 1:
        commands = [[*command, "--num-nodes", str(args.num_nodes)]]
    shared_out = name == "segment" or (name in ARRAYS and "--manifest" in command)
    if shared_out and args.num_jobs > 1:
        shares = range(1, args.num_jobs + 1)
        commands = [[*command, "--shard", f"{share}/{args.num_jobs}"] for share in shares]
    gpus = args.ngpu if training else min(args.ngpu, int(name in ON_GPU))
    options: dict[str, int | str] = {
        "partition": args.partition,
        "time": args.time,
        "cpus_per_task": args.cpus,
        "gpus_per_node": 0 if on_cpu else gpus,
        "nodes": args.num_nodes if training else 1,
        "ntasks_per_node": args.ngpu if training else 1,
        "requeue": True,
    }
    options |= _slurm_options(args.slurm_options)
    return commands, {key: value for key, value in options.items() if value not in ("", 0)}


def _slurm_options(text: str) -> dict[str, str]:
    options = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        key = key.lstrip("-").replace("-", "_")
        if not equals or not key:
            raise UserError(f"--slurm-options: '{word}' must be written KEY=VALUE")
        if key in OURS:
            raise UserError(f"--slurm-options: {key} cannot be set; it follows from other options")
        options[key] = value
    return options


def _check(args: argparse.Namespace) -> None:
    name = args.command[0]
    if name not in COMMANDS or name == "dispatch":
        known = ", ".join(key for key in COMMANDS if key != "dispatch")
        raise UserError(f"no command '{name}' after --; choose one of {known}")


def _submit(args: argparse.Namespace) -> jobs.Submission:
    folder = _folder_of(args)
    commands, options = plan(args)
    delay = options.pop("signal_delay_s", 90)
    shape = {key: int(options.pop(key)) for key in ("nodes", "ntasks_per_node")}
    executor = _executor(folder)
    for kind in ("status", "stops"):  # the cluster may have restarted its job ids at 1
        for old in folder.glob(f"*.{kind}"):
            old.unlink()
    executor.update_parameters(
        name=f"mixit-mss-{args.command[0]}",
        nodes=shape["nodes"],
        tasks_per_node=shape["ntasks_per_node"],
        stderr_to_stdout=True,
        slurm_signal_delay_s=int(delay),
        slurm_additional_parameters=options,
        # since SLURM 22.05 srun does not inherit this from sbatch; a failed task ends the others
        slurm_srun_args=[
            f"--cpus-per-task={options.get('cpus_per_task', 1)}",
            "--kill-on-bad-exit=1",
        ],
    )
    place = os.getcwd()
    with _submitting(args.partition):
        if len(commands) == 1:
            submitted = [executor.submit(run_command, tuple(commands[0]), place)]
        else:
            words = [tuple(command) for command in commands]
            submitted = executor.map_array(run_command, words, [place] * len(words))
    ids = tuple(job.job_id for job in submitted)
    submission = jobs.Submission(folder, ids, shape["nodes"] * shape["ntasks_per_node"])
    write_json(_note_file(folder), {"ids": ids, "tasks": submission.tasks})
    return submission


def _executor(folder: Path):
    try:
        import submitit
    except ImportError as error:
        raise UserError("--executor slurm needs submitit: pip install submitit") from error
    for program in ("sbatch", "srun", "squeue", "scontrol"):
        if shutil.which(program) is None:
            raise UserError(
                f"--executor slurm needs SLURM's {program}, which is not here; call it on a machine "
                "of the cluster, or take --executor local"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return submitit.AutoExecutor(folder, cluster="slurm")
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written ({error.strerror})") from error


@contextlib.contextmanager
def _submitting(partition: str) -> Iterator[None]:
    """Hide the job that this process may run in, and report why sbatch refuses."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    inherited = {}
    if "SLURM_JOB_ID" in os.environ:
        names = [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]
        inherited = {name: os.environ.pop(name) for name in names}
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit also prints what it raises
            yield
    except (FailedJobError, FailedSubmissionError) as error:
        said = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines() if line]
        reason = f"sbatch refuses the job: {said[0] if said else 'without a reason'}"
        if "partition" in reason and (known := _partitions()):
            reason = f"--partition {partition or '(none)'}: {reason}; this cluster has {known}"
        if "gres" in reason:
            reason += "; if it does not count GPUs, give --slurm-options gpus-per-node="
        raise UserError(reason) from error
    finally:
        os.environ.update(inherited)


def _partitions() -> str:
    command = ["sinfo", "--noheader", "--format=%R"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(done.stdout.split())


def _folder_of(args: argparse.Namespace) -> Path:
    """The folder for this command and working directory."""
    digest = hashlib.sha256(json.dumps([os.getcwd(), args.command]).encode()).hexdigest()
    return Path(args.jobs_folder).absolute() / f"{args.command[0]}_{digest[:8]}"


def _note_file(folder: Path) -> Path:
    return folder / "submitted.json"


def _submitted_before(args: argparse.Namespace) -> jobs.Submission | None:
    """Unfinished jobs of the same command from an earlier call, if any."""
    folder = _folder_of(args)
    try:
        note = json.loads(_note_file(folder).read_text(encoding="utf-8"))
        submission = jobs.Submission(folder, tuple(note["ids"]), note["tasks"])
    except (OSError, ValueError, KeyError):
        return None
    if not jobs.is_waiting(submission):
        return None
    print(f"{args.command[0]}: job {submission.name} is at it since before")
    return submission


def _report(submission: jobs.Submission, name: str, failed: dict[str, int]) -> None:
    for job, status in sorted(failed.items())[:3]:
        found = submission.statuses(job)
        task = next((task for task, own in enumerate(found) if own), 0)
        path = submission.log(job, task)
        print(f"\n{name}: job {job} failed with status {status}; {path} ends:", file=sys.stderr)
        print(jobs.log_tail(path), file=sys.stderr)
    if len(submission.ids) > 1:
        print(
            f"\n{name}: {len(failed)} of {len(submission.ids)} jobs failed; run the same command "
            "again to go on",
            file=sys.stderr,
        )


def _value_of(command: list[str], option: str) -> str | None:
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


if __name__ == "__main__":
    sys.exit(run(main, "dispatch"))
