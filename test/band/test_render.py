"""The midi_band renderer: exact sums, exact lengths, and runs that can be killed and repeated."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_mss.band import render
from mixit_mss.band import songs as make_songs
from mixit_mss.band.compose import SPARE_SECONDS, compose_song
from mixit_mss.band.instruments import STEMS
from mixit_mss.band.midi import midi_file
from mixit_mss.band.render import SAMPLE_RATE, RenderError, Synthesiser, active_rms, limit, mix
from mixit_mss.bin import render_songs as command
from mixit_mss.errors import UserError
from mixit_mss.files import HOST

SECONDS = 3.0
FRAMES = round(SECONDS * SAMPLE_RATE)
COUNTS = {"unlabelled": 2, "train": 1, "valid": 0, "test": 0}

needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None,
    reason="the fluidsynth program is not installed: apt-get install fluidsynth fluid-soundfont-gm",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two unlabelled songs and a labelled one, rendered for real."""
    out = tmp_path_factory.mktemp("songs") / "downloads"
    assert make_songs.make_songs(out, COUNTS, SECONDS, 0, 1) == 3
    return out


def _audio(out: Path) -> dict[str, bytes]:
    """Contents of every song under ``out``, by name."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.flac"))}


def _times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


# --- with the real synthesiser --------------------------------------------------------------------


@needs_fluidsynth
def test_songs_are_stereo_flac_of_the_length_asked_for(corpus):
    files = sorted(corpus.rglob("*.flac"))
    assert len(files) == 2 + 1 + len(STEMS)
    for path in files:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.frames) == (44100, 2, FRAMES)
        assert (info.format, info.subtype) == ("FLAC", "PCM_16")
        sound, _ = soundfile.read(path)
        assert 0.02 < np.abs(sound).max() <= 0.98
        assert np.abs(sound[-1]).max() < 0.01  # faded out
    for path in (corpus / "unlabelled").iterdir():
        sound, _ = soundfile.read(path)
        begin = np.abs(sound[: SAMPLE_RATE // 4]).max()
        assert begin > 0.02 * np.abs(sound).max(), "music begins at once"


@needs_fluidsynth
def test_mixture_is_exactly_the_sum_of_the_stems(corpus):
    song = corpus / "labelled" / "train" / "train_0000"
    mixture, _ = soundfile.read(song / "mixture.flac", dtype="int16")
    stems = [soundfile.read(song / f"{stem}.flac", dtype="int16")[0] for stem in STEMS]
    assert np.array_equal(sum(stem.astype(np.int64) for stem in stems), mixture)
    assert all(np.abs(stem).max() > 300 for stem in stems)


@needs_fluidsynth
def test_table_lists_every_song(corpus):
    with (corpus / "songs.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == make_songs.COLUMNS and len(rows) == 3
    for row in rows:
        song = compose_song(0, row["kind"], int(row["number"]), SECONDS)
        assert (corpus / row["path"]).exists()
        assert row["parts"].split("+") == list(song.stems)
        assert row["key"] == song.plan.key_name and float(row["tempo"]) == song.plan.tempo


@needs_fluidsynth
def test_second_run_does_nothing_and_says_so(corpus, capsys):
    before = _times(corpus)
    assert make_songs.make_songs(corpus, COUNTS, SECONDS, 0, 2) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert _times(corpus) == before


@needs_fluidsynth
def test_only_what_is_missing_or_stale_is_made_and_every_time_alike(corpus, tmp_path):
    out = tmp_path / "downloads"
    shutil.copytree(corpus, out)
    wanted = _audio(corpus)
    (out / "unlabelled" / "unlabelled_0001.flac").write_bytes(b"fLaC, but no more")
    (out / "labelled" / "train" / "train_0000" / "bass.flac").unlink()
    half = out / "unlabelled" / f".unlabelled_0001.9999999-{HOST}.partial.flac"
    half.write_bytes(b"half a song")
    foreign = out / "unlabelled" / "my own song.flac"
    soundfile.write(foreign, np.zeros((100, 2)), SAMPLE_RATE)
    kept = (out / "unlabelled" / "unlabelled_0000.flac").stat().st_mtime_ns

    assert make_songs.make_songs(out, COUNTS, SECONDS, 0, 2) == 2
    assert foreign.exists() and not half.exists()
    foreign.unlink()
    assert _audio(out) == wanted  # bit for bit, also with two at a time
    assert (out / "unlabelled" / "unlabelled_0000.flac").stat().st_mtime_ns == kept

    fewer = {**COUNTS, "unlabelled": 1}
    assert make_songs.make_songs(out, fewer, SECONDS, 0, 1) == 0
    assert set(wanted) - set(_audio(out)) == {"unlabelled/unlabelled_0001.flac"}
    assert make_songs.make_songs(out, {**fewer, "train": 0}, SECONDS, 9, 1) == 1
    assert list(_audio(out)) == ["unlabelled/unlabelled_0000.flac"]
    assert _audio(out)["unlabelled/unlabelled_0000.flac"] != wanted["unlabelled/unlabelled_0000.flac"]  # fmt: skip


@needs_fluidsynth
def test_killed_run_leaves_whole_songs_and_goes_on(corpus, tmp_path):
    out = tmp_path / "downloads"
    options = ["--train", "1", "--valid", "0", "--test", "0", "--seconds", "3", "--nj", "2"]
    command = [
        sys.executable,
        "-m",
        "mixit_mss.bin.render_songs",
        "--out",
        str(out),
        "--unlabelled",
        "2",
        *options,
    ]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 60
        while not list(out.rglob("unlabelled_*.flac")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    whole = _audio(corpus)
    left = {name: data for name, data in _audio(out).items() if "/." not in name}
    assert left and all(whole[name] == data for name, data in left.items())
    assert not (out / "songs.csv").exists() and not (out / ".done.json").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert _audio(out) == whole
    assert not list(out.glob(".midi*")), "what the killed run left behind is swept away"


@needs_fluidsynth
def test_stem_is_as_long_as_asked_for_and_without_offset(tmp_path):
    song = compose_song(0, "unlabelled", 1, SECONDS)
    stem = song.stems[0]
    sound = render.render_stem(song, stem, render.find_synthesiser(), tmp_path)
    assert sound.shape == (2, round((SECONDS + SPARE_SECONDS) * SAMPLE_RATE))
    assert sound.dtype == np.float32 and np.abs(sound.mean(axis=1)).max() < 1e-3


# --- without it -----------------------------------------------------------------------------------


def test_midi_lets_every_key_go_by_the_end():
    """A key that is never let go sounds for hours in a synthesiser that waits for it."""
    for kind, number in (("train", 0), ("test", 3)):
        song = compose_song(0, kind, number, 7.3)
        for stem in STEMS:
            tracks = [track for track in song.tracks if track.stem == stem]
            midi = midi_file(song.plan, tracks, 7.3)
            assert midi.length == pytest.approx(7.3, abs=0.01)
            pressed = Counter()
            for message in midi:
                if message.type in ("note_on", "note_off"):
                    key = (message.channel, message.note)
                    pressed[key] += 1 if message.type == "note_on" else -1
                    assert pressed[key] in (0, 1)
                    assert (message.channel == 9) == (stem == "drums")
            assert pressed and not any(pressed.values())


def _tones(song, gains):
    """A tone per stem that begins after 0.1 s; axes (channel, sample)."""
    time_axis = np.arange(round((song.seconds + SPARE_SECONDS) * SAMPLE_RATE)) / SAMPLE_RATE
    return {
        stem: (gain * np.sin(2 * np.pi * (200 + 150 * index) * time_axis) * (time_axis > 0.1))
        .astype(np.float32)[None]
        .repeat(2, axis=0)
        for index, (stem, gain) in enumerate(zip(song.stems, gains, strict=True))
    }


def test_mix_sets_the_levels_of_the_song_whatever_was_played():
    song = compose_song(0, "train", 0, 4.0)
    mixed = mix(song, _tones(song, (0.9, 0.01, 0.3, 0.0005)))
    assert all(sound.shape == (2, 4 * SAMPLE_RATE) for sound in mixed.values())
    total = sum(mixed[stem].astype(np.int64) for stem in song.stems)
    assert np.array_equal(total, mixed["mixture"])
    reference = 20 * np.log10(active_rms(mixed["vocals"] / 32768.0)) - song.levels["vocals"]
    for stem in song.stems:
        measured = 20 * np.log10(active_rms(mixed[stem] / 32768.0))
        assert measured - song.levels[stem] == pytest.approx(reference, abs=0.1)
    assert np.abs(mixed["mixture"][:, :200]).max() > 100, "the silence before is cut off"
    loudness = 20 * np.log10(active_rms(mixed["mixture"] / 32768.0))
    assert loudness == pytest.approx(song.loudness, abs=0.1)


def test_mix_never_clips():
    song = compose_song(0, "train", 0, 2.0)
    clicks = np.zeros((2, round((2 + SPARE_SECONDS) * SAMPLE_RATE)), dtype=np.float32)
    clicks[:, ::8000] = 1.0
    mixed = mix(song, dict.fromkeys(song.stems, clicks))
    assert 0.9 * 32767 < np.abs(mixed["mixture"].astype(int)).max() <= 32767


def test_limit_bends_only_what_is_high():
    sound = np.array([[0.0, 0.4, -0.5, 0.8, -5.0]])
    limited = limit(sound, 1.0)
    assert limited[0, :3].tolist() == [0.0, 0.4, -0.5]
    assert 0.7 < limited[0, 3] < 0.8 and -1.0 <= limited[0, 4] < -0.99


def test_active_rms_leaves_rests_out():
    sound = np.zeros((2, 4 * SAMPLE_RATE))
    sound[:, :SAMPLE_RATE] = 0.5
    assert active_rms(sound) == pytest.approx(0.5)


def _fake_program(folder: Path, script: str) -> Synthesiser:
    program = folder / "fluidsynth"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Synthesiser(str(program), "fake", folder / "font.sf2")


@pytest.mark.parametrize(
    ("script", "message"),
    [("echo no font >&2; exit 3", "failed twice on vocals: no font"), ("head -c 80000 /dev/zero", "silence for vocals"), ("exit 0", "failed twice on vocals: it said nothing")],
)  # fmt: skip
def test_a_synthesiser_that_fails_or_plays_nothing_is_an_error(tmp_path, script, message):
    song = compose_song(0, "train", 0, 2.0)
    with pytest.raises(RenderError, match=message):
        render.render_stem(song, "vocals", _fake_program(tmp_path, script), tmp_path)


def test_a_song_that_fails_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    fake = _fake_program(tmp_path, "exit 1")
    monkeypatch.setattr(make_songs, "find_synthesiser", lambda soundfont: fake)
    with pytest.raises(UserError, match=r"2 of 2 songs .*unlabelled_0000\.flac"):
        make_songs.make_songs(tmp_path / "out", {"unlabelled": 2}, 2.0, 0, 1)
    assert not list((tmp_path / "out").rglob("*.flac"))


def test_missing_programs_and_fonts_are_told_in_one_sentence(tmp_path, monkeypatch):
    _fake_program(tmp_path, "echo FluidSynth runtime version 9")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(UserError, match="fluid-soundfont-gm"):
        render.find_synthesiser(tmp_path / "missing.sf2")
    (tmp_path / "font.sf2").write_bytes(b"RIFF....WAVE")
    with pytest.raises(UserError, match=r"font\.sf2 is not a sound font"):
        render.find_synthesiser(tmp_path / "font.sf2")
    (tmp_path / "font.sf2").write_bytes(b"RIFF....sfbk")
    assert render.find_synthesiser(tmp_path / "font.sf2").version.endswith("version 9")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="apt-get install fluidsynth"):
        render.find_synthesiser()


@pytest.mark.parametrize(
    "option", ["--unlabelled=-1", "--nj=0", "--seconds=1", "--seconds=nan", "--seed=-3"]
)
def test_impossible_options_are_refused(option, tmp_path):
    with pytest.raises(UserError, match=option.split("=")[0]):
        command.main(["--out", str(tmp_path / "out"), option])
    assert not (tmp_path / "out").exists()


def test_without_mido_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mido is not installed.*pip install 'mixit_mss\[band\]'"):
        command.main(["--out", str(tmp_path / "out")])
