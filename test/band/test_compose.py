"""The midi_band composer: pure, in range, and arranged as the recipe needs it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from mixit_mss.band import patterns
from mixit_mss.band.compose import LEAST_SHARE, SPARE_SECONDS, compose_song, draw_arrangement
from mixit_mss.band.instruments import CAST, PERCUSSION, STEMS
from mixit_mss.band.plan import PROGRESSIONS, STYLES, Chord, Plan, Section, _chord
from mixit_mss.band.players import play_bass, play_lead
from mixit_mss.band.score import (
    Note,
    dealt_points,
    humanise,
    pattern_steps,
    pick_weighted,
    swing_tick,
)

SECONDS = 22.0


@pytest.fixture(scope="module")
def unlabelled():
    return [compose_song(0, "unlabelled", number, SECONDS) for number in range(200)]


@pytest.fixture(scope="module")
def labelled():
    counts = {"train": 6, "valid": 3, "test": 8}
    return [
        compose_song(0, kind, number, SECONDS)
        for kind, count in counts.items()
        for number in range(count)
    ]


def test_a_song_is_a_function_of_seed_kind_and_number():
    song = compose_song(3, "train", 2, 10.0)
    compose_song(3, "train", 7, 10.0)  # whatever is composed in between
    assert compose_song(3, "train", 2, 10.0) == song
    for other in ((4, "train", 2), (3, "test", 2), (3, "train", 3)):
        assert compose_song(*other, 10.0).tracks != song.tracks


def test_songs_do_not_depend_on_the_hash_seed_of_the_process():
    program = (
        "from mixit_mss.band.compose import compose_song\n"
        "for number in range(6): print(compose_song(1, 'unlabelled', number, 15.0))"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        answer = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        assert len(answer.stdout) > 10_000
        digests.add(hashlib.sha256(answer.stdout).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    "arguments", [(0, "vocals", 0, 9.0), (-1, "train", 0, 9.0), (0, "train", -1, 9.0), (0, "test", 0, 0)]
)  # fmt: skip
def test_impossible_songs_are_refused(arguments):
    with pytest.raises(ValueError, match="no song"):
        compose_song(*arguments)


def test_any_eight_unlabelled_songs_have_one_to_four_parts(unlabelled):
    for first in range(0, len(unlabelled), 8):
        counts = sorted(len(song.stems) for song in unlabelled[first : first + 8])
        assert counts == [1, 1, 1, 2, 2, 2, 3, 4]
    alone = Counter(song.stems[0] for song in unlabelled if len(song.stems) == 1)
    assert set(alone) == set(STEMS) and min(alone.values()) >= 5
    assert len({song.stems for song in unlabelled}) == 15  # every combination there is


def test_instruments_enter_and_leave_but_somebody_always_plays(unlabelled, labelled):
    for song in unlabelled + labelled:
        lengths = np.array([section.end - section.start for section in song.plan.sections])
        playing = np.array([song.playing[stem] for stem in song.stems])
        assert playing.any(axis=0).all()
        assert (playing @ lengths >= LEAST_SHARE * lengths.sum()).all()
    together = [song for song in unlabelled if len(song.stems) > 1]
    resting = [not all(all(plays) for plays in song.playing.values()) for song in together]
    assert np.mean(resting) > 0.8


def test_labelled_songs_have_all_stems_and_sections_without_some(labelled):
    assert len(labelled) == 17
    for song in labelled:
        assert song.stems == STEMS
        assert {track.stem for track in song.tracks} == set(STEMS)
    resting = [not all(all(plays) for plays in song.playing.values()) for song in labelled]
    assert sum(resting) >= 14


def test_every_stem_sounds_for_a_good_part_of_its_song(unlabelled, labelled):
    """Share of half seconds in which a note of the stem begins or sounds."""
    for song in unlabelled + labelled:
        half = song.plan.ticks_per_second / 2
        for stem in song.stems:
            sounding = np.zeros(round(2 * SECONDS), dtype=bool)
            for track in (track for track in song.tracks if track.stem == stem):
                for note in track.notes:
                    sounding[int(note.start / half) : int((note.start + note.ticks) / half) + 1] = 1
            least = 0.35 if song.kind == "unlabelled" else 0.45
            assert sounding.mean() >= least, (song.kind, song.number, stem)


def test_notes_and_controllers_are_playable_and_in_order(unlabelled, labelled):
    for song in unlabelled + labelled:
        assert min(track.notes[0].start for track in song.tracks) == 0
        for track in song.tracks:
            starts = [note.start for note in track.notes]
            assert starts == sorted(starts)
            until: dict[int, int] = {}
            for note in track.notes:
                assert 0 <= note.start < song.plan.end and note.ticks > 0
                assert 1 <= note.velocity <= 127 and 21 <= note.pitch <= 108
                assert note.start >= until.get(note.pitch, 0), "a key pressed while it is down"
                until[note.pitch] = note.start + note.ticks
            times = [control.start for control in track.controls]
            assert times == sorted(times) and all(time >= 0 for time in times)
            for control in track.controls:
                low, high = {"bend": (-8192, 8191), "modulation": (0, 127)}[control.kind]
                assert low <= control.value <= high
            for setting in (track.volume, track.pan, track.reverb, track.chorus):
                assert 0 <= setting <= 127


def test_songs_are_long_enough_and_of_many_kinds(unlabelled):
    for song in unlabelled:
        plan = song.plan
        assert plan.end / plan.ticks_per_second >= SECONDS + SPARE_SECONDS
        assert plan.sections[0].start == 0 and len(plan.sections) >= 2
        assert all(one.end == two.start for one, two in pairwise(plan.sections))
        assert plan.changes[0] == 0 and list(plan.changes) == sorted(set(plan.changes))
        assert len(set(plan.chords)) >= 2
    metres = Counter(song.plan.style.metre for song in unlabelled)
    assert metres["4/4"] > 120 and metres["3/4"] >= 8 and metres["6/8"] >= 8
    tempos = np.array([song.plan.tempo for song in unlabelled])
    assert tempos.min() < 70 and tempos.max() > 165
    assert len({song.plan.key_name for song in unlabelled}) >= 35
    assert len({song.plan.style.name for song in unlabelled}) == len(STYLES)


def test_stems_have_programs_of_their_own_and_many_of_them(unlabelled):
    programs = {
        stem: {player.program for _, family in CAST[stem] for player in family} for stem in STEMS
    }
    melodic = [program for stem in STEMS if stem != "drums" for program in sorted(programs[stem])]
    assert len(melodic) == len(set(melodic))
    heard = {stem: set() for stem in STEMS}
    for song in unlabelled:
        for track in song.tracks:
            heard[track.stem].add(track.instrument.program)
    assert all(heard[stem] <= programs[stem] for stem in STEMS)
    assert {stem: len(heard[stem]) for stem in STEMS}["other"] >= 35
    assert len(heard["vocals"]) >= 20 and len(heard["bass"]) == 8 and len(heard["drums"]) == 7


def test_few_songs_cover_the_singers(labelled):
    """Voices sing 42 % of the lead lines: of six songs two or three, not none and not all."""
    voices = {52, 53, 54, 85}
    for kind, low, high in (("train", 2, 3), ("test", 2, 5)):
        leads = [
            next(track.instrument.program for track in song.tracks if track.stem == "vocals")
            for song in labelled
            if song.kind == kind
        ]
        assert low <= sum(program in voices for program in leads) <= high


def test_dealt_points_share_no_slice_on_any_axis():
    dealt = [dealt_points(np.random.default_rng(5), 8, place, 3) for place in range(8)]
    points = np.array(dealt)
    assert points.shape == (8, 3) and (points >= 0).all() and (points < 1).all()
    for axis in points.T:
        assert sorted((axis * 8).astype(int).tolist()) == list(range(8))
    assert len({tuple(np.argsort(axis)) for axis in points.T}) == 3  # axes are dealt independently


def test_pick_weighted_gives_every_choice_its_share():
    options = ((1.0, "a"), (3.0, "b"), (1.0, "c"))
    picked = [pick_weighted(point, options) for point in (0.0, 0.19, 0.21, 0.79, 0.81, 1.0)]
    assert picked == ["a", "a", "b", "b", "c", "c"]


def test_pattern_steps_reads_rests_and_holds():
    assert pattern_steps("r--.f-x") == [(0, "r", 3), (4, "f", 2), (6, "x", 1)]
    assert pattern_steps("--..") == []


def test_patterns_fill_their_bars():
    for table in (patterns.BASS_FIGURES, patterns.COMPING, patterns.OPENINGS, patterns.CLOSINGS):
        for metre, figures in table.items():
            listed = figures.values() if isinstance(figures, dict) else figures
            for figure in listed:
                assert len(figure) == patterns.STEPS_PER_BAR[metre], figure
    for _, style in STYLES:
        for name in style.grooves:
            for piece, pattern in patterns.GROOVES[name].items():
                assert len(pattern) == patterns.STEPS_PER_BAR[style.metre], name
                assert piece == "time" or piece in PERCUSSION
        assert all(name in patterns.BASS_FIGURES[style.metre] for name in style.bass)
    families = {player.family for _, family in CAST["other"] for player in family}
    for family in families:
        for metre in patterns.COMPING:
            assert set(patterns.COMPING_OF_FAMILY[family]) & set(patterns.COMPING[metre])


def test_swing_delays_only_the_middle():
    assert [swing_tick(tick, 480, 2 / 3) for tick in (0, 120, 240, 360, 480, 720)] == [
        0, 160, 320, 400, 480, 800,
    ]  # fmt: skip
    assert [swing_tick(tick, 480, 0.5) for tick in range(0, 960, 60)] == list(range(0, 960, 60))


def test_humanise_keeps_order_bounds_and_one_press_per_key():
    rng = np.random.default_rng(0)
    notes = [Note(tick, 400, 60 + tick // 120 % 2, 90) for tick in range(0, 4800, 60)]
    played = humanise(rng, notes, 960.0, 0.02, 0.0, 4000)
    assert list(played) == sorted(played) and played[0].start >= 0
    assert all(note.start + note.ticks <= 4000 + 30 for note in played)
    for pitch in (60, 61):
        line = [note for note in played if note.pitch == pitch]
        for one, two in pairwise(line):
            assert one.start + one.ticks <= two.start
    late = humanise(rng, notes[:1], 960.0, 0.0, 0.1, 4000)
    assert late[0].start == 96


def test_chords_are_thirds_on_the_scale():
    assert _chord(0, "major", 5, True, False) == Chord(7, (0, 4, 7, 10))  # G7
    assert _chord(0, "major", 2, True, False) == Chord(2, (0, 3, 7, 10))  # Dm7
    assert _chord(9, "minor", 5, False, True) == Chord(4, (0, 4, 7))  # E in A minor
    assert _chord(7, "mixolydian", 7, False, False) == Chord(5, (0, 4, 7))  # F in G
    assert all(1 <= degree <= 7 for mode in PROGRESSIONS.values() for row in mode for degree in row)


def _plan(key: int, mode: str, chords: list[Chord], bars: int = 4) -> Plan:
    style = STYLES[0][1]
    sections = (Section("verse", 0, bars * 1920),)
    return Plan(style, key, mode, 120.0, 0.5, sections, tuple(range(0, bars * 1920, 1920)), tuple(chords))  # fmt: skip


def test_the_scale_bends_to_a_foreign_chord():
    plan = _plan(9, "minor", [Chord(9, (0, 3, 7)), Chord(4, (0, 4, 7))] * 2)
    assert plan.scale_at(0) == (0, 2, 4, 5, 7, 9, 11)
    assert plan.scale_at(1920) == (0, 2, 4, 5, 8, 11)  # over E: G sharp; not G, not A


def test_melody_ends_its_phrases_on_the_chord_and_bass_begins_bars_on_the_root():
    chords = [Chord(0, (0, 4, 7)), Chord(5, (0, 4, 7)), Chord(7, (0, 4, 7)), Chord(9, (0, 3, 7))]
    plan = _plan(0, "major", chords)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        melody = play_lead(rng, plan, [True], CAST["vocals"][0][1][0])
        assert all(note.pitch % 12 in plan.scale_at(note.start) for note in melody)
        second_bar = [note for note in melody if 1920 <= note.start < 3840]
        assert second_bar[-1].pitch % 12 in (5, 9, 0)
        bass = play_bass(rng, plan, [True], CAST["bass"][1][1][0])
        downbeats = [note for note in bass if note.start % 1920 == 0 and note.start < 3 * 1920]
        assert downbeats
        assert all(note.pitch % 12 == plan.chord_at(note.start).root for note in downbeats)


def test_arrangement_of_one_part_never_rests():
    sections = tuple(
        Section(name, 10 * i, 10 * i + 10) for i, name in enumerate(("break", "intro"))
    )
    for seed in range(10):
        playing = draw_arrangement(np.random.default_rng(seed), sections, ("bass",))
        assert playing == {"bass": (True, True)}
