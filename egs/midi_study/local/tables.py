"""The paper's tables 1 to 3 in miniature, and learning curves: blocks of text, tables, figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from results import Results, oracle_name
from study import Finetuning

from mixit_mss.report.document import Block, Bullets, Grid, Heading, Picture, Text
from mixit_mss.report.figures.spread import Curve, Panel, draw_panels
from mixit_mss.report.paper import paper_rows
from mixit_mss.report.results import NOTHING
from mixit_mss.report.seeds import Spread, spread, verdict, with_error

METRICS = {"csdr": "cSDR", "usdr": "uSDR"}
MINUS = "\N{MINUS SIGN}"
FROZEN = "encoder_decoder"


def table_1(results: Results) -> list[Block]:
    """Network sizes: from scratch, from scratch for longer, after MixIT."""
    cut = results.cut
    rows = [
        _row(results, "mixture as estimate", oracle_name("mixture")),
        _row(results, "ideal ratio mask", oracle_name("irm")),
    ]
    pairs = []
    for model in cut.models:
        pre = cut.pretraining(model)
        scratch, tuned = cut.scratch(model), cut.tuned(pre)
        title = f"{model}, MixIT, selected outputs, no stems seen"
        rows.append(_row(results, title, f"{pre.name}/selected_4"))
        rows += _compare(results, model, scratch, tuned)
        pairs.append((f"{model}, as many steps on stems", scratch, tuned))
        if model in cut.long:
            longer, both = cut.scratch(model, long=True), cut.tuned(pre, long=True)
            steps = _steps(results, longer)
            alone = f"{model}, MixIT {MINUS} scratch of {steps} steps"
            rows.append(_row(results, f"{model}, from scratch, {steps} steps", longer.name))
            rows.append(_gap(results, alone, tuned, longer))
            rows.append(_row(results, f"{model}, MixIT, then {steps} steps", both.name))
            rows.append(
                _gap(results, f"{model}, MixIT {MINUS} scratch, {steps} steps each", both, longer)
            )
            pairs.append((f"{model}, scratch with {steps} steps", longer, tuned))
            pairs.append((f"{model}, {steps} steps on stems for both", longer, both))
    return [
        Heading("Table 1: two sizes, from scratch and after MixIT"),
        Text(
            f"{_test_songs(results)} Both sides are fine-tuned for {_steps(results, cut.scratch())} "
            f"steps on {cut.train_songs} songs; scratch, besides, for as many steps as pre-training and "
            "fine-tuning together, and then MixIT's network for as many, too. What more steps of MixIT "
            "bring is [a table of its own](#steps-of-pre-training). Rows of the paper are of its own sizes "
            "and of MUSDB18-HQ: what can be compared is the difference."
        ),
        Grid(_header(results), [*rows, *_paper(1, results)]),
        *_summary(results, pairs),
    ]


def table_2(results: Results) -> list[Block]:
    """Fine-tuning of encoder and decoder only."""
    cut, rows, pairs = results.cut, [], []
    for model in cut.frozen:
        scratch = cut.scratch(model, trainable=FROZEN)
        tuned = cut.tuned(cut.pretraining(model), trainable=FROZEN)
        rows += _compare(results, f"{model}, separator frozen", scratch, tuned)
        pairs.append((model, scratch, tuned))
    return [
        Heading("Table 2: encoder and decoder only, the separator frozen"),
        Text(
            "A random separator against one that has only heard mixtures; neither learns from stems."
        ),
        Grid(_header(results), [*rows, *_paper(2, results)]),
        *_summary(results, pairs),
    ]


def table_3(results: Results, figures: Path) -> list[Block]:
    """Amounts of unlabelled music."""
    cut, scratch = results.cut, results.cut.scratch()
    runs = [cut.tuned(cut.pretraining(songs=amount)) for amount in cut.amounts]
    rows = [_row(results, "none: from scratch", scratch.name)]
    for amount, run in zip(cut.amounts, runs, strict=True):
        rows.append(_row(results, f"{amount} songs", run.name))
        rows.append(_gap(results, f"{amount} songs {MINUS} none", run, scratch))
    pairs = [
        (f"{amount} songs", scratch, run) for amount, run in zip(cut.amounts, runs, strict=True)
    ]
    curve = Curve(
        "MixIT, then fine-tuned", cut.amounts, [_usdr(results, run) for run in runs], colour=1
    )
    flat = Curve("from scratch", cut.amounts, [_usdr(results, scratch)] * len(runs), "--")
    picture = figures / "amounts.svg"
    panel = Panel(
        [flat, curve], "unlabelled songs", "average uSDR of the test songs (dB)", log=True
    )
    draw_panels(picture, [panel])
    most = results.difference(runs[-1].name, runs[0].name)
    minutes = cut.seconds / 60
    return [
        Heading("Table 3: amounts of unlabelled music"),
        Text(
            f"Size {cut.models[0]}, the same number of pre-training steps for every amount; "
            f"{cut.amounts[0]} songs are {cut.amounts[0] * minutes:.0f} minutes, {cut.amounts[-1]} are "
            f"{cut.amounts[-1] * minutes:.0f}."
        ),
        Grid(_header(results), [*rows, *_paper(3, results)]),
        *_summary(results, pairs),
        *(
            [
                Text(
                    f"From {cut.amounts[0]} to {cut.amounts[-1]} songs, the average uSDR changes by "
                    f"{with_error(most, sign=True)} dB ({verdict(most)})."
                )
            ]
            if len(runs) > 1
            else []
        ),
        Picture(picture, "Average uSDR of the test songs against the number of unlabelled songs"),
    ]


def pretraining_steps(results: Results, figures: Path) -> list[Block]:
    """The same pre-training for longer: how much of the gain depends on the number of steps."""
    cut, rows, text, curves = results.cut, [], [], []
    for model in cut.pretrained_long:
        starts = cut.by_steps(model)
        counts = [int(results.facts([start.name])[0]["steps"]) for start in starts]
        chosen = [spread(results.score(f"{start.name}/selected_4").values()) for start in starts]
        gains = {}
        for trainable, title in (("all", "fine-tuned"), (FROZEN, "separator frozen")):
            scratch = cut.scratch(model, trainable=trainable)
            tuned = [cut.tuned(start, trainable=trainable) for start in starts]
            gains[title] = [results.difference(run.name, scratch.name) for run in tuned]
            change = results.difference(tuned[-1].name, tuned[0].name)
            text.append(
                f"{model}, {title}: from {counts[0]} to {counts[-1]} steps of MixIT, the average uSDR "
                f"changes by {with_error(change, sign=True)} dB ({verdict(change)})"
            )
        for i, count in enumerate(counts):
            cells = [with_error(gain[i], sign=True) for gain in gains.values()]
            rows.append([model, str(count), with_error(chosen[i]), *cells])
        curves += [
            Curve(f"{model}, {title}", counts, gain, "--" if title != "fine-tuned" else "-", colour)
            for colour, (title, gain) in enumerate(gains.items())
        ]
    picture = figures / "pretraining_steps.svg"
    panel = Panel(curves, "steps of MixIT", "average uSDR over scratch (dB)", log=True, level=0)
    draw_panels(picture, [panel])
    header = ["network", "steps of MixIT", "selected outputs, no stems seen"]
    header += [f"{title}: gain over scratch" for title in ("fine-tuned", "separator frozen")]
    return [
        Heading("Steps of pre-training"),
        Text(
            f"MixIT on the same {cut.songs} songs for longer, with the same fine-tuning as in tables 1 and 2; "
            "average uSDR of the test songs in dB."
        ),
        Grid(header, rows),
        Bullets(text),
        Picture(picture, "Gain in average uSDR over scratch against steps of MixIT"),
    ]


def learning(results: Results, figures: Path) -> list[Block]:
    """Learning curves: over steps on validation songs, over songs with stems on test songs."""
    cut = results.cut
    tuned = cut.tuned(cut.pretraining())
    short = [
        _curve(results, "from scratch", cut.scratch(), 0),
        _curve(results, "MixIT, then fine-tuned", tuned, 1),
        _curve(results, "from scratch, separator frozen", cut.scratch(trainable=FROZEN), 0, "--"),
        _curve(
            results,
            "MixIT, separator frozen",
            cut.tuned(cut.pretraining(), trainable=FROZEN),
            1,
            "--",
        ),
    ]
    y_label = "uSDR of the validation songs (dB)"
    panels = [Panel(short, "fine-tuning steps", y_label)]
    longer = cut.scratch(long=True)
    if cut.models[0] in cut.long:
        before = _steps(results, longer) - _steps(results, tuned)
        whole = _curve(results, "from scratch, for longer", longer, 2)
        after = _curve(results, "MixIT, then fine-tuned", tuned, 1, shift=before)
        panels.append(Panel([whole, after], "all steps, those of pre-training too", y_label))
    steps_picture, songs_picture = figures / "learning_steps.svg", figures / "learning_songs.svg"
    draw_panels(steps_picture, panels)
    return [
        Heading("Learning curves"),
        Picture(steps_picture, "uSDR of the validation songs against steps"),
        *_labelled(results, songs_picture),
    ]


def _labelled(results: Results, picture: Path) -> list[Block]:
    """Scores and a figure against the number of songs with stems."""
    cut = results.cut
    kinds = {
        "from scratch": [cut.scratch(songs=n) for n in cut.labelled],
        "MixIT, then fine-tuned": [cut.tuned(cut.pretraining(), songs=n) for n in cut.labelled],
    }
    curves = [
        Curve(kind, cut.labelled, [_usdr(results, run) for run in runs], colour=i)
        for i, (kind, runs) in enumerate(kinds.items())
    ]
    draw_panels(
        picture,
        [Panel(curves, "songs with stems", "average uSDR of the test songs (dB)", log=True)],
    )
    scratch, tuned = kinds.values()
    rows, pairs = [], []
    for n, theirs, ours in zip(cut.labelled, scratch, tuned, strict=True):
        gain = results.difference(ours.name, theirs.name)
        cells = [_usdr(results, theirs), _usdr(results, ours)]
        rows.append([str(n), *map(with_error, cells), with_error(gain, sign=True)])
        pairs.append((_songs(n), theirs, ours))
    return [
        Picture(picture, "Average uSDR of the test songs against the number of songs with stems"),
        Grid(["songs with stems", *kinds, "difference"], rows),
        Text(_as_good(results, scratch, tuned)),
        *_summary(results, pairs),
    ]


def _as_good(results: Results, scratch: Sequence[Finetuning], tuned: Sequence[Finetuning]) -> str:
    """The fewest songs with which MixIT reaches the best score from scratch."""
    best = max(scratch, key=lambda run: _usdr(results, run).mean)
    top = _usdr(results, best)
    enough = [run for run in tuned if _usdr(results, run).mean >= top.mean]
    if not enough:
        return (
            f"With no number of songs does MixIT reach what scratch does with {_songs(best.songs)} "
            f"({with_error(top)} dB)."
        )
    fewest = min(enough, key=lambda run: run.songs)
    return (
        f"What scratch does at its best, {with_error(top)} dB with stems of {_songs(best.songs)}, MixIT "
        f"reaches with {_songs(fewest.songs)} ({with_error(_usdr(results, fewest))} dB)."
    )


def _summary(results: Results, pairs: Sequence[tuple[str, Finetuning, Finetuning]]) -> list[Block]:
    """Every comparison of averages, and how many MixIT wins or loses, in words."""
    lines, gaps = [], []
    for title, theirs, ours in pairs:
        usdr, csdr = (results.difference(ours.name, theirs.name, m) for m in ("usdr", "csdr"))
        gaps.append(usdr)
        lines.append(
            f"{title}: with MixIT the average uSDR is {with_error(usdr, sign=True)} dB "
            f"({verdict(usdr)}), the average cSDR {with_error(csdr, sign=True)} dB ({verdict(csdr)})"
        )
    higher = sum(gap.mean > 0 for gap in gaps)
    text = f"In the average uSDR, MixIT is higher in {higher} of {len(gaps)} comparisons"
    if len(results.seeds) > 1:
        beyond = sum(gap.is_beyond and gap.mean > 0 for gap in gaps)
        worse = sum(gap.is_beyond and gap.mean < 0 for gap in gaps)
        text += f", in {beyond} of them beyond one standard deviation"
        text += f"; in {worse} it is lower beyond one standard deviation." if worse else "."
    else:
        text += "; one seed says nothing of how much that varies."
    return [Bullets(lines), Text(text)]


def _compare(
    results: Results, title: str, scratch: Finetuning, tuned: Finetuning
) -> list[list[str]]:
    return [
        _row(results, f"{title}, from scratch", scratch.name),
        _row(results, f"{title}, MixIT, then fine-tuned", tuned.name),
        _gap(results, f"{title}, MixIT {MINUS} scratch", tuned, scratch),
    ]


def _columns(results: Results) -> list[tuple[str, str]]:
    """(stem, metric) of each column, as in the paper."""
    return [(stem, metric) for stem in (*results.stems, "average") for metric in METRICS]


def _header(results: Results) -> list[str]:
    return ["", *(f"{stem} {METRICS[metric]}" for stem, metric in _columns(results))]


def _row(results: Results, title: str, name: str) -> list[str]:
    values = [
        spread(results.score(name, metric, stem).values()) for stem, metric in _columns(results)
    ]
    return [title, *map(with_error, values)]


def _gap(results: Results, title: str, ours: Finetuning, theirs: Finetuning) -> list[str]:
    gaps = [
        results.difference(ours.name, theirs.name, metric, stem)
        for stem, metric in _columns(results)
    ]
    return [f"**{title}**", *(with_error(gap, sign=True) for gap in gaps)]


def _paper(table: int, results: Results) -> list[list[str]]:
    """The paper's rows for comparable networks, and the change from pre-training."""
    rows = paper_rows(table)
    rows = rows[rows.label != ""]
    base, lines = {}, []
    for row in rows.to_dict("records"):
        size = row["model"].split()[-1]
        title = f"paper: {size}, {row['pretraining']}"
        lines.append([title, *(_number(row, *column) for column in _columns(results))])
        if row["pretraining"] == "scratch":
            base[size] = row
        else:
            cells = [_change(row, base[size], *column) for column in _columns(results)]
            lines.append([f"paper: {size}, {row['pretraining']} {MINUS} scratch", *cells])
    return lines


def _number(row: dict, stem: str, metric: str) -> str:
    value = row.get(f"{stem}_{metric}", math.nan)
    return NOTHING if pd.isna(value) else f"{value:.2f}"


def _change(row: dict, base: dict, stem: str, metric: str) -> str:
    change = row.get(f"{stem}_{metric}", math.nan) - base.get(f"{stem}_{metric}", math.nan)
    return with_error(Spread(change, math.nan, 1), sign=True)


def _curve(
    results: Results, name: str, run: Finetuning, colour: int, style: str = "-", shift: float = 0
) -> Curve:
    steps, values = results.learning(run)
    return Curve(name, [step + shift for step in steps], values, style, colour)


def _usdr(results: Results, run: Finetuning) -> Spread:
    return spread(results.score(run.name).values())


def _steps(results: Results, run: Finetuning) -> int:
    return int(results.facts([run.name])[0]["steps"])


def _songs(count: int) -> str:
    return f"{count} song" + ("s" if count > 1 else "")


def _test_songs(results: Results) -> str:
    over = "mean ± standard deviation over" if len(results.seeds) > 1 else "without ±, for there is"
    seeds = f"{len(results.seeds)} seeds" if len(results.seeds) > 1 else "one seed"
    return (
        f"In dB on {results.cut.test_songs} test songs: uSDR is the mean over songs, cSDR the median "
        f"over 1-s windows and then over songs; {over} {seeds}, of which each has songs of its own. "
        "Differences are paired by seed."
    )
