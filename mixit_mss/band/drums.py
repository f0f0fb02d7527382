"""The drummer: grooves, percussion, crashes at the start of sections and fills at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixit_mss.band.instruments import PERCUSSION
from mixit_mss.band.patterns import FILLS, GROOVES, PERCUSSION_LINES
from mixit_mss.band.plan import ENERGY, Plan, Section
from mixit_mss.band.score import STEP, Note, pick

LOUDNESS = {"X": 112, "x": 90, "o": 56}
FILL_PIECES = {
    "S": "snare", "1": "tom 1", "2": "tom 2", "3": "tom 3", "4": "tom 4", "K": "kick",
}  # fmt: skip
TIME_PIECES = ("hat", "hat", "hat", "ride", "open", "shaker", "pedal")


def play_drums(rng: np.random.Generator, plan: Plan, playing: Sequence[bool]) -> list[Note]:
    """A drum part; sections with the same name share a groove, and quiet ones omit some pieces."""
    names = list(dict.fromkeys(section.name for section in plan.sections))
    usual = pick(rng, plan.style.grooves)
    groove_of = {
        name: GROOVES[pick(rng, plan.style.grooves) if rng.random() < 0.3 else usual]
        for name in names
    }
    time_of = {name: _time_piece(rng, plan, name) for name in names}
    thinned = {name: ENERGY[name] < 0.5 and bool(rng.random() < 0.5) for name in names}
    line = pick(rng, sorted(PERCUSSION_LINES)) if rng.random() < 0.4 else None
    filling = 0.5 + 0.4 * float(rng.random())
    notes: list[Note] = []
    for section, number, start, last in plan.bars(playing):
        fill = pick(rng, FILLS) if last and rng.random() < filling else None
        hits = _groove_hits(rng, groove_of[section.name], time_of[section.name])
        if thinned[section.name]:
            hits = [hit for hit in hits if hit[1] not in ("snare", "clap", "cowbell")]
        if line is not None:
            hits += [(step, line, letter) for step, letter in enumerate(_line(line, start, plan))]
        if number == 0 and rng.random() < 0.65:
            hits.append((0, pick(rng, ("crash", "crash", "crash 2", "splash")), "x"))
        if fill is not None:
            hits = _with_fill(hits, fill, plan)
        notes += [_hit(section, start, *hit) for hit in hits if hit[2] in LOUDNESS]
    return notes


def _time_piece(rng: np.random.Generator, plan: Plan, name: str) -> str:
    """Choose what keeps time in a section: mostly the ride in jazz, open pieces in choruses."""
    if plan.style.name in ("swing", "jazz waltz"):
        return pick(rng, ("ride", "ride", "hat"))
    if name == "chorus":
        return pick(rng, ("ride", "open", "hat", "bell", "crash 2"))
    return pick(rng, TIME_PIECES)


def _groove_hits(
    rng: np.random.Generator, groove: dict[str, str], time: str
) -> list[tuple[int, str, str]]:
    """(step, piece, letter) of one bar, with an occasional ghost kick or open hat."""
    hits = [
        (step, time if piece == "time" else piece, letter)
        for piece, pattern in groove.items()
        for step, letter in enumerate(pattern)
    ]
    steps = len(next(iter(groove.values())))
    if rng.random() < 0.2:
        hits.append((2 * int(rng.integers(steps // 2)) + 1, "kick", "o"))
    if time == "hat" and rng.random() < 0.15:
        hits.append((steps - 2, "open", "x"))
    return hits


def _line(piece: str, start: int, plan: Plan) -> str:
    """One bar of a percussion line; the pattern is cut to short bars and rotates between bars."""
    patterns = PERCUSSION_LINES[piece]
    return patterns[(start // plan.bar // 4) % len(patterns)][: plan.bar // STEP]


def _with_fill(hits: list[tuple[int, str, str]], fill: str, plan: Plan) -> list:
    """Replace the bar by the fill from the fill's first stroke on; kicks stay."""
    steps = plan.bar // STEP
    fill = fill[-steps:]
    begin = next(step for step, letter in enumerate(fill) if letter != ".")
    kept = [hit for hit in hits if hit[0] < begin or hit[1] == "kick"]
    strokes = [
        (step, FILL_PIECES[letter], "X" if step % 4 == 0 else "x")
        for step, letter in enumerate(fill)
        if letter != "."
    ]
    return kept + strokes


def _hit(section: Section, start: int, step: int, piece: str, letter: str) -> Note:
    loudness = round(LOUDNESS[letter] * (0.72 + 0.28 * ENERGY[section.name]))
    return Note(start + step * STEP, STEP, PERCUSSION[piece], loudness)
