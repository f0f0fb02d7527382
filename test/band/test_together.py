"""The levels of correlation between a song's parts, read off the composed score; and exact parts."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
from itertools import pairwise
from pathlib import Path

import mido
import pytest

from mixit_mss.band import songs as make_songs
from mixit_mss.band.choices import LEVELS, PARTS_CHOICES
from mixit_mss.band.compose import compose_song
from mixit_mss.band.instruments import STEMS
from mixit_mss.band.render import SPARE_SECONDS, RenderError, Synthesiser, render_stem
from mixit_mss.bin import render_songs as command
from mixit_mss.errors import UserError

SECONDS = 22.0
# Of sixteen unlabelled and four labelled songs of seed 1, before there were levels.
SCORE_OF_THE_BAND = "92a2b2c58b23afe7191e772e29213169a6a309a9769686b18f99727ae9195a1b"


@pytest.fixture(scope="module")
def songs():
    """Eight songs with all stems, at every level."""
    return {
        level: [compose_song(4, "train", number, SECONDS, level) for number in range(8)]
        for level in LEVELS
    }


def _onsets(song, stem):
    """Starts of the notes of a stem, in seconds by the tempo that it plays in."""
    plan = song.plans[stem]
    starts = {note.start for track in song.tracks if track.stem == stem for note in track.notes}
    return {start / plan.ticks_per_second for start in starts}


def _agreement(song, one, two):
    """Share of the onsets of ``one`` within 1 ms of an onset of ``two``, where both play."""
    first, second = _onsets(song, one), sorted(_onsets(song, two))
    met = [any(abs(onset - other) < 1e-3 for other in second) for onset in first]
    return sum(met) / len(met)


def test_the_band_plays_what_it_always_played():
    digest = hashlib.sha256()
    for kind, count in (("unlabelled", 16), ("train", 2), ("test", 2)):
        for number in range(count):
            song = compose_song(1, kind, number, SECONDS)
            assert song == compose_song(1, kind, number, SECONDS, "band", "mixed")
            assert all(plan is song.plan for plan in song.plans.values())
            score = (song.title, song.plan, song.playing, song.tracks, song.levels)
            digest.update(repr((*score, song.loudness, song.room)).encode())
    assert digest.hexdigest() == SCORE_OF_THE_BAND


def test_levels_differ_in_correlation_alone(songs):
    for variants in zip(*songs.values(), strict=True):
        band = variants[LEVELS.index("band")]
        assert [song.correlation for song in variants] == list(LEVELS)
        assert len({song.tracks for song in variants}) == len(LEVELS)
        for song in variants:
            shared = ("kind", "number", "title", "seconds", "plan", "levels", "loudness", "room")
            for name in shared:
                assert getattr(song, name) == getattr(band, name), name
            assert song.stems == band.stems and song.plans[song.stems[0]] == band.plan
            for stem in STEMS if song.correlation != "doubled" else ("drums",):
                first = [next(t for t in s.tracks if t.stem == stem) for s in (song, band)]
                assert first[0].instrument == first[1].instrument
        for song in variants[LEVELS.index("band") + 1 :]:
            assert song.playing == band.playing
            for track, usual in zip(song.tracks, band.tracks, strict=True):
                for name in ("stem", "volume", "pan", "reverb", "chorus"):
                    assert getattr(track, name) == getattr(usual, name)


def test_a_solo_is_one_song_up_to_the_band():
    for number in range(4):
        loose = [compose_song(2, "unlabelled", number, SECONDS, level, "1") for level in LEVELS[:3]]
        assert loose[0].tracks == loose[1].tracks == loose[2].tracks


def test_independent_parts_have_plans_of_their_own(songs):
    for song in songs["independent"]:
        plans = [song.plans[stem] for stem in STEMS]
        assert len({plan.tempo for plan in plans}) == len({plan.chords for plan in plans}) == 4
        for stem, plan in song.plans.items():
            assert len(song.playing[stem]) == len(plan.sections)
            assert plan.end / plan.ticks_per_second >= SECONDS
    for name in ("key_name", "style"):
        different = [
            len({getattr(song.plans[stem], name) for stem in STEMS})
            for song in songs["independent"]
        ]
        assert min(different) >= 2 and sum(different) >= 3.2 * len(different), name


def test_every_stem_is_rendered_in_its_own_tempo(songs, tmp_path):
    silent = Synthesiser(shutil.which("true"), "fake", tmp_path / "font.sf2")
    song = songs["independent"][0]
    for stem, plan in song.plans.items():
        with pytest.raises(RenderError):  # nothing was played, but what was to be played is there
            render_stem(song, stem, silent, tmp_path)
        midi = mido.MidiFile(tmp_path / f"train_0_{stem}.mid")
        assert midi.tracks[0][0].tempo == round(60e6 / plan.tempo)
        assert midi.length == pytest.approx(SECONDS + SPARE_SECONDS, abs=0.01)


def test_parts_in_one_tempo_have_their_own_keys_and_chords(songs):
    for song in songs["tempo"]:
        for plan in song.plans.values():
            for name in ("style", "tempo", "swing", "sections"):
                assert getattr(plan, name) == getattr(song.plan, name), name
        assert len({plan.chords for plan in song.plans.values()}) == 4
    keys = [len({plan.key_name for plan in song.plans.values()}) for song in songs["tempo"]]
    assert min(keys) >= 3 and sum(keys) >= 28


@pytest.mark.parametrize("level", ["locked", "unison", "doubled"])
def test_locked_parts_begin_every_note_together(songs, level):
    whole = 0
    for song, band in zip(songs[level], songs["band"], strict=True):
        line = {note.start for track in song.tracks for note in track.notes}
        assert len(line) >= 15
        for track in song.tracks:
            own = {note.start for note in track.notes}
            if track.stem != "vocals":  # the lead may rest in a section in which it could play
                resting = song.playing[track.stem].count(False)
                assert (own == line) if resting == 0 else (len(own) > 0.4 * len(line))
                whole += resting == 0
            # Between two notes of its own, a part leaves out only the sections in which it rests.
            left_out = [any(a < tick < b for tick in line) for a, b in pairwise(sorted(own))]
            assert sum(left_out) <= len(song.plan.sections) / 2
        assert _agreement(song, "vocals", "bass") > _agreement(band, "vocals", "bass") + 0.2
    assert whole >= 8


def test_locked_parts_keep_their_own_notes(songs):
    """Over the same chords, the bass plays what it plays in the band: every pitch of it is known."""
    for song, band in zip(songs["locked"], songs["band"], strict=True):
        for track, usual in zip(song.tracks, band.tracks, strict=True):
            assert {note.pitch for note in track.notes} <= {note.pitch for note in usual.notes}
        lines = [tuple(note.pitch % 12 for note in track.notes) for track in song.tracks]
        assert len(set(lines)) > 2


@pytest.mark.parametrize("level", ["unison", "doubled"])
def test_in_unison_all_pitched_parts_play_one_line(songs, level):
    for song, locked in zip(songs[level], songs["locked"], strict=True):
        heard: dict[int, int] = {}
        for track, usual in zip(song.tracks, locked.tracks, strict=True):
            assert {note.start for note in track.notes} == {note.start for note in usual.notes}
            if track.stem == "drums":
                assert track == usual
                continue
            starts = [note.start for note in track.notes]
            assert len(set(starts)) == len(starts), "one note at a time"
            low, high = track.instrument.low, track.instrument.high
            for note in track.notes:
                assert heard.setdefault(note.start, note.pitch % 12) == note.pitch % 12
                assert low <= note.pitch <= high
        assert len(set(heard.values())) >= 3
        pitch = {
            stem: max(n.pitch for t in song.tracks if t.stem == stem for n in t.notes)
            for stem in ("vocals", "bass")
        }
        if level == "unison":
            assert pitch["bass"] < pitch["vocals"]  # each in its octave


def test_doubled_parts_play_one_program(songs):
    for song, band in zip(songs["doubled"], songs["band"], strict=True):
        programs = {track.instrument.program for track in song.tracks if track.stem != "drums"}
        wanted = next(track for track in band.tracks if track.stem == "other").instrument.program
        assert programs == {wanted}
        assert not any(track.controls for track in song.tracks)
    several = [
        len({track.instrument for track in song.tracks if track.stem != "drums"})
        for song in songs["unison"]
    ]
    assert min(several) >= 3


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_playable(songs, level):
    unlabelled = [compose_song(5, "unlabelled", number, 9.0, level) for number in range(40)]
    for song in songs[level] + unlabelled:
        assert min(t.notes[0].start for t in song.tracks) == 0
        assert {track.stem for track in song.tracks} == set(song.stems)
        for track in song.tracks:
            until: dict[int, int] = {}
            for note in track.notes:
                assert 0 <= note.start < song.plans[track.stem].end and note.ticks > 0
                assert 1 <= note.velocity <= 127 and 21 <= note.pitch <= 108
                assert note.start >= until.get(note.pitch, 0), "a key pressed while it is down"
                until[note.pitch] = note.start + note.ticks
            assert all(control.start >= 0 for control in track.controls)


@pytest.mark.parametrize("level", ["independent", "band", "doubled"])
def test_parts_are_as_many_as_wanted(level):
    for number in range(12):
        chosen = []
        for parts in ("1", "2", "3", "4"):
            song = compose_song(0, "unlabelled", number, 5.0, level, parts)
            assert len(song.stems) == int(parts) == len({track.stem for track in song.tracks})
            chosen.append(set(song.stems))
            assert compose_song(0, "valid", number, 5.0, level, parts).stems == STEMS
        assert all(few < many for few, many in pairwise(chosen))  # a part joins those there
    pairs = {compose_song(0, "unlabelled", n, 5.0, level, "2").stems for n in range(60)}
    assert len(pairs) == 6


def test_unknown_levels_and_parts_are_refused(tmp_path):
    for wrong in (("loose", "mixed"), ("band", "5"), ("band", "0")):
        with pytest.raises(ValueError, match="no correlation"):
            compose_song(0, "unlabelled", 0, 5.0, *wrong)
    for option, told in (
        ("--correlation=loose", "'independent', 'tempo'"),
        ("--parts=5", "'mixed', '1', '2', '3', '4'"),
    ):
        with pytest.raises(UserError, match=rf"{option.split('=')[0]} .* one of .*{told}"):
            command.main(["--out", str(tmp_path / "out"), option])
    assert not (tmp_path / "out").exists()


def test_the_recipe_offers_the_same_levels_and_parts():
    recipe = (Path(__file__).parents[2] / "egs/midi_band/run.sh").read_text()
    assert f"\ncorrelation=band        # {'|'.join(LEVELS)}:" in recipe
    assert f"\nparts=mixed             # {'|'.join(PARTS_CHOICES)}:" in recipe


def test_the_table_tells_the_level_and_every_plan():
    songs = [compose_song(0, "unlabelled", 7, 5.0, level, "3") for level in LEVELS]
    text = make_songs.song_table([(song, f"{song.correlation}.flac") for song in songs], "3")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["correlation"] for row in rows] == list(LEVELS)
    assert {row["parts_wanted"] for row in rows} == {"3"}
    assert [len(row["tempo"].split("; ")) for row in rows] == [3, 3, 1, 1, 1, 1]
    assert rows[0]["key"].split("; ")[0] == rows[2]["key"]


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None,
    reason="the fluidsynth program is not installed: apt-get install fluidsynth fluid-soundfont-gm",
)
def test_another_level_or_number_of_parts_remakes_the_songs(tmp_path):
    def make(**axes):
        return make_songs.make_songs(tmp_path, {"unlabelled": 1}, 2.0, 3, 1, **axes)

    audio = tmp_path / "unlabelled" / "unlabelled_0000.flac"
    assert make(correlation="independent", parts="4") == 1
    first = audio.read_bytes()
    assert make(correlation="independent", parts="4") == 0
    assert make(correlation="doubled", parts="4") == 1 and audio.read_bytes() != first
    assert make(correlation="doubled", parts="2") == 1
