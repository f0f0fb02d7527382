"""One song through planted networks: streaming equals the whole, formats, two stems, memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from mixit_mss.audio import resample
from mixit_mss.audio.ffmpeg import describe, find_ffmpeg
from mixit_mss.errors import UserError
from mixit_mss.separation import stream as song_stream
from mixit_mss.separation.overlap_add import separate
from mixit_mss.separation.request import Options
from mixit_mss.separation.songs import Song
from mixit_mss.separation.stream import for_channels, separate_song


class Nonlinear(torch.nn.Module):
    """Its answer depends on where a chunk begins and ends, as a network's does."""

    sample_rate, num_channels, num_sources = 8000, 2, 3
    stems = ("vocals", "drums", "bass")

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Conv1d(2, 6, 31, padding=15)

    def forward(self, mixture):
        level = mixture.square().mean(dim=(1, 2), keepdim=True).sqrt()
        return self.mix(torch.tanh(mixture / level)).unflatten(1, (3, 2)) * level[:, None]


def noise(seconds, rate, channels=2, level=0.1):
    shape = (channels, round(seconds * rate))
    return (level * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def stems_of(folder):
    """Estimates (source, channel, sample) of vocals, drums and bass."""
    found = [soundfile.read(folder / f"{s}.wav", dtype="float32", always_2d=True) for s in STEMS]
    return np.stack([samples.T for samples, _ in found])


STEMS = Nonlinear.stems
CHUNKS = {"chunk_seconds": 1.5, "hop_seconds": 0.5}
CASES = [
    (8000, 2, {}),
    (44100, 2, {"batch_size": 3}),
    (44101, 1, {"shifts": 2}),
    (16000, 3, {"shifts": 3, "window": "fade", "batch_size": 2}),
]


@pytest.mark.parametrize(("rate", "channels", "settings"), CASES)
def test_streaming_gives_the_same_samples_as_the_whole_song_at_once(
    tmp_path, rate, channels, settings
):
    model, mixture = Nonlinear(), noise(7.3, rate, channels)
    soundfile.write(tmp_path / "song.wav", mixture.T, rate, subtype="FLOAT")
    options = Options(**CHUNKS, **settings)
    assert separate_song(model, Song("song", (tmp_path / "song.wav",)), tmp_path, options) == []
    network = for_channels(model, channels)
    network.sample_rate = 8000
    at_model_rate = torch.from_numpy(resample(mixture, rate, 8000))
    whole = separate(network, at_model_rate, **CHUNKS, **settings)
    wanted = resample(whole.numpy(), 8000, rate)[..., : mixture.shape[-1]]
    streamed = stems_of(tmp_path)
    assert streamed.shape == wanted.shape
    np.testing.assert_allclose(streamed, wanted, atol=1e-6)


@pytest.mark.parametrize(("rate", "shifts"), [(8000, 1), (44100, 2)])
def test_two_stems_add_up_to_the_mixture(tmp_path, rate, shifts):
    mixture = noise(7.3, rate)
    soundfile.write(tmp_path / "song.wav", mixture.T, rate, subtype="FLOAT")
    model, song = Nonlinear(), Song("song", (tmp_path / "song.wav",))
    separate_song(model, song, tmp_path, Options(**CHUNKS, two_stems="drums", shifts=shifts))
    assert {path.name for path in tmp_path.iterdir()} == {"song.wav", "drums.wav", "no_drums.wav"}
    drums, rest = (
        soundfile.read(tmp_path / f"{n}drums.wav", dtype="float32")[0] for n in ("", "no_")
    )
    assert np.abs(drums).max() > 0.01
    np.testing.assert_allclose(drums + rest, mixture.T, atol=1e-7)
    separate_song(model, song, tmp_path, Options(**CHUNKS, shifts=shifts))
    np.testing.assert_array_equal(stems_of(tmp_path)[1], drums.T)
    with pytest.raises(UserError, match="--two-stems: the model has no stem 'flute'"):
        separate_song(model, song, tmp_path, Options(two_stems="flute"))


@pytest.mark.parametrize("suffix", ["m4a", "mp3", "opus", "mkv", "aiff", "wma"])
def test_any_format_comes_out_with_tags_and_the_length_that_ffmpeg_decodes(tmp_path, suffix):
    soundfile.write(tmp_path / "song.wav", noise(1.0, 48000).T, 48000)
    song = tmp_path / f"song.{suffix}"
    command = [find_ffmpeg(), "-v", "error", "-i", str(tmp_path / "song.wav"), "-metadata"]
    subprocess.run([*command, "title=A song", str(song)], check=True)
    command = [find_ffmpeg(), "-v", "error", "-i", str(song), "-f", "f32le", "-"]
    decoded = subprocess.run(command, check=True, capture_output=True).stdout
    separate_song(Nonlinear(), Song("song", (song,)), tmp_path, Options(audio_format="flac"))
    info = soundfile.info(tmp_path / "drums.flac")
    assert (info.samplerate, info.channels, info.subtype) == (48000, 2, "PCM_24")
    # libsndfile, which reads most of these, may pad an MP3 by another frame than ffmpeg
    assert abs(info.frames - len(decoded) // 8) <= (1152 if suffix == "mp3" else 0)
    assert describe(tmp_path / "drums.flac")[0]["title"] == "A song"


class Loud(Nonlinear):
    """Vocals at 1.25 of full scale, the rest soft."""

    def forward(self, mixture):
        return torch.stack([torch.full_like(mixture, 1.25), mixture, mixture], dim=1)


def test_clipping_is_reported_in_one_sentence_and_never_scaled_away(tmp_path):
    soundfile.write(tmp_path / "song.wav", noise(1.0, 8000).T, 8000)
    song = Song("song", (tmp_path / "song.wav",))
    (note,) = separate_song(Loud(), song, tmp_path, Options(audio_format="flac16"))
    assert "song.wav': 16000 samples" in note and "vocals (+1.9 dB)" in note
    assert "--format wav (float)" in note and "drums" not in note
    assert soundfile.read(tmp_path / "vocals.flac")[0].max() == 1 - 2**-15
    assert separate_song(Loud(), song, tmp_path, Options()) == []
    assert (soundfile.read(tmp_path / "vocals.wav")[0] == 1.25).all()


def test_damage_in_the_file_is_reported(tmp_path):
    soundfile.write(tmp_path / "song.mp3", noise(4.0, 44100).T, 44100)
    content = bytearray((tmp_path / "song.mp3").read_bytes())
    for place in np.random.default_rng(0).integers(len(content) // 4, len(content), 20):
        content[place : place + 30] = bytes(range(30))
    (tmp_path / "song.mp3").write_bytes(content)
    song = Song("song", (tmp_path / "song.mp3",))
    (note,) = separate_song(Nonlinear(), song, tmp_path, Options())
    assert "song.mp3' is damaged" in note


def test_undefined_estimates_are_an_error(tmp_path):
    class Undefined(Nonlinear):
        def forward(self, mixture):
            return super().forward(mixture) * float("nan")

    soundfile.write(tmp_path / "song.wav", noise(1.0, 8000).T, 8000)
    with pytest.raises(UserError, match=r"song\.wav'.*infinite or undefined"):
        separate_song(Undefined(), Song("song", (tmp_path / "song.wav",)), tmp_path, Options())


def test_half_precision_is_close_and_really_half():
    model, mixture = Nonlinear().eval(), torch.from_numpy(noise(1.0, 8000))[None]
    with torch.no_grad():
        full, half = (for_channels(model, 2, half)(mixture) for half in (False, True))
    error = (half - full).square().sum() / full.square().sum()
    assert -70 < 10 * torch.log10(error) < -35


MEMORY = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{here!r}]
from test_stream import Nonlinear
from mixit_mss.separation.request import Options
from mixit_mss.separation.stream import separate_song
from mixit_mss.separation.songs import Song
peaks = []
for name in ("short", "long"):
    options = Options(two_stems="drums", audio_format="flac16", batch_size=2, hop_seconds=12)
    separate_song(Nonlinear(), Song(name, (Path(f"{{name}}.wav"),)), Path("."), options)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(*peaks)
"""


def test_memory_does_not_grow_with_the_song(tmp_path):
    """Nine minutes need what three do; each signal held whole would be 46 MB more."""
    for name, seconds in (("short", 180), ("long", 540)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 16000, 2, "PCM_16") as file:
            for _ in range(seconds // 60):
                file.write(noise(60, 16000).T)
    here = __file__.rsplit("/", 1)[0]
    code = MEMORY.format(here=here)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    short, long = map(float, done.stdout.split())
    assert long - short < 20


@pytest.mark.parametrize("channels", [9, 10, 20])
def test_many_channels_in_turn_give_the_same_as_side_by_side(tmp_path, monkeypatch, channels):
    soundfile.write(tmp_path / "song.wav", noise(3.3, 11025, channels).T, 11025, subtype="FLOAT")
    model, song = Nonlinear(), Song("song", (tmp_path / "song.wav",))
    options, found = Options(**CHUNKS, two_stems="drums"), []
    for at_once in (100, 8):
        monkeypatch.setattr(song_stream, "CHANNELS_AT_ONCE", at_once)
        heard: list[int] = []
        separate_song(model, song, tmp_path, options, lambda n, _, heard=heard: heard.append(n))
        stems = [soundfile.read(tmp_path / f"{name}drums.wav")[0] for name in ("", "no_")]
        found.append(np.stack(stems))
        assert abs(sum(heard) - found[-1].shape[1]) <= len(heard)
    assert found[0].shape == (2, round(3.3 * 11025), channels)
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "drums.wav",
        "no_drums.wav",
        "song.wav",
    ]


def test_a_network_sees_one_group_of_channels_at_a_time():
    class Counting(Nonlinear):
        def forward(self, mixture):
            assert mixture.shape[:2] == (3, 2)
            return super().forward(mixture)

    mixture = torch.from_numpy(noise(0.5, 8000, 6)).expand(3, -1, -1)
    assert for_channels(Counting(), 6)(mixture).shape == (3, 3, 6, 4000)
    assert for_channels(Counting(), 5)(mixture[:, :5]).shape == (3, 3, 5, 4000)


def test_a_file_that_is_cut_short_is_separated_with_a_note(tmp_path):
    soundfile.write(tmp_path / "song.wav", noise(2.0, 8000).T, 8000)
    content = (tmp_path / "song.wav").read_bytes()
    (tmp_path / "song.wav").write_bytes(content[: len(content) // 2])
    (note,) = separate_song(Nonlinear(), Song("s", (tmp_path / "song.wav",)), tmp_path, Options())
    assert "song.wav' is cut short: it ends after 7994 of 16000 samples" in note
    assert soundfile.info(tmp_path / "drums.wav").frames == 7994


def test_samples_that_are_no_numbers_are_one_sentence(tmp_path):
    waveform = noise(1.0, 8000)
    waveform[0, 100] = np.nan
    soundfile.write(tmp_path / "song.wav", waveform.T, 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"song\.wav' has samples that are not finite numbers"):
        separate_song(Nonlinear(), Song("s", (tmp_path / "song.wav",)), tmp_path, Options())
