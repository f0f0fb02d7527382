"""Stems in every format: samples, lengths, tags, clipping, and what cannot be held or written."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from mixit_mss.audio import encoding
from mixit_mss.audio.encoding import ENCODINGS, check_encoding, open_stem
from mixit_mss.audio.ffmpeg import FfmpegDecoder, describe, find_ffmpeg
from mixit_mss.errors import UserError

TAGS = {
    "title": "Sóng; [live] = 1",
    "artist": "Me",
    "track": "3/9",
    "album_artist": "You",
    "comment": "first line\nsecond \\ line",
}


def write(path, name, waveform, rate=8000, tags=None, frames=1000):
    with open_stem(path, name, rate, len(waveform), tags or {}, frames) as stem:
        for block in np.array_split(waveform, 3, axis=-1):
            stem.write(block)
    return stem


@pytest.mark.parametrize("name", ["wav", "wav24", "wav16", "flac", "flac16"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_samples_are_exact_to_the_formats_last_bit(tmp_path, noise, name, channels):
    suffix, bits = ENCODINGS[name]
    waveform = noise(0.5, channels=channels, level=0.4)
    path = tmp_path / f"stem.{suffix}"
    stem = write(path, name, waveform)
    back, rate = soundfile.read(path, dtype="float64", always_2d=True)
    step = 2.0 ** (1 - bits)
    wanted = waveform
    if bits < 32:
        wanted = np.clip(np.rint(waveform / step) * step, -1, 1 - step)
    np.testing.assert_array_equal(back.T, wanted)
    assert (rate, soundfile.info(path).subtype) == (8000, encoding.SUBTYPES[bits])
    assert stem.over == np.sum(np.abs(waveform) > 1) > 0
    assert stem.peak == np.abs(waveform).max()


@pytest.mark.parametrize("rate", [44100, 22050, 8000])
def test_mp3_keeps_the_exact_length_and_sounds_the_same(tmp_path, rate):
    tone = np.sin(2 * np.pi * 440 * np.arange(int(1.2345 * rate)) / rate)
    waveform = np.stack([0.5 * tone, 0.25 * tone]).astype(np.float32)
    write(tmp_path / "stem.mp3", "mp3", waveform, rate)
    back, back_rate = soundfile.read(tmp_path / "stem.mp3")
    assert back_rate == rate and len(back) == waveform.shape[1]
    middle = slice(rate // 5, -rate // 5)
    np.testing.assert_allclose(back.T[:, middle], waveform[:, middle], atol=0.01)


@pytest.mark.parametrize("name", ["wav", "wav16", "flac", "mp3"])
def test_tags_are_kept(tmp_path, noise, name):
    path = tmp_path / f"stem.{ENCODINGS[name].suffix}"
    write(path, name, noise(0.5), tags=TAGS)
    kept, seconds = describe(path)
    assert seconds == pytest.approx(0.5, abs=0.2)
    wav = ENCODINGS[name].suffix == "wav"
    assert kept == {tag: v for tag, v in TAGS.items() if not wav or tag in encoding.WAV_TAGS}


@pytest.mark.parametrize("suffix", ["mp3", "m4a", "ogg", "flac"])
def test_tags_of_the_song_are_read_and_those_of_the_file_are_not(tmp_path, noise, save, suffix):
    path, tags = tmp_path / f"song.{suffix}", {**TAGS, "replaygain_track_gain": "-3.2 dB"}
    save(tmp_path / "song.wav", noise(0.5))
    options = [part for tag, value in tags.items() for part in ("-metadata", f"{tag}={value}")]
    command = [find_ffmpeg(), "-v", "error", "-i", str(tmp_path / "song.wav"), *options, str(path)]
    subprocess.run(command, check=True)
    assert describe(path)[0] == TAGS
    (tmp_path / "text").write_text("no song")
    assert describe(tmp_path / "text") == ({}, None)


@pytest.mark.parametrize("frames", [None, 1 << 29, 1 << 28])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_wav_that_only_might_be_too_long_is_plain_in_the_end(tmp_path, noise, frames, channels):
    waveform = noise(0.1, channels=channels)
    write(tmp_path / "stem.wav", "wav", waveform, frames=frames, tags=TAGS)
    assert (tmp_path / "stem.wav").read_bytes()[:4] == b"RIFF"
    np.testing.assert_array_equal(
        soundfile.read(tmp_path / "stem.wav")[0].T.reshape(channels, -1), waveform
    )
    assert describe(tmp_path / "stem.wav")[0]["title"] == TAGS["title"]


def test_what_a_format_cannot_hold_is_one_sentence():
    check_encoding("wav", 192001, 32)
    check_encoding("flac", 192000, 8)
    check_encoding("mp3", 48000, 2)
    for name, rate, channels in (("mp3", 96000, 2), ("mp3", 44100, 3), ("flac16", 44100, 9)):
        with pytest.raises(UserError, match=f"{channels} channels at {rate} Hz; choose --format"):
            check_encoding(name, rate, channels)


@pytest.mark.parametrize("name", ["flac", "mp3", "wav24"])
def test_full_disk_is_one_sentence(tmp_path, name):
    program = f"""
import resource, signal, numpy as np
from pathlib import Path
from mixit_mss.audio.encoding import open_stem
from mixit_mss.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).standard_normal((2, 10_000)).astype("float32")
path = Path({str(tmp_path)!r}) / "x.{ENCODINGS[name].suffix}"
try:
    with open_stem(path, {name!r}, 8000, 2, {{}}, 1000) as stem:
        for _ in range(200):
            stem.write(noise)
except UserError as error:
    assert "cannot be written" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_error_ends_the_encoder(tmp_path, noise):
    with pytest.raises(KeyError), open_stem(tmp_path / "x.mp3", "mp3", 8000, 2, {}, None) as stem:
        stem.write(noise(0.1))
        raise KeyError
    assert stem.sink._process.poll() is not None


def test_a_decoder_that_was_killed_is_no_end_of_the_song(tmp_path, noise, save, convert):
    song = convert(save(tmp_path / "song.wav", noise(60)), tmp_path / "song.m4a")
    with FfmpegDecoder(song) as decoder:
        decoder.read(100)
        os.kill(decoder._process.pid, signal.SIGKILL)
        with pytest.raises(OSError, match="killed by signal 9"):
            list(decoder.blocks(1000))
