"""Bass, chord and lead players: from a plan and a generator to notes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixit_mss.band.instruments import Instrument
from mixit_mss.band.patterns import BASS_FIGURES, CLOSINGS, COMPING, COMPING_OF_FAMILY, OPENINGS
from mixit_mss.band.plan import ENERGY, Plan
from mixit_mss.band.score import STEP, Note, pattern_steps, pick


def _names(plan: Plan) -> list[str]:
    """Unique section names, in order of appearance."""
    return list(dict.fromkeys(section.name for section in plan.sections))


def _loudness(section_name: str, accent: int = 0) -> int:
    """MIDI velocity of a normal note in a section."""
    return min(120, max(20, round(62 + 36 * ENERGY[section_name] + accent)))


# --- bass ---------------------------------------------------------------------------------------


def play_bass(
    rng: np.random.Generator, plan: Plan, playing: Sequence[bool], instrument: Instrument
) -> list[Note]:
    """A bass line: one figure per section name, sometimes another in a section's last bar."""
    known = BASS_FIGURES[plan.style.metre]
    figures = [known[name] for name in plan.style.bass]
    figure_of = {name: pick(rng, figures) for name in _names(plan)}
    lowest = instrument.low + int(rng.integers(6))
    detached = 0.55 + 0.42 * float(rng.random())
    notes = []
    for section, _, start, last in plan.bars(playing):
        turned = last and rng.random() < 0.35
        figure = pick(rng, list(known.values())) if turned else figure_of[section.name]
        for step, letter, length in pattern_steps(figure):
            tick = start + step * STEP
            pitch = _bass_pitch(rng, plan, tick, letter, lowest, instrument.high)
            ticks = round(length * STEP * (detached if length < 6 else 0.96))
            notes.append(Note(tick, ticks, pitch, _loudness(section.name, 8 if step == 0 else 0)))
    return notes


def _bass_pitch(
    rng: np.random.Generator, plan: Plan, tick: int, letter: str, lowest: int, high: int
) -> int:
    chord = plan.chord_at(tick)
    root = lowest + (chord.root - lowest) % 12
    if letter == "a":
        following = plan.chord_at(min(plan.next_change(tick), plan.end - 1))
        target = lowest + (following.root - lowest) % 12
        return target + pick(rng, (-2, -1, 1, 2))
    third, fifth = chord.intervals[1], chord.intervals[2]
    above = {"r": 0, "t": third, "f": fifth, "s": 9, "o": 12}[letter]
    pitch = root + above
    return pitch if pitch <= high else pitch - 12


# --- chords -------------------------------------------------------------------------------------


def play_chords(
    rng: np.random.Generator, plan: Plan, playing: Sequence[bool], instrument: Instrument
) -> list[Note]:
    """Comping, arpeggios, pads or lines, depending on the instrument's family."""
    known = COMPING[plan.style.metre]
    figures = [known[name] for name in COMPING_OF_FAMILY[instrument.family] if name in known]
    usual = pick(rng, figures)
    figure_of = {name: pick(rng, figures) if rng.random() < 0.4 else usual for name in _names(plan)}
    centre = round(
        instrument.low + (instrument.high - instrument.low) * (0.35 + 0.3 * rng.random())
    )
    roll = 0.012 if instrument.family in ("guitar", "pluck", "power guitar") else 0.002
    detached = pick(rng, (0.6, 0.8, 0.95))
    notes: list[Note] = []
    for section, _, start, _ in plan.bars(playing):
        for step, letter, length in pattern_steps(figure_of[section.name]):
            end = start + (step + length) * STEP
            tick = start + step * STEP
            accent = 4 if step == 0 else -4 if letter == "u" else 0
            while tick < end:
                until = min(end, plan.next_change(tick))
                pitches = _voicing(plan, tick, letter, centre, instrument)
                ticks = round((until - tick) * (detached if length < 6 else 0.97))
                strum = round(roll * (0.6 + 0.8 * float(rng.random())) * plan.ticks_per_second)
                velocity = _loudness(section.name, accent - 6)
                ordered = pitches[::-1] if letter == "u" else pitches
                for order, pitch in enumerate(ordered):
                    late = min(order * strum, ticks // 2)
                    notes.append(Note(tick + late, ticks - late, pitch, velocity))
                tick = until
    return notes


def _voicing(plan: Plan, tick: int, letter: str, centre: int, instrument: Instrument) -> list[int]:
    """Keys to press for one letter of a comping figure, from low to high."""
    chord = plan.chord_at(tick)
    if letter == "p":
        root = instrument.low + (chord.root - instrument.low) % 12
        return [root, root + chord.intervals[2], root + 12]
    # each pitch class in the octave nearest to the centre: close voicings that move little
    near = sorted(centre - 6 + (pitch - centre + 6) % 12 for pitch in chord.pitch_classes())
    near = [into_range(pitch, instrument) for pitch in near]
    bottom = into_range(centre - 18 + (chord.root - centre + 18) % 12, instrument)
    if letter == "c":
        return sorted(near)
    if letter == "u":
        return sorted(near)[-3:]
    if letter == "b":
        return [bottom]
    ladder = sorted({bottom, *near})
    return [ladder[min(int(letter), len(ladder) - 1)]]


def into_range(pitch: int, instrument: Instrument) -> int:
    """Move a pitch by octaves into the range of ``instrument``."""
    while pitch < instrument.low:
        pitch += 12
    while pitch > instrument.high:
        pitch -= 12
    return pitch


# --- lead ---------------------------------------------------------------------------------------


def play_lead(
    rng: np.random.Generator,
    plan: Plan,
    playing: Sequence[bool],
    instrument: Instrument,
    resting: float = 0.08,
) -> list[Note]:
    """A melody in two-bar phrases that breathe; sections with the same name share two motifs.

    Each phrase except the first of a section is omitted with probability ``resting``.
    """
    motifs = {name: (_draw_motif(rng, plan), _draw_motif(rng, plan)) for name in _names(plan)}
    span = min(17, instrument.high - instrument.low)
    low = instrument.low + int(rng.integers(instrument.high - instrument.low - span + 1))
    notes: list[Note] = []
    motif: tuple[str, str, list[int], int] | None = None
    place = 0
    for section, number, start, _ in plan.bars(playing):
        closing = number % 2 == 1
        if not closing:
            phrase = number // 2
            motif = motifs[section.name][1 if phrase % 4 == 2 else 0]
            if phrase > 0 and rng.random() < resting:
                motif = None
            place = 0
        if motif is None:
            continue
        opening_rhythm, closing_rhythm, contour, home = motif
        steps = pattern_steps(closing_rhythm if closing else opening_rhythm)
        for index, (step, _, length) in enumerate(steps):
            tick = start + step * STEP
            ends = closing and index == len(steps) - 1
            home_pitch = low + span // 2 + home if place == 0 else notes[-1].pitch
            strong = ends or place == 0 or (tick % plan.beat == 0 and length >= 4)
            pitch = _sung_pitch(plan, tick, home_pitch, contour[place % len(contour)], strong)
            pitch = _fold(pitch, low, low + span)
            velocity = _loudness(section.name, 6 if tick % plan.beat == 0 else 0)
            notes.append(Note(tick, round(length * STEP * 0.94), pitch, velocity))
            place += 1
    return notes


def _draw_motif(rng: np.random.Generator, plan: Plan) -> tuple[str, str, list[int], int]:
    """Draw two bars of rhythm, the scale steps between notes, and a start near the middle."""
    metre = plan.style.metre
    steps = (-3, -2, -2, -1, -1, -1, 0, 1, 1, 1, 2, 2, 4)
    contour = [int(pick(rng, steps)) for _ in range(16)]
    return pick(rng, OPENINGS[metre]), pick(rng, CLOSINGS[metre]), contour, int(rng.integers(-5, 6))


def _sung_pitch(plan: Plan, tick: int, before: int, steps: int, strong: bool) -> int:
    """The pitch ``steps`` of the scale away from ``before``; strong beats take chord notes."""
    chord = plan.chord_at(tick).pitch_classes()
    scale = plan.scale_at(tick)
    ladder = [pitch for pitch in range(before - 14, before + 15) if pitch % 12 in scale]
    nearest = min(range(len(ladder)), key=lambda index: abs(ladder[index] - before))
    pitch = ladder[min(len(ladder) - 1, max(0, nearest + steps))]
    if strong:
        candidates = [near for near in range(pitch - 4, pitch + 5) if near % 12 in chord]
        pitch = min(candidates, key=lambda near: abs(near - pitch))
    return pitch


def _fold(pitch: int, low: int, high: int) -> int:
    """Move a pitch into ``[low, high]`` by octaves."""
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def second_voice(notes: Sequence[Note], plan: Plan, instrument: Instrument) -> list[Note]:
    """A second voice, about a third below the first, in the choruses only."""
    choruses = [section for section in plan.sections if section.name == "chorus"]
    voice = []
    for note in notes:
        if any(section.start <= note.start < section.end for section in choruses):
            below = _sung_pitch(plan, note.start, note.pitch, -2, strong=False)
            if below >= instrument.low:
                voice.append(note._replace(pitch=below, velocity=max(1, note.velocity - 12)))
    return voice
