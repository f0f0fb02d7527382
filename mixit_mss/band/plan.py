"""The plan that every player of a song reads: style, key, tempo, sections, and chords over time.

A player is a function of (generator, plan, sections in which it plays).  Plans are drawn
separately, so players can share a plan or each have their own.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixit_mss.band.patterns import STEPS_PER_BAR, STEPS_PER_BEAT
from mixit_mss.band.score import STEP, TICKS_PER_QUARTER, pick, pick_weighted

NOTE_NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
}
# Degrees of the scale, one chord each, cycled through a section.
PROGRESSIONS = {
    "major": (
        (1, 5, 6, 4), (1, 6, 4, 5), (6, 4, 1, 5), (4, 1, 5, 6), (1, 4, 5, 4), (1, 3, 4, 5), (2, 5, 1, 6),
        (1, 4), (1, 5, 4, 4), (4, 5, 3, 6), (1, 2, 4, 1), (3, 6, 2, 5), (1, 4, 6, 5), (6, 2, 5, 1),
    ),
    "mixolydian": ((1, 7, 4, 1), (1, 4), (1, 7), (1, 5, 7, 4), (4, 1, 7, 1), (1, 2, 4, 1)),
    "dorian": ((1, 4), (1, 4, 7, 1), (1, 2, 3, 4), (1, 7, 4, 4), (1, 3, 7, 4), (1, 2, 1, 4)),
    "minor": (
        (1, 6, 3, 7), (1, 7, 6, 5), (1, 4, 5, 1), (6, 7, 1, 1), (1, 4, 7, 3), (1, 6, 4, 5), (1, 7),
        (4, 1, 5, 1), (1, 3, 6, 7), (6, 1, 7, 5),
    ),
}  # fmt: skip
FORMS = (
    ("intro", "verse", "chorus", "break", "chorus", "outro"),
    ("verse", "chorus", "verse", "chorus", "break", "chorus"),
    ("intro", "verse", "verse", "chorus", "chorus", "outro"),
    ("chorus", "verse", "break", "chorus", "verse", "chorus"),
    ("verse", "break", "verse", "chorus", "chorus", "outro"),
    ("break", "chorus", "verse", "chorus", "verse", "outro"),
    ("verse", "verse", "break", "verse", "chorus", "outro"),
)
ENERGY = {"intro": 0.45, "verse": 0.6, "chorus": 0.95, "break": 0.3, "outro": 0.5}


class Style(NamedTuple):
    """A style in one metre; ``tempo`` in quarters per minute, ``swing`` of ``period`` ticks."""

    name: str
    metre: str
    tempo: tuple[float, float]
    grooves: tuple[str, ...]
    bass: tuple[str, ...]
    sevenths: float = 0.15
    swing: tuple[float, float] = (0.5, 0.5)
    period: int = TICKS_PER_QUARTER


STYLES = (
    (0.12, Style("rock", "4/4", (104, 172), ("rock", "drive", "punk", "half time", "tribal"),
                 ("eighths", "octaves", "pushed", "gallop", "dotted", "boogie"), 0.05)),
    (0.10, Style("ballad", "4/4", (58, 86), ("ballad", "half time", "pop"),
                 ("whole", "halves", "two feel", "arpeggio", "dotted"), 0.3)),
    (0.12, Style("pop", "4/4", (84, 132), ("pop", "rock", "break", "floor"),
                 ("eighths", "pushed", "dotted", "octaves", "quarters", "arpeggio"), 0.15)),
    (0.10, Style("electronic", "4/4", (112, 142), ("floor", "disco", "trap", "break"),
                 ("offbeat", "disco", "octaves", "eighths", "gallop"), 0.2)),
    (0.09, Style("funk", "4/4", (86, 118), ("funk", "funk 2", "break", "disco"),
                 ("funk", "slap", "disco", "pushed"), 0.7)),
    (0.08, Style("hip hop", "4/4", (68, 98), ("boom bap", "trap", "half time"),
                 ("sub", "pushed", "whole", "funk"), 0.5, (0.52, 0.6), TICKS_PER_QUARTER // 2)),
    (0.09, Style("swing", "4/4", (96, 192), ("swing", "brushes"),
                 ("walking", "walking 2", "walking 3", "two feel"), 0.9, (0.6, 0.68))),
    (0.09, Style("latin", "4/4", (92, 152), ("bossa", "samba", "salsa"),
                 ("bossa", "tumbao", "two feel"), 0.6)),
    (0.05, Style("reggae", "4/4", (66, 90), ("one drop",), ("reggae", "tumbao", "pushed"), 0.15)),
    (0.05, Style("country", "4/4", (96, 168), ("train", "march"),
                 ("two feel", "quarters", "walking 2"), 0.05)),
    (0.04, Style("waltz", "3/4", (88, 176), ("waltz", "soft waltz", "rock waltz"),
                 ("whole", "waltz", "root fifth", "arpeggio"), 0.1)),
    (0.03, Style("jazz waltz", "3/4", (100, 176), ("jazz waltz",),
                 ("walking", "walking 2", "root fifth"), 0.9, (0.58, 0.66))),
    (0.06, Style("six eight", "6/8", (72, 132), ("slow six", "six ballad", "afro six"),
                 ("whole", "two", "root fifth", "shuffle", "rolling", "eighths"), 0.2)),
    (0.03, Style("jig", "6/8", (132, 192), ("jig", "afro six"), ("two", "root fifth"), 0.0)),
)  # fmt: skip


class Chord(NamedTuple):
    """``root`` as a pitch class (0 is C), ``intervals`` in semitones above it."""

    root: int
    intervals: tuple[int, ...]

    def pitch_classes(self) -> tuple[int, ...]:
        """The chord's pitch classes, root first."""
        return tuple((self.root + interval) % 12 for interval in self.intervals)


class Section(NamedTuple):
    """A stretch of whole bars, ``[start, end)`` in ticks."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Plan:
    """What all players share.  ``changes`` are the ticks at which ``chords`` begin."""

    style: Style
    key: int
    mode: str
    tempo: float
    swing: float
    sections: tuple[Section, ...]
    changes: tuple[int, ...]
    chords: tuple[Chord, ...]

    @property
    def key_name(self) -> str:
        """For example ``"F# minor"``."""
        return f"{NOTE_NAMES[self.key]} {self.mode}"

    @property
    def bar(self) -> int:
        """Ticks in a bar."""
        return STEPS_PER_BAR[self.style.metre] * STEP

    @property
    def beat(self) -> int:
        """Ticks from one felt beat to the next (a dotted quarter in 6/8)."""
        return STEPS_PER_BEAT[self.style.metre] * STEP

    @property
    def ticks_per_second(self) -> float:
        """MIDI ticks in a second at this tempo."""
        return TICKS_PER_QUARTER * self.tempo / 60

    @property
    def end(self) -> int:
        """Ticks from the first bar to the end of the last."""
        return self.sections[-1].end

    def chord_at(self, tick: int) -> Chord:
        """The chord that sounds at ``tick``."""
        return self.chords[bisect_right(self.changes, tick) - 1]

    def next_change(self, tick: int) -> int:
        """The tick at which the chord at ``tick`` ends, at most the end of the song."""
        index = bisect_right(self.changes, tick)
        return self.changes[index] if index < len(self.changes) else self.end

    def scale_at(self, tick: int) -> tuple[int, ...]:
        """Pitch classes for melodies at ``tick``: the scale, altered where the chord leaves it."""
        scale = [(self.key + step) % 12 for step in MODES[self.mode]]
        outside = [pitch for pitch in self.chord_at(tick).pitch_classes() if pitch not in scale]
        clashing = {(pitch + side) % 12 for pitch in outside for side in (1, -1)}
        return tuple(sorted([pitch for pitch in scale if pitch not in clashing] + outside))

    def bars(self, playing: Sequence[bool]) -> Iterator[tuple[Section, int, int, bool]]:
        """Yield the bars of playing sections: (section, bar number in it, tick, is its last)."""
        for section, plays in zip(self.sections, playing, strict=True):
            if plays:
                starts = range(section.start, section.end, self.bar)
                for number, start in enumerate(starts):
                    yield section, number, start, number == len(starts) - 1


def draw_plan(rng: np.random.Generator, seconds: float, style_point: float) -> Plan:
    """Draw a plan of whole bars: as many as ``seconds`` need, and one more for a late start.

    ``style_point``, in [0, 1), selects the style by the styles' weights.
    """
    style = pick_weighted(style_point, STYLES)
    low, high = style.tempo
    tempo = round(low * (high / low) ** float(rng.random()), 1)
    swing = style.swing[0] + (style.swing[1] - style.swing[0]) * float(rng.random())
    key, mode = draw_key(rng)
    bar = STEPS_PER_BAR[style.metre] * STEP
    bar_seconds = bar / (TICKS_PER_QUARTER * tempo / 60)
    sections = _draw_sections(rng, math.ceil(seconds / bar_seconds) + 1, bar, bar_seconds)
    changes, chords = draw_harmony(rng, sections, bar, key, mode, style.sevenths)
    return Plan(style, key, mode, tempo, round(swing, 3), sections, changes, chords)


def draw_key(rng: np.random.Generator) -> tuple[int, str]:
    """The pitch class of the tonic (0 is C), and one of ``MODES``."""
    key = int(rng.integers(12))
    weights = ((0.45, "major"), (0.3, "minor"), (0.13, "dorian"), (0.12, "mixolydian"))
    return key, pick_weighted(float(rng.random()), weights)


def _draw_sections(
    rng: np.random.Generator, bars: int, bar: int, bar_seconds: float
) -> tuple[Section, ...]:
    """Draw sections of 2, 4 or 8 bars, about 4 to 8 s; a short remainder joins the last one."""
    length = next((count for count in (8, 4, 2) if count * bar_seconds <= 8.2), 1)
    starts = list(range(0, max(bars - length // 2, 1), length))
    form = pick(rng, FORMS)
    ends = [*starts[1:], bars]
    return tuple(
        Section(form[index % len(form)], start * bar, end * bar)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def draw_harmony(
    rng: np.random.Generator,
    sections: Sequence[Section],
    bar: int,
    key: int,
    mode: str,
    sevenths: float,
) -> tuple[tuple[int, ...], tuple[Chord, ...]]:
    """Draw the ticks at which chords begin, and the chords; sections of a name share theirs.

    ``bar`` is in ticks; ``sevenths`` is the probability that all chords have a seventh.
    """
    with_sevenths = bool(rng.random() < sevenths)
    major_dominant = bool(rng.random() < 0.6)
    shortest = min(section.end - section.start for section in sections)
    paces = (0.5, 1, 1, 1, 1, 2) if shortest >= 4 * bar else (0.5, 1, 1)
    words = {
        name: (pick(rng, PROGRESSIONS[mode]), pick(rng, paces))
        for name in dict.fromkeys(section.name for section in sections)
    }
    changes, chords = [], []
    for section in sections:
        degrees, bars_per_chord = words[section.name]
        starts = range(section.start, section.end, round(bars_per_chord * bar))
        for index, start in enumerate(starts):
            degree = degrees[index % len(degrees)]
            raised = mode == "minor" and degree == 5 and major_dominant
            changes.append(start)
            chords.append(_chord(key, mode, degree, with_sevenths, raised))
    return tuple(changes), tuple(chords)


def _chord(key: int, mode: str, degree: int, seventh: bool, raised_third: bool) -> Chord:
    """Stack thirds on a scale degree (1 to 7); ``raised_third`` makes a minor chord major."""
    scale = MODES[mode]
    piled = [
        scale[(degree - 1 + 2 * third) % 7] + 12 * ((degree - 1 + 2 * third) // 7)
        for third in range(4 if seventh else 3)
    ]
    intervals = [pitch - piled[0] for pitch in piled]
    if raised_third:
        intervals[1] = 4
    return Chord((key + piled[0]) % 12, tuple(intervals))
