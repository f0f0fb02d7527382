"""Levels of correlation: how much the parts of a song share, in one ordered list.

Below ``band``, each part has its own plan.  Above it, parts share a common line as well as the
plan: every part is moved to the line's onsets (``locked``), or all play the line (``unison``),
finally on the same instrument (``doubled``).  A level changes nothing else: all other players and
notes stay as at the level before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixit_mss.band.instruments import Instrument
from mixit_mss.band.plan import Plan, draw_harmony, draw_key, draw_plan
from mixit_mss.band.players import into_range, play_lead
from mixit_mss.band.score import STEP, Note, Track, express, humanise, swing_tick

# The common line spans one octave, so that nearly every instrument can play it unchanged.
LINE = Instrument("common line", 0, "line", 60, 72)


@dataclass(frozen=True)
class Common:
    """What parts share above ``band``: a plan, a ``line`` in ticks, and an instrument to double it.

    ``double``, the instrument, is used only at the level ``doubled``.
    """

    level: str
    plan: Plan
    line: tuple[Note, ...]
    double: Instrument


def own_plan(rng: np.random.Generator, level: str, plan: Plan, seconds: float) -> Plan:
    """Draw one part's plan below ``band``: independent, or with ``plan``'s tempo and sections."""
    if level == "independent":
        return draw_plan(rng, seconds, float(rng.random()))
    key, mode = draw_key(rng)
    changes, chords = draw_harmony(rng, plan.sections, plan.bar, key, mode, plan.style.sevenths)
    return replace(plan, key=key, mode=mode, changes=changes, chords=chords)


def draw_line(rng: np.random.Generator, plan: Plan) -> list[Note]:
    """Draw the common line for levels above ``band``: a melody through every section."""
    return play_lead(rng, plan, [True] * len(plan.sections), LINE, resting=0.0)


def in_step(notes: Sequence[Note], line: Sequence[Note], plan: Plan) -> list[Note]:
    """Move a part to the onsets of ``line``: each onset gets the part's nearest notes.

    Nearest means over the same chord if possible, then in time.  Notes take the line's durations;
    sections without notes in the part stay empty.
    """
    # notes of a strummed chord start within one step and stay together
    strokes: dict[int, list[Note]] = {}
    for note in notes:
        strokes.setdefault(note.start // STEP * STEP, []).append(note)
    moved = []
    for section in plan.sections:
        known = [tick for tick in strokes if section.start <= tick < section.end]
        for onset in line:
            if known and section.start <= onset.start < section.end:
                change = plan.next_change(onset.start)
                nearest = min(
                    known,
                    key=lambda tick: (
                        plan.next_change(tick) != change, abs(tick - onset.start), -tick,
                    ),
                )  # fmt: skip
                moved += [
                    note._replace(start=onset.start, ticks=onset.ticks) for note in strokes[nearest]
                ]
    return moved


def in_unison(
    notes: Sequence[Note], line: Sequence[Note], plan: Plan, instrument: Instrument
) -> list[Note]:
    """Make a part play ``line`` in the octave of its ``notes``, within the range of ``instrument``.

    The part keeps its own velocities and rests, as in ``in_step``.
    """
    loudness = {note.start: note.velocity for note in in_step(notes, line, plan)}
    own = float(np.mean([note.pitch for note in notes]))
    octaves = round((own - float(np.mean([note.pitch for note in line]))) / 12)
    return [
        note._replace(
            pitch=into_range(note.pitch + 12 * octaves, instrument), velocity=loudness[note.start]
        )
        for note in line
        if note.start in loudness
    ]


def play_together(
    rng: np.random.Generator, track: Track, notes: Sequence[Note], common: Common
) -> Track:
    """Replace the notes of a track for ``common``'s level, with all players exactly in time.

    ``notes`` is the part as written, before swing and humanising.  Volume, pan and effects stay.
    """
    plan, pitched = common.plan, track.stem != "drums"
    instrument = common.double if pitched and common.level == "doubled" else track.instrument
    if pitched and common.level != "locked":
        moved = in_unison(notes, common.line, plan, instrument)
    else:
        moved = in_step(notes, common.line, plan)
    ratio, period = plan.swing, plan.style.period
    swung = [note._replace(start=swing_tick(note.start, period, ratio)) for note in moved]
    played = humanise(rng, swung, plan.ticks_per_second, 0.0, 0.0, plan.end)
    # a singer's bends would distinguish the lead from its doubles
    bends = track.stem == "vocals" and common.level != "doubled"
    controls = express(rng, played, plan.ticks_per_second) if bends else ()
    return replace(track, instrument=instrument, notes=played, controls=controls)
