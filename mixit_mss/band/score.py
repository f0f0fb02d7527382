"""Notes in ticks, and how they are performed: swing, small timing errors, vocal pitch bends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from mixit_mss.band.instruments import Instrument

TICKS_PER_QUARTER = 480
STEP = TICKS_PER_QUARTER // 4  # patterns are written in sixteenths
BEND_RANGE = 8192  # two semitones, the General MIDI default

Choice = TypeVar("Choice")


class Note(NamedTuple):
    """One key pressed: ``start`` and ``ticks`` in MIDI ticks, ``pitch`` and ``velocity`` 1..127."""

    start: int
    ticks: int
    pitch: int
    velocity: int


class Control(NamedTuple):
    """One continuous controller: ``kind`` is ``bend`` (-8192..8191) or ``modulation`` (0..127)."""

    start: int
    kind: str
    value: int


@dataclass(frozen=True)
class Track:
    """One player's part: sorted notes and controls, and the settings of the MIDI channel (0..127)."""

    stem: str
    instrument: Instrument
    notes: tuple[Note, ...]
    controls: tuple[Control, ...]
    volume: int
    pan: int
    reverb: int
    chorus: int


def pick(rng: np.random.Generator, options: Sequence[Choice]) -> Choice:
    """Draw one of ``options`` uniformly."""
    return options[int(rng.integers(len(options)))]


def pick_weighted(point: float, options: Sequence[tuple[float, Choice]]) -> Choice:
    """The choice, among ``(weight, choice)`` pairs, whose share contains ``point`` in [0, 1)."""
    point *= sum(weight for weight, _ in options)
    for weight, choice in options:
        point -= weight
        if point < 0:
            return choice
    return options[-1][1]


def dealt_points(deck: np.random.Generator, size: int, place: int, axes: int) -> list[float]:
    """Point number ``place`` of a Latin hypercube sample of ``size`` points in the unit cube.

    With the same freshly seeded ``deck``, every place gets its own slice of width 1/size on each of
    the ``axes``, so that few songs cover many choices.
    """
    slices = deck.permuted(np.tile(np.arange(size), (axes, 1)), axis=1)
    within = deck.random((axes, size))
    return ((slices + within)[:, place] / size).tolist()


def pattern_steps(pattern: str) -> list[tuple[int, str, int]]:
    """Parse a pattern of sixteenths: ``(step, letter, length in steps)`` for every note.

    ``.`` is a rest and ``-`` holds the previous note: ``"r--.f-"`` is r for 3 steps, f for 2.
    """
    found: list[tuple[int, str, int]] = []
    for step, letter in enumerate(pattern):
        if letter == "-" and found:
            start, name, _ = found[-1]
            found[-1] = (start, name, step - start + 1)
        elif letter not in "-.":
            found.append((step, letter, 1))
    return found


def swing_tick(tick: int, period: int, ratio: float) -> int:
    """Move ``tick`` so that the middle of each ``period`` falls at ``ratio`` of it (0.5: straight)."""
    start, inside = tick - tick % period, tick % period
    half = period / 2
    if inside < half:
        return start + round(inside * 2 * ratio)
    return start + round(period * ratio + (inside - half) * 2 * (1 - ratio))


def humanise(
    rng: np.random.Generator,
    notes: Sequence[Note],
    ticks_per_second: float,
    spread: float,
    drag: float,
    end: int,
) -> tuple[Note, ...]:
    """Make the timing of notes human: late by ``drag`` seconds, uneven by ``spread`` seconds.

    Notes of a chord stay closer together than successive notes.  Returns notes sorted by start,
    within ``[0, end)`` ticks, without overlaps on the same key.
    """
    shift_of: dict[int, float] = {}
    played = []
    for note in notes:
        if note.start not in shift_of:
            shift_of[note.start] = drag + spread * float(rng.standard_normal())
        shift = shift_of[note.start] + 0.2 * spread * float(rng.standard_normal())
        start = max(0, note.start + round(shift * ticks_per_second))
        velocity = round(note.velocity + 4.0 * float(rng.standard_normal()))
        if start < end:
            ticks = max(STEP // 4, min(note.ticks, end - start))
            played.append(Note(start, ticks, note.pitch, min(127, max(1, velocity))))
    return _without_overlaps(sorted(played))


def _without_overlaps(notes: list[Note]) -> tuple[Note, ...]:
    kept: list[Note] = []
    last: dict[int, int] = {}
    for note in notes:
        if note.pitch in last:
            before = kept[last[note.pitch]]
            if note.start <= before.start:
                continue
            ticks = min(before.ticks, note.start - before.start)
            kept[last[note.pitch]] = before._replace(ticks=ticks)
        last[note.pitch] = len(kept)
        kept.append(note)
    return tuple(kept)


def express(
    rng: np.random.Generator, notes: Sequence[Note], ticks_per_second: float
) -> tuple[Control, ...]:
    """Add vocal expression: some notes are scooped from below, long ones get a late vibrato."""
    controls = []
    depth = int(rng.integers(25, 75))
    scooping = 0.1 + 0.4 * rng.random()
    for note in notes:
        seconds = note.ticks / ticks_per_second
        if rng.random() < scooping and seconds > 0.15:
            below = -BEND_RANGE * (0.3 + 0.5 * rng.random())
            glide = 0.04 + 0.08 * rng.random()
            for part in range(6):
                at = note.start + round(part / 5 * glide * ticks_per_second)
                controls.append(Control(at, "bend", round(below * (1 - part / 5))))
        controls.append(Control(note.start, "modulation", 0))
        if seconds > 0.45:
            at = note.start + round((0.2 + 0.15 * rng.random()) * ticks_per_second)
            controls.append(Control(at, "modulation", depth))
    return tuple(sorted(controls, key=lambda control: control.start))
