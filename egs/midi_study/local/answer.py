"""Is MixIT unsuitable for correlated sources?  The numbers choose every sentence of the page."""

from __future__ import annotations

from collections.abc import Sequence

from axes import MEASURES, Point
from results import Results, Values
from study import COMMON

from mixit_mss.report.document import Block, Heading, Text
from mixit_mss.report.seeds import Spread, paired_difference, spread, verdict, with_error

QUESTION = "Is MixIT unsuitable for correlated sources?"


def answer(results: Results, levels: Sequence[Point], densities: Sequence[Point]) -> list[Block]:
    """Answer the question from the two axes alone."""
    least, most = levels[0], levels[-1]
    band = next(point for point in levels if point.name == COMMON)
    sentences = [
        "The doubt is that a network which can tell from what sources share which of them belong "
        "together may return the two mixtures instead of the sources. Then, the more sources share, "
        "the more often single outputs would be whole mixtures, and the less would be separated.",
        _collapse(least, most),
        _separation(levels),
        _own(least, most),
        _band(band),
        _gains(levels),
        _densities(levels, densities),
        " ".join([_verdict_of_band(band), _verdict_of_correlation(least, most)]),
        _limits(results),
    ]
    return [Heading(QUESTION), *map(Text, sentences)]


def holds(values: Values) -> bool:
    """Whether the mean is above 0: for several seeds, by more than one standard deviation."""
    value = spread(values.values())
    return value.mean > 0 and (value.count < 2 or value.is_beyond)


def separates(point: Point) -> bool:
    """Whether the best outputs are closer to the stems than silence (0 dB) and the mixture are."""
    return holds(point.snr) and holds(point.improvement)


def _collapse(least: Point, most: Point) -> str:
    change = paired_difference(_percents(most.own_degenerate), _percents(least.own_degenerate))
    same = paired_difference(_percents(most.degenerate), _percents(least.degenerate))
    return (
        f"**Whole mixtures.** On songs of its own level, a network trained at level {most.name} has a "
        f"single output that is the whole mixture in {_text(_percents(most.own_degenerate), 0)} % of the "
        f"chunks, one trained at level {least.name} in {_text(_percents(least.own_degenerate), 0)} %: "
        f"{with_error(change, 0, sign=True)} points ({verdict(change)}). On the same songs for both "
        f"(level {COMMON}), it is {_text(_percents(most.degenerate), 0)} % against "
        f"{_text(_percents(least.degenerate), 0)} % ({verdict(same)})."
    )


def _separation(levels: Sequence[Point]) -> str:
    least, most = levels[0], levels[-1]
    change = paired_difference(most.improvement, least.improvement)
    best, worst = _extremes(levels)
    return (
        f"**Separation of the same songs.** The SNR improvement is {_text(most.improvement)} dB after "
        f"training at level {most.name} and {_text(least.improvement)} dB at level {least.name}: "
        f"{with_error(change, sign=True)} dB ({verdict(change)}). It is highest at level {best.name} "
        f"({_text(best.improvement)} dB) and lowest at level {worst.name} ({_text(worst.improvement)} dB)."
    )


def _own(least: Point, most: Point) -> str:
    change = paired_difference(most.own_improvement, least.own_improvement)
    ceiling = paired_difference(most.ceiling, least.ceiling)
    return (
        f"**Separation of songs of the own level.** There, it is {_text(most.own_improvement)} dB at level "
        f"{most.name} and {_text(least.own_improvement)} dB at level {least.name}: "
        f"{with_error(change, sign=True)} dB ({verdict(change)}). These songs are not equally hard: the "
        f"ideal ratio mask's average uSDR is {with_error(ceiling, sign=True)} dB at level {most.name} "
        f"relative to {least.name} ({verdict(ceiling)})."
    )


def _band(band: Point) -> str:
    likeness = ", ".join(
        f"{words} {_text(band.measures[name])}" for name, words in MEASURES.items()
    )
    able = "above" if separates(band) else "not clearly above both"
    return (
        f"**A band.** At level {COMMON} ({likeness}), the best outputs have an SNR of {_text(band.snr)} dB "
        f"and improve on the mixture by {_text(band.improvement)} dB: {able} silence (0 dB) and the "
        "mixture (no improvement)."
    )


def _gains(levels: Sequence[Point]) -> str:
    most, count = levels[-1], len(levels)
    gains = [spread(point.gain.values()) for point in levels]
    higher = sum(gain.mean > 0 for gain in gains)
    beyond = sum(gain.is_beyond and gain.mean > 0 for gain in gains)
    spoken = f", at {beyond} of them beyond one standard deviation" if gains[0].count > 1 else ""
    return (
        f"**After fine-tuning.** Pre-training gives a higher average uSDR than scratch at {higher} of "
        f"{count} levels{spoken}; at level {most.name} the difference is "
        f"{with_error(gains[-1], sign=True)} dB ({verdict(gains[-1])})."
    )


def _densities(levels: Sequence[Point], densities: Sequence[Point]) -> str:
    (most, least), (easy, hard) = _extremes(densities), _extremes(levels)
    by_parts = paired_difference(most.improvement, least.improvement)
    by_level = paired_difference(easy.improvement, hard.improvement)
    return (
        f"**Density.** With {most.name} parts at once the SNR improvement is highest "
        f"({_text(most.improvement)} dB), with {least.name} lowest ({_text(least.improvement)} dB): "
        f"{with_error(by_parts)} dB apart, against {with_error(by_level)} dB between levels {easy.name} and "
        f"{hard.name}. {_which_matters(by_parts, by_level)}"
    )


def _which_matters(by_parts: Spread, by_level: Spread) -> str:
    larger = max(by_parts, by_level, key=lambda change: change.mean)
    if larger.count > 1 and not larger.is_beyond:
        return "Neither difference is beyond one standard deviation."
    word = "more" if larger is by_parts else "less"
    return f"How many parts play at once matters {word} here than what they share."


def _verdict_of_band(band: Point) -> str:
    able, gains = separates(band), holds(band.gain)
    gain = f"{_text(band.gain, sign=True)} dB"
    if able and gains:
        return (
            f"**By these numbers, MixIT is not unsuitable for sources as correlated as those of level "
            f"{COMMON}**: it separates, and fine-tuning from it gains over scratch ({gain})."
        )
    if able:
        return (
            f"**At level {COMMON}, MixIT separates, but a gain of fine-tuning from it over scratch is not "
            f"shown** ({gain})."
        )
    if gains:
        return (
            f"**At level {COMMON}, separation by MixIT alone is not shown, but fine-tuning from it gains "
            f"over scratch** ({gain})."
        )
    return (
        f"**At level {COMMON}, neither separation by MixIT alone nor a gain of fine-tuning from it is "
        f"shown** ({gain}): these numbers do not speak for MixIT."
    )


def _verdict_of_correlation(least: Point, most: Point) -> str:
    change = paired_difference(most.improvement, least.improvement)
    if change.count > 1 and not change.is_beyond:
        return f"That more correlation changes what is learned is not shown ({_and(change)})."
    if change.mean >= 0:
        return f"More correlation did not make MixIT learn less ({_and(change)})."
    if holds(most.gain):
        rest = f"yet even at level {most.name} fine-tuning from it gains over scratch"
    else:
        rest = f"and at level {most.name} a gain over scratch is not shown any more"
    return f"More correlation made it learn less ({_and(change)}), {rest}."


def _limits(results: Results) -> str:
    cut, count = results.cut, len(results.seeds)
    steps = results.facts([cut.at_level(COMMON).name])[0]["steps"]
    seeds = "One seed, so nothing is known of how much these numbers vary" if count == 1 else ""
    seeds = seeds or f"{count} seeds, and a standard deviation of so few is itself uncertain"
    return (
        f"What this rests on: songs by rule, {cut.test_songs} of them for the test; one small network; "
        f"{steps} steps of pre-training on {cut.axis_songs} songs. {seeds}."
    )


def _extremes(points: Sequence[Point]) -> tuple[Point, Point]:
    """The points with the highest and lowest mean improvement."""
    ordered = sorted(points, key=lambda point: _mean(point.improvement))
    return ordered[-1], ordered[0]


def _mean(values: Values) -> float:
    return spread(values.values()).mean


def _percents(values: Values) -> Values:
    return {seed: 100 * value for seed, value in values.items()}


def _text(values: Values, digits: int = 2, sign: bool = False) -> str:
    return with_error(spread(values.values()), digits, sign)


def _and(change: Spread) -> str:
    return f"{with_error(change, sign=True)} dB, {verdict(change)}"
