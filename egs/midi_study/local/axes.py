"""The axes of correlation and density: tables and figures of what MixIT learned at each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from results import Results, Values, oracle_name
from study import COMMON, Pretraining

from mixit_mss.report.document import Block, Grid, Heading, Picture, Text
from mixit_mss.report.figures.spread import Curve, Panel, draw_panels
from mixit_mss.report.seeds import Spread, paired_difference, spread, with_error

MEASURES = {  # as in mixit_mss.diagnosis.correlation, which imports torch
    "waveform_correlation": "waveform correlation",
    "spectral_overlap": "spectral overlap",
    "onset_correlation": "onset correlation",
}
OWN, SAME = "test songs of its own level", f"test songs of level {COMMON}"


@dataclass(frozen=True)
class Point:
    """One pre-training on an axis, with its measurements by seed.

    Attributes:
        name: its level, or its number of parts.
        snr: SNR of the best outputs for the stems, on the common test songs, in dB.
        improvement: improvement of that SNR over the mixture, in dB.
        grouped: SNR of the best groups of outputs, in dB.
        degenerate: share of chunks in which one output is the whole mixture.
        active: number of outputs active at a time.
        outputs_per_stem: number of outputs over which a stem is spread.
        gain: gain in average uSDR over training from scratch, after fine-tuning, in dB.
        own_improvement: ``improvement`` on test songs of its own level.
        own_degenerate: ``degenerate`` on test songs of its own level.
        ceiling: uSDR of the ideal ratio mask on test songs of its own level.
        measures: correlation measures of these songs, by name.
    """

    name: str
    snr: Values
    improvement: Values
    grouped: Values
    degenerate: Values
    active: Values
    outputs_per_stem: Values
    gain: Values
    own_improvement: Values
    own_degenerate: Values
    ceiling: Values
    measures: dict[str, Values]


def correlation_points(results: Results) -> list[Point]:
    """Points of the correlation axis, ascending."""
    return [
        _point(results, level, results.cut.at_level(level), level) for level in results.cut.levels
    ]


def density_points(results: Results) -> list[Point]:
    """Points of the density axis, ascending, with ``mixed`` last."""
    return [
        _point(results, parts, results.cut.at_density(parts), COMMON)
        for parts in results.cut.densities
    ]


def _point(results: Results, name: str, run: Pretraining, level: str) -> Point:
    cut = results.cut
    tuned, scratch = cut.tuned(run), cut.scratch()
    usdr, base = results.score(tuned.name), results.score(scratch.name)

    def of(key: str, at: str = COMMON) -> Values:
        return results.diagnosis(run, at, key)

    return Point(
        name=name,
        snr=of("snr"),
        improvement=of("snr_improvement"),
        grouped=of("grouped_snr"),
        degenerate=of("degenerate_share"),
        active=of("active_outputs"),
        outputs_per_stem=of("outputs_per_stem"),
        gain={seed: usdr[seed] - base[seed] for seed in results.seeds},
        own_improvement=of("snr_improvement", level),
        own_degenerate=of("degenerate_share", level),
        ceiling=results.score(oracle_name("irm", level)),
        measures={measure: of(measure, level) for measure in MEASURES},
    )


def correlation(results: Results, points: Sequence[Point], figures: Path) -> list[Block]:
    """The section on the correlation axis."""
    cut = results.cut
    sets = [
        [point.name, *(_cell(point.measures[name], 3) for name in MEASURES), _cell(point.ceiling)]
        for point in points
    ]
    learned = [
        [
            point.name,
            *map(_cell, (point.improvement, point.own_improvement, point.snr, point.grouped)),
            *(_percent(share) for share in (point.degenerate, point.own_degenerate)),
            *(_cell(value, 1) for value in (point.active, point.outputs_per_stem)),
            with_error(spread(point.gain.values()), sign=True),
        ]
        for point in points
    ]
    picture, measured = figures / "correlation.svg", figures / "measured_correlation.svg"
    names, places = [point.name for point in points], range(len(points))
    on_same = Curve(SAME, places, [_over(point.improvement) for point in points])
    on_own = Curve(OWN, places, [_over(point.own_improvement) for point in points], "--", 1)
    gain = Curve("after fine-tuning", places, [_over(point.gain) for point in points], colour=2)
    label = "level of the unlabelled songs"
    draw_panels(
        picture,
        [
            Panel([on_same, on_own], label, "SNR improvement (dB)", names),
            Panel([gain], label, "average uSDR over scratch (dB)", names, level=0),
        ],
    )
    draw_panels(measured, [_against(points, measure) for measure in MEASURES])
    return [
        Heading("Correlation: from independent to locked parts"),
        Text(
            f"Pre-training on {cut.axis_songs} unlabelled songs of every level, {cut.axis_parts} of the "
            "stems playing in each, everything else the same. How alike the stems of each level's test "
            "songs are (where all of them play), means over pairs and 6-s chunks: waveform correlation is "
            "the absolute cosine of the samples; spectral overlap is one minus the W-disjoint "
            "orthogonality of Yilmaz and Rickard (IEEE Trans. Signal Processing 52(7), 2004) for stems of "
            "equal energy; onset correlation is Pearson's, over frames, of the spectral flux (Bello et "
            "al., IEEE Trans. Speech and Audio Processing 13(5), 2005). The ceiling is the ideal ratio "
            "mask's average uSDR."
        ),
        Grid(["level", *MEASURES.values(), "ceiling (dB)"], sets),
        Text(
            "What the pre-trained networks do, without having seen a stem: SNR of the best output for "
            "every stem, and its improvement over the mixture, on the same test songs for all (level "
            f"{COMMON}), and on those of the level itself; SNR if outputs are grouped in the best way; "
            "chunks in which a single output is the whole mixture (SNR of 10 dB or more), of those which "
            "no single stem makes up; outputs that sound at a time; over how many a stem is spread; and "
            "what fine-tuning makes of it, relative to scratch."
        ),
        Grid([LEARNED[0], "improvement", "improvement, own level", *LEARNED[1:]], learned),
        Picture(
            picture, "SNR improvement, and gain after fine-tuning, at every level of correlation"
        ),
        Picture(measured, "SNR improvement against three measures of correlation"),
    ]


LEARNED = [
    *("level", "SNR", "grouped SNR", "whole mixture", "whole mixture, own level"),
    *("active outputs", "outputs per stem", "gain over scratch"),
]


def density(results: Results, points: Sequence[Point], figures: Path) -> list[Block]:
    """The section on the density axis."""
    rows = [
        [
            point.name,
            *map(_cell, (point.improvement, point.snr, point.grouped)),
            _percent(point.degenerate),
            *(_cell(value, 1) for value in (point.active, point.outputs_per_stem)),
            with_error(spread(point.gain.values()), sign=True),
        ]
        for point in points
    ]
    names, places = [point.name for point in points], range(len(points))
    picture = figures / "density.svg"
    label = "parts at once in unlabelled songs"
    improvement = Curve(SAME, places, [_over(point.improvement) for point in points])
    gain = Curve("after fine-tuning", places, [_over(point.gain) for point in points], colour=2)
    draw_panels(
        picture,
        [
            Panel([improvement], label, "SNR improvement (dB)", names),
            Panel([gain], label, "average uSDR over scratch (dB)", names, level=0),
        ],
    )
    header = ["parts at once", "improvement", "SNR", "grouped SNR", "whole mixture"]
    header += ["active outputs", "outputs per stem", "gain over scratch"]
    return [
        Heading("Density: how many parts play at once"),
        Text(
            f"Pre-training on {results.cut.axis_songs} unlabelled songs of level {COMMON} with that many "
            "stems in each; `mixed` has three solos, three duos, a trio and a whole band in any eight. "
            f"Measured on the test songs of level {COMMON}, where all play."
        ),
        Grid(header, rows),
        Picture(picture, "SNR improvement, and gain after fine-tuning, by parts at once"),
    ]


def difference(ours: Values, theirs: Values) -> Spread:
    """Difference between two points of an axis, paired by seed."""
    return paired_difference(ours, theirs)


def _against(points: Sequence[Point], measure: str) -> Panel:
    places = [_over(point.measures[measure]) for point in points]
    x = [place.mean for place in places]
    curves = [
        Curve(SAME, x, [_over(p.improvement) for p in points], "none", 0, places),
        Curve(OWN, x, [_over(p.own_improvement) for p in points], "none", 1, places),
    ]
    return Panel(curves, f"{MEASURES[measure]} of the level", "SNR improvement (dB)")


def _over(values: Values) -> Spread:
    return spread(values.values())


def _cell(values: Values, digits: int = 2) -> str:
    return with_error(_over(values), digits)


def _percent(values: Values) -> str:
    text = with_error(spread(100 * value for value in values.values()), 0)
    return f"{text} %" if text != "-" else text
