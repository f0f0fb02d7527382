"""Compose a song: a pure function of (seed, kind, number), the length, and how much its parts share.

This module reads no files and renders no audio.  Every choice comes from numpy generators seeded
with ``(seed, kind, number, stream)``, so songs can be composed in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixit_mss.band.choices import LEVELS, MIXED, PARTS_CHOICES
from mixit_mss.band.drums import play_drums
from mixit_mss.band.instruments import CAST, OTHERS, STEMS, Instrument
from mixit_mss.band.plan import Plan, Section, draw_plan
from mixit_mss.band.players import play_bass, play_chords, play_lead, second_voice
from mixit_mss.band.score import (
    Note,
    Track,
    dealt_points,
    express,
    humanise,
    pick,
    pick_weighted,
    swing_tick,
)
from mixit_mss.band.together import Common, draw_line, own_plan, play_together

KINDS = ("unlabelled", "train", "valid", "test")
# Random streams: neighbouring songs share the first two; the rest belong to one song.
CAST_STREAM, COUNT_STREAM, PLAN_STREAM, ARRANGEMENT_STREAM, SOUND_STREAM, STEM_STREAM = range(6)
LINE_STREAM = STEM_STREAM + len(STEMS)
OWN_PLAN_STREAM = LINE_STREAM + 1
TOGETHER_STREAM = OWN_PLAN_STREAM + len(STEMS)
# Styles and instrument families are spread evenly over this many songs at a time.
DECK = 8
# Number of stems in each unlabelled song of a deck: solos and duos more often than full bands.
PARTS = (1, 1, 1, 2, 2, 2, 3, 4)
# Songs are composed this much longer than requested, so that a slow attack can be cut off.
SPARE_SECONDS = 0.25
# Every stem plays in at least this share of its song; rests between notes do not count as silence.
LEAST_SHARE = 0.6
# (least, most) stems that rest in a section; never all of them.
RESTING = {"intro": (1, 3), "verse": (0, 1), "chorus": (0, 0), "break": (1, 3), "outro": (0, 2)}
TITLE_FIRST = (
    "Amber", "Borrowed", "Broken", "Copper", "Crooked", "Distant", "Early", "Empty", "Fallen", "Golden",
    "Half", "Hidden", "Late", "Little", "Lost", "Midnight", "Northern", "Open", "Paper", "Quiet",
    "Restless", "Salt", "Second", "Silver", "Slow", "Summer", "Velvet", "Wandering", "Winter", "Yellow",
)  # fmt: skip
TITLE_SECOND = (
    "Arcade", "Avenue", "Bridge", "Carousel", "Compass", "Corridor", "Ferry", "Fountain", "Garden", "Harbour",
    "Horizon", "Island", "Lantern", "Letters", "Lighthouse", "Market", "Meadow", "Mirror", "Orchard", "Parade",
    "Postcard", "Railway", "River", "Signal", "Skyline", "Staircase", "Station", "Tide", "Weather", "Window",
)  # fmt: skip


@dataclass(frozen=True)
class Song:
    """A composed song.

    ``plan`` is the band's plan.  ``plans`` holds the plan of each stem: the same, or its own if
    ``correlation`` is below ``band``.  Notes are in ticks of the stem's plan; ``playing`` says for
    every stem in which sections of its plan it plays.  ``levels`` are target stem levels in dB
    relative to each other, ``loudness`` is the mixture's level in dB of full scale, and ``room`` is
    the reverb's (size, damping, level), each 0..1.
    """

    kind: str
    number: int
    title: str
    seconds: float
    correlation: str
    plan: Plan
    plans: dict[str, Plan]
    playing: dict[str, tuple[bool, ...]]
    tracks: tuple[Track, ...]
    levels: dict[str, float]
    loudness: float
    room: tuple[float, float, float]

    @property
    def stems(self) -> tuple[str, ...]:
        """Stems that play, in the order of the corpus."""
        return tuple(self.playing)


def compose_song(
    seed: int,
    kind: str,
    number: int,
    seconds: float,
    correlation: str = "band",
    parts: str = MIXED,
) -> Song:
    """Compose song ``number`` of a ``kind`` (one of ``KINDS``), at least ``seconds`` long.

    The first note is at tick 0: if the music begins with a rest, the tracks are shifted earlier
    than the plan by that much.

    Unlabelled songs have ``parts`` stems, or one to four with the frequencies in ``PARTS``; songs
    of the labelled kinds have all stems.

    ``correlation`` is one of ``LEVELS``.  At every level, a song has the same stems and players,
    and the same style, key and tempo for its first stem, which always plays the band's plan.  So a
    solo is the same song at every level up to ``band``.
    """
    if correlation not in LEVELS or parts not in PARTS_CHOICES:
        raise ValueError(f"no correlation {correlation!r} of {LEVELS}, or parts {parts!r}")
    if kind not in KINDS or seed < 0 or number < 0 or not seconds > 0:
        raise ValueError(f"no song {number} of kind {kind!r}, seed {seed}, {seconds} seconds")

    def stream(index: int, number: int = number) -> np.random.Generator:
        return np.random.default_rng([seed, KINDS.index(kind), number, index])

    deck = stream(CAST_STREAM, number // DECK)
    style_point, *family_points = dealt_points(deck, DECK, number % DECK, 1 + len(STEMS))
    plan = draw_plan(stream(PLAN_STREAM), seconds + SPARE_SECONDS, style_point)
    rng = stream(ARRANGEMENT_STREAM)
    stems = STEMS
    if kind == "unlabelled":
        counts = stream(COUNT_STREAM, number // DECK).permutation(PARTS)
        count = int(counts[number % DECK]) if parts == MIXED else int(parts)
        chosen = rng.permutation(len(STEMS))[:count].tolist()
        stems = tuple(stem for index, stem in enumerate(STEMS) if index in chosen)
    playing = draw_arrangement(rng, plan.sections, stems)
    plans = dict.fromkeys(stems, plan)
    if LEVELS.index(correlation) < LEVELS.index("band"):
        for stem in stems[1:]:
            rng = stream(OWN_PLAN_STREAM + STEMS.index(stem))
            plans[stem] = own_plan(rng, correlation, plan, seconds + SPARE_SECONDS)
            if plans[stem].sections != plan.sections:
                playing[stem] = draw_arrangement(rng, plans[stem].sections, stems)[stem]
    rngs = {stem: stream(STEM_STREAM + index) for index, stem in enumerate(STEMS)}
    players = {
        stem: pick(rngs[stem], pick_weighted(point, CAST[stem]))
        for stem, point in zip(STEMS, family_points, strict=True)
    }
    common = None
    if LEVELS.index(correlation) > LEVELS.index("band"):
        line = draw_line(stream(LINE_STREAM), plan)
        common = Common(correlation, plan, tuple(line), players["other"])
    tracks = []
    for stem in stems:
        rng, own = rngs[stem], plans[stem]
        together = stream(TOGETHER_STREAM + STEMS.index(stem))
        for player, notes in _parts(rng, stem, own, playing[stem], players[stem]):
            track = _track(rng, stem, player, notes, own)
            tracks.append(play_together(together, track, notes, common) if common else track)
    # in seconds, because parts may differ in tempo
    first = min(
        note.start / plans[track.stem].ticks_per_second for track in tracks for note in track.notes
    )
    rng = stream(SOUND_STREAM)
    return Song(
        kind=kind,
        number=number,
        title=f"{pick(rng, TITLE_FIRST)} {pick(rng, TITLE_SECOND)}",
        seconds=seconds,
        correlation=correlation,
        plan=plan,
        plans=plans,
        playing=playing,
        tracks=tuple(
            _earlier(track, round(first * plans[track.stem].ticks_per_second)) for track in tracks
        ),
        levels={stem: _draw_level(rng, stem) for stem in stems},
        loudness=round(-20 + 1.5 * float(np.clip(rng.standard_normal(), -2, 2)), 2),
        room=(
            round(0.1 + 0.7 * rng.random(), 3),
            round(0.6 * rng.random(), 3),
            round(0.2 + 0.6 * rng.random(), 3),
        ),
    )


def draw_arrangement(
    rng: np.random.Generator, sections: Sequence[Section], stems: Sequence[str]
) -> dict[str, tuple[bool, ...]]:
    """Draw the sections in which each stem plays: instruments enter and leave.

    Every section has at least one stem, and every stem plays for ``LEAST_SHARE`` of the song.
    """
    playing = {stem: [True] * len(sections) for stem in stems}
    for index, section in enumerate(sections):
        least, most = RESTING[section.name]
        count = min(int(rng.integers(least, most + 1)), len(stems) - 1)
        for place in rng.permutation(len(stems))[:count].tolist():
            playing[stems[place]][index] = False
    lengths = [section.end - section.start for section in sections]
    for stem in stems:
        for index in rng.permutation(len(sections)).tolist():
            share = sum(np.multiply(lengths, playing[stem])) / sum(lengths)
            if share >= LEAST_SHARE:
                break
            playing[stem][index] = True
    return {stem: tuple(plays) for stem, plays in playing.items()}


def _earlier(track: Track, ticks: int) -> Track:
    return replace(
        track,
        notes=tuple(note._replace(start=note.start - ticks) for note in track.notes),
        controls=tuple(item._replace(start=item.start - ticks) for item in track.controls),
    )


def _draw_level(rng: np.random.Generator, stem: str) -> float:
    """Draw the level of a stem in dB, before the song's gain: lead and drums are loudest."""
    usual = {"vocals": 1.0, "drums": 0.5, "bass": -1.0, "other": -1.0}[stem]
    return round(usual + 1.6 * float(np.clip(rng.standard_normal(), -2, 2)), 2)


def _parts(
    rng: np.random.Generator, stem: str, plan: Plan, playing: Sequence[bool], player: Instrument
) -> Iterator[tuple[Instrument, list[Note]]]:
    """Yield (player, notes) of one stem: one to three in `other`, one or two voices, else one.

    Parts are generated lazily, because each is performed before the next is written, with the same
    ``rng``.
    """
    if stem == "drums":
        yield player, play_drums(rng, plan, playing)
    elif stem == "bass":
        yield player, play_bass(rng, plan, playing, player)
    elif stem == "vocals":
        line = play_lead(rng, plan, playing, player)
        voices = [line]
        if rng.random() < 0.25:
            voices.append(second_voice(line, plan, player))
        yield from ((player, voice) for voice in voices if voice)
    else:
        layers = pick_weighted(float(rng.random()), ((0.4, 1), (0.4, 2), (0.2, 3)))
        players = [player]
        while len(players) < layers:
            extra = pick(rng, pick_weighted(float(rng.random()), OTHERS))
            if extra.family not in [before.family for before in players]:
                players.append(extra)
        for player in players:
            yield player, play_chords(rng, plan, playing, player)


def _track(
    rng: np.random.Generator, stem: str, instrument: Instrument, notes: Sequence[Note], plan: Plan
) -> Track:
    """Humanise the notes and draw the instrument's pan, reverb, chorus and volume."""
    ratio, period = plan.swing, plan.style.period
    swung = [note._replace(start=swing_tick(note.start, period, ratio)) for note in notes]
    spread = (0.003, 0.006, 0.010)[int(rng.integers(3))]
    drag = {"vocals": 0.010, "drums": 0.0, "bass": 0.003, "other": 0.004}[stem]
    drag *= float(rng.random())
    played = humanise(rng, swung, plan.ticks_per_second, spread, drag, plan.end)
    width = {"vocals": 9, "drums": 6, "bass": 6, "other": 30}[stem]
    wet = {"vocals": (20, 90), "drums": (0, 50), "bass": (0, 20), "other": (10, 90)}[stem]
    return Track(
        stem=stem,
        instrument=instrument,
        notes=played,
        controls=express(rng, played, plan.ticks_per_second) if stem == "vocals" else (),
        volume=int(rng.integers(86, 108)),
        pan=int(np.clip(round(64 + width * float(rng.standard_normal())), 8, 119)),
        reverb=int(rng.integers(*wet)),
        chorus=int(rng.integers(0, 60)) if rng.random() < 0.35 else 0,
    )
