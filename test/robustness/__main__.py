"""``python -m test.robustness``: a campaign of broken inputs, or one of them again."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from test.robustness.known import reason
from test.robustness.verdict import Verdict, same_fault

DESCRIPTION = """\
Give every command thousands of broken inputs, and report each that ends in a traceback, writes outside
of the folder that it was given, removes or changes a file of somebody else, or takes too much memory or
time. No network is used, and no training is longer than a step.

An input depends on its kind, its number and --seed alone, so that each finding can be had again:

  python -m test.robustness --inputs 5000              all kinds, a few minutes per thousand
  python -m test.robustness --kinds audio,zips --seed 7
  python -m test.robustness --only audio:17 --keep /tmp/found
                                                        one input, whose folder stays to be looked at
  python -m test.robustness --only plain:separate       a command with nothing broken

Kinds: audio (sounds of 16 formats), tables (CSV), yaml (configs), json (model configs, stamps, notes),
checkpoints (weights), zips (archives on a server), names (of songs, stems, labels), arguments.
The exit status is 1 where something was found that test/robustness/known.py does not list.
Faults: traceback, status, silence (failed without a word), killed, time, memory, processes, written
outside of its folder, changed, removed, left behind (a temporary file), let in (a file that was not
given was read). Linux only."""


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(
        prog="python -m test.robustness",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--inputs", type=_positive, default=400, metavar="N", help="in all (default: 400)")
    add("--seed", type=int, default=0, metavar="N", help="of all draws (default: 0)")
    add("--kinds", metavar="A,B", help="only these kinds")
    add("--first", type=int, default=0, metavar="N", help="number to begin with (default: 0)")
    add("--only", action="append", metavar="KIND:NUMBER", help="only this input; may be repeated")
    add("--workers", type=_positive, metavar="N", help="inputs at a time (default: one a core)")
    add("--keep", type=Path, metavar="FOLDER", help="keep the folders of findings (or --only) here")
    add("--report", type=Path, metavar="FILE", help="write each verdict as a line of JSON")
    add("--seconds", type=float, default=20.0, metavar="S", help="for one input (default: 20)")
    add(
        "--megabytes", type=float, default=2000.0, metavar="M", help="for one input (default: 2000)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign; returns the exit status."""
    args = build_parser().parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    from test.robustness import campaign
    from test.robustness.calls import CALLS
    from test.robustness.kinds import KINDS, job

    kinds = args.kinds.split(",") if args.kinds else list(KINDS)
    if unknown := set(kinds) - set(KINDS):
        print(f"no kind '{min(unknown)}'; choose from {', '.join(KINDS)}", file=sys.stderr)
        return 2
    try:
        wanted = [_wanted(text, KINDS, CALLS) for text in args.only or ()]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not wanted:
        count = args.first + -(-args.inputs // len(kinds))
        wanted = [(kind, number) for number in range(args.first, count) for kind in kinds]
    jobs = [
        campaign.Job(kind, number, list(CALLS.values())[number])
        if kind == "plain"
        else job(args.seed, kind, number)
        for kind, number in wanted
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through what cleans up
    scratch = Path(tempfile.mkdtemp(prefix="mixit-mss-fuzz-"))
    try:
        verdicts = _run(args, jobs, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _summarise(verdicts, args)


def _wanted(text: str, kinds, calls) -> tuple[str, int]:
    kind, _, number = text.partition(":")
    if kind == "plain" and number in calls:
        return kind, list(calls).index(number)
    if kind in kinds and number.isdigit():
        return kind, int(number)
    raise ValueError(f"--only {text}: write KIND:NUMBER or plain:COMMAND, as --help shows")


def _run(args: argparse.Namespace, jobs: list, scratch: Path) -> list[Verdict]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from test.robustness import campaign

    console = Console(stderr=True)
    with console.status("loading all commands, and making sound inputs to break"):
        campaign.load_everything()
        campaign.make_seeds(scratch / "seeds")
        if len(jobs) > 20:
            campaign.warm_up(scratch / "seeds", scratch / "warm")
    workers = args.workers or len(os.sched_getaffinity(0))
    limits = campaign.Limits(args.seconds, args.megabytes)
    folder = args.keep or scratch / "work"
    folder.mkdir(parents=True, exist_ok=True)
    keep = (lambda verdict: bool(args.only or _new(verdict))) if args.keep else lambda _: False
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    verdicts, found = [], 0
    report = args.report.open("w") if args.report else None
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("0 findings", total=len(jobs))
        for verdict in campaign.run(
            jobs, scratch / "seeds", folder.absolute(), workers, limits, keep
        ):
            verdicts.append(verdict)
            found += bool(_new(verdict))
            progress.update(task, advance=1, description=f"{found} findings")
            if report:
                report.write(verdict.as_json() + "\n")
                report.flush()
    if report:
        report.close()
    return verdicts


def _new(verdict: Verdict) -> list[tuple[str, str]]:
    return [fault for fault in verdict.faults if not reason(fault)]


def _summarise(verdicts: list[Verdict], args: argparse.Namespace) -> int:
    """Print the findings, each cause once, and a table by kind."""
    causes: dict[tuple[str, str], list[tuple[Verdict, str]]] = defaultdict(list)
    for verdict in verdicts:
        for fault in _new(verdict):
            causes[same_fault(fault)].append((verdict, fault[1]))
        if args.only:
            _print_one(verdict)
    for (group, _), found in sorted(causes.items(), key=lambda item: (item[0][0], -len(item[1]))):
        verdict, place = found[0]
        print(f"\n{group}: {place}  ({len(found)} inputs)")
        print(f"  {verdict.note}")
        print(f"  mixit-mss {shlex.join(verdict.argv)}"[:400].encode("utf-8", "replace").decode())
        print(f"  again: {again(verdict, args.seed)}")
    print(
        f"\n{'kind':<12} {'inputs':>6} {'done':>6} {'refused':>7} {'usage':>6} {'faulty':>6} {'s':>6} {'max s':>6} {'max MB':>7}"
    )
    for kind in dict.fromkeys(verdict.kind for verdict in verdicts):
        of_kind = [verdict for verdict in verdicts if verdict.kind == kind]
        counts = Counter(verdict.status for verdict in of_kind)
        share = [f"{100 * counts[status] / len(of_kind):.0f} %" for status in (0, 1, 2)]
        faulty = sum(bool(_new(verdict)) for verdict in of_kind)
        seconds = [verdict.seconds for verdict in of_kind]
        peak = max(verdict.megabytes for verdict in of_kind)
        print(
            f"{kind:<12} {len(of_kind):>6} {share[0]:>6} {share[1]:>7} {share[2]:>6} {faulty:>6} "
            f"{sum(seconds):>6.0f} {max(seconds):>6.1f} {peak:>7.0f}"
        )
    accepted = sum(bool(reason(fault)) for verdict in verdicts for fault in verdict.faults)
    print(f"\n{len(causes)} findings; {accepted} known and accepted (test/robustness/known.py)")
    return int(bool(causes))


def again(verdict: Verdict, seed: int) -> str:
    """The command that runs one input again."""
    from test.robustness.calls import CALLS

    number = list(CALLS)[verdict.number] if verdict.kind == "plain" else verdict.number
    return f"python -m test.robustness --seed {seed} --only {verdict.kind}:{number} --keep FOLDER"


def _print_one(verdict: Verdict) -> None:
    words = shlex.join(verdict.argv).encode("utf-8", "replace").decode()
    print(f"{verdict.kind}:{verdict.number}  {verdict.note}\nmixit-mss {words}")
    print(f"status {verdict.status}, {verdict.seconds:.1f} s, {verdict.megabytes:.0f} MB")
    print(verdict.said)


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
