#!/usr/bin/env python3
"""Write the study's RESULTS.md, figures and raw scores; the same results give the same bytes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import axes
import tables
from answer import QUESTION, answer
from results import Results, oracle_name, write_csv
from steps import RECIPE
from study import COMMON, CUTS, Finetuning, Pretraining
from walk import parse_seeds

from mixit_mss.bin.main import run
from mixit_mss.errors import UserError
from mixit_mss.files import write_text
from mixit_mss.report.document import Block, Bullets, Grid, Heading, Text, markdown, page

TITLE = "Results"
NAME = {"tables": "tables and learning curves", "correlation": "correlation and density"}


def results_blocks(results: Results, figures: Path) -> list[Block]:
    """The full text; it names the parts that were not run yet."""
    cut = results.cut
    names = {part: scored_names(results, part) for part in NAME}
    diagnosed = cut.diagnosed()
    ready = {
        "tables": not results.missing(names["tables"]),
        "correlation": not results.missing(names["correlation"], diagnosed),
    }
    if not any(ready.values()):
        lacking = results.missing(names["tables"])[0]
        raise UserError(
            f"neither part of the study is complete; '{lacking}' is missing, for instance"
        )
    done = [part for part in NAME if ready[part]]
    blocks = [*_head(results, done, figures.parent), *_facts(results, done)]
    if ready["correlation"]:
        levels, densities = axes.correlation_points(results), axes.density_points(results)
        blocks += answer(results, levels, densities)
    if ready["tables"]:
        blocks += [
            *tables.table_1(results),
            *tables.table_2(results),
            *tables.table_3(results, figures),
            *tables.pretraining_steps(results, figures),
            *tables.learning(results, figures),
        ]
    if ready["correlation"]:
        blocks += axes.correlation(results, levels, figures)
        blocks += axes.density(results, densities, figures)
        write_csv(figures / "chunks.csv.gz", results.all_chunks(diagnosed))
    scored = list(dict.fromkeys(name for part in done for name in names[part]))
    write_csv(figures / "scores.csv", results.all_scores(scored))
    return [*blocks, *_tail(results, done, figures)]


def scored_names(results: Results, part: str) -> list[str]:
    """Experiments of a part of the study that have scores."""
    cut = results.cut
    names = [each.name for each in cut.runs([part]) if isinstance(each, Finetuning)]
    if part == "tables":
        names += [f"{each.name}/selected_4" for each in cut.voted()]
        return [*names, oracle_name("irm"), oracle_name("mixture")]
    return [*names, *(oracle_name("irm", level) for level in cut.levels)]


def _head(results: Results, done: Sequence[str], out: Path) -> list[Block]:
    cut, seeds = results.cut, results.seeds
    recipe = Path(os.path.relpath(RECIPE / "README.md", out)).as_posix()
    left = [words for part, words in NAME.items() if part not in done]
    text = (
        f"Made by `{command(results)}` of [egs/midi_study]({recipe}): the paper's claims at a "
        f"size that a CPU trains, on songs that a MIDI band plays. This is the cut `{cut.name}`, with "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}. Nothing here is typed by "
        "hand. Test songs chose nothing: outputs were voted for, and checkpoints chosen, on validation "
        "songs."
    )
    if left:
        text += f" Not run yet: {' and '.join(left)}."
    where = (
        f"The question of the paper's title is answered [below](#{_anchor(QUESTION)})."
        if ("correlation" in done)
        else ""
    )
    return [Heading(TITLE, 1), Text(text), *([Text(where)] if where else [])]


def _facts(results: Results, done: Sequence[str]) -> list[Block]:
    """What was run, where, and with which versions."""
    cut, trained = results.cut, results.cut.runs(done)
    names = [each.name for each in trained]
    facts = results.facts(names)
    starts = [start for record in results.run_records(names) for start in record["starts"]]
    before, after = cut.pretraining(), cut.scratch()
    if "tables" not in done:
        before = cut.at_level(COMMON)
    steps = {each.name: results.facts([each.name])[0]["steps"] for each in (before, after)}
    machines = [f"{m['processor']}, {m['cores']} cores" for m in results.machines()]
    gpus = {gpu for start in starts for gpu in start["gpus"]}
    sizes = {
        each.model: results.facts([each.name])[0]["parameters"]
        for each in trained
        if isinstance(each, Finetuning)
    }
    rows = [
        ["cut", f"{cut.name}: {len(trained)} trainings for each of {len(results.seeds)} seed(s)"],
        ["seeds", ", ".join(map(str, results.seeds)) + "; of songs, weights and draws"],
        ["networks", ", ".join(f"{name}: {count:,} parameters" for name, count in sizes.items())],
        ["pre-training", f"{steps[before.name]} steps, `{_config('pretrain', cut.name)}`"],
        ["fine-tuning", f"{steps[after.name]} steps, `{_config('finetune', cut.name)}`"],
        ["songs with stems", f"{cut.train_songs} to train on, {cut.valid_songs} to validate on, "
         f"{cut.test_songs} for the test, of {cut.seconds} s"],
        ["code", ", ".join(sorted({str(fact["commit"]) for fact in facts}))],
        ["machine", "; ".join([*machines, *sorted(gpus)]) or "not noted"],
        ["packages", "; ".join(sorted({_packages(start) for start in starts})) or "not noted"],
    ]  # fmt: skip
    return [Heading("What was run"), Grid(["", ""], rows, left=2)]


def _tail(results: Results, done: Sequence[str], figures: Path) -> list[Block]:
    beside = figures.name
    blocks: list[Block] = [
        Heading("Raw numbers"),
        Text(
            f"[{beside}/scores.csv]({beside}/scores.csv) has uSDR and cSDR of every song and stem of every "
            "run and seed."
            + (
                f" [{beside}/chunks.csv.gz]({beside}/chunks.csv.gz) has the diagnosis of every chunk, in "
                "the columns that `mixit-mss diagnose` writes."
                if "correlation" in done
                else ""
            )
        ),
        Heading("How to reproduce"),
        Text(
            f"`{command(results)}`; with `--dry-run` it lists every run. The commands of the first seed's "
            "first runs, from the recipe's folder:"
        ),
    ]
    shown = _one_of_each(results.cut.runs(done))
    first = results.seeds[0]
    root = results.at(first).root
    lines = []
    for each in shown:
        fact = json.loads(
            (root / "exp" / each.name / "experiment.json").read_text(encoding="utf-8")
        )
        lines.append(f"{each.name}: `{str(fact['command']).replace(str(root), 'WORK')}`")
    return [*blocks, Bullets(lines)]


def _one_of_each(runs: Sequence[Pretraining | Finetuning]) -> list[Pretraining | Finetuning]:
    """The first run of each kind: pre-training, training from scratch, fine-tuning after MixIT."""
    kinds: list[Callable] = [
        lambda each: isinstance(each, Pretraining),
        lambda each: isinstance(each, Finetuning) and each.start is None,
        lambda each: isinstance(each, Finetuning) and each.start is not None,
    ]
    return [next(each for each in runs if kind(each)) for kind in kinds]


def command(results: Results) -> str:
    """The command that makes this page."""
    seeds = " ".join(map(str, results.seeds))
    more = "" if results.seeds == results.cut.seeds else f' --seeds "{seeds}"'
    return f"egs/midi_study/run.sh --cut {results.cut.name}{more}"


def _config(name: str, cut: str) -> str:
    return f"conf/{cut}/{name}.yaml"


def _packages(start: dict) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in start["packages"].items())
    return f"python {start['python']}, {packages}"


def _anchor(words: str) -> str:
    return "".join(c for c in words.lower().replace(" ", "-") if c.isalnum() or c == "-")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make_results.py",
        description="Write OUT/RESULTS.md from what the study left in its folder, figures and raw scores "
        "to OUT/results, and a page with the same text to the study's folder. run.sh "
        "calls this.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--cut", choices=tuple(CUTS), default="full", help="size of the study")
    parser.add_argument("--work-dir", default="exp", help="folder of the study")
    parser.add_argument("--seeds", default="", help="such as '1 2 3'; the cut's if left out")
    parser.add_argument("--out", default=str(RECIPE), help="folder to write")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Read the results and write the page."""
    args = build_parser().parse_args(argv)
    cut = CUTS[args.cut]
    results = Results(cut, parse_seeds(args.seeds) or cut.seeds, os.path.abspath(args.work_dir))
    out = Path(os.path.abspath(args.out))
    figures = out / "results"
    figures.mkdir(parents=True, exist_ok=True)
    blocks = results_blocks(results, figures)
    write_text(out / "RESULTS.md", markdown(blocks, out / "RESULTS.md"))
    write_text(results.folder / "report.html", page(TITLE, blocks))
    print(f"{out / 'RESULTS.md'}: {len(results.seeds)} seed(s) of the cut {cut.name}")
    print(f"{results.folder / 'report.html'}: the same as one page")


if __name__ == "__main__":
    sys.exit(run(main, "make_results.py"))
