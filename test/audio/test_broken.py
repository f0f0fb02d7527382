"""Files that are joined, cut, unfinished, or not what they say: one rule for every format."""

import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from mixit_mss import audio
from mixit_mss.audio import ffmpeg as ffmpeg_pipe
from mixit_mss.audio import headers, mp3
from mixit_mss.audio.ffmpeg import find_ffmpeg

RATE = 44100
SECONDS = 1.0
LOSSLESS = ("wav", "flac", "aiff", "au", "w64", "caf")


@pytest.fixture(scope="module")
def one(tmp_path_factory, noise, save, convert):
    """One second of stereo in many formats: one(suffix, *options) gives the file."""
    folder = tmp_path_factory.mktemp("one")
    source = save(folder / "source.wav", noise(SECONDS, RATE), RATE)
    made = {"wav": source}

    def make(suffix, *options):
        key = suffix + "".join(options)
        if key not in made:
            made[key] = convert(source, folder / f"{len(made)}.{suffix}", *options)
        return made[key]

    return make


def decoded(path, **options):
    with audio.stream(path, **options) as stream:
        nothing = np.zeros((stream.channels, 0), np.float32)
        return np.concatenate([nothing, *stream], axis=1), stream


def frames_of(seconds):
    return round(seconds * RATE)


@pytest.mark.parametrize(
    "suffix",
    [
        "ogg",
        "opus",
        "flac",
        "mp3",
        "wav",
        "aac",
        "aiff",
        "au",
        "w64",
        "caf",
        "m4a",
        "tta",
        "mka",
        "wma",
    ],
)
def test_all_of_two_joined_files_is_used(one, tmp_path, noise, save, convert, suffix):
    options = ["-c:a", "libvorbis"] if suffix == "ogg" else []
    source = one(suffix, *options)
    other = save(tmp_path / "other.wav", noise(SECONDS, RATE, seed=1), RATE)
    if suffix != "wav":
        other = convert(other, tmp_path / f"other.{suffix}", *options)
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(source.read_bytes() + other.read_bytes())
    once, after = decoded(source)[0], decoded(other)[0]
    twice, stream = decoded(path)
    assert stream.cut == ""
    if suffix in ("mp3", "aac", "mka"):  # the second file's first frame is sound too for ffmpeg
        assert abs(twice.shape[1] - 2 * once.shape[1]) <= 4 * 1152
        assert np.array_equal(twice[:, : once.shape[1] - 2000], once[:, :-2000])
        assert stream.warnings == []
    else:
        assert np.array_equal(twice, np.concatenate([once, after], axis=1))
        assert (stream.notes, stream.warnings) == ([], [])
        assert audio.probe(path).frames == twice.shape[1]
    part, _ = audio.read(path, 40_000, 20_000)
    assert np.array_equal(part, twice[:, 40_000:60_000])
    part, _ = audio.read(path, 50_000, 1000)
    assert np.array_equal(part, twice[:, 50_000:51_000])


def test_joined_files_that_do_not_fit_are_one_sentence(one, tmp_path, noise, save, convert):
    other = convert(save(tmp_path / "o.wav", noise(1, 22050), 22050), tmp_path / "o.flac")
    path = tmp_path / "joined.flac"
    path.write_bytes(one("flac").read_bytes() + other.read_bytes())
    with pytest.raises(audio.AudioError, match="2 recordings joined, at 22050 and 44100 Hz"):
        audio.stream(path)


def xing(path, target, factor):
    """Multiply the number of frames in an MP3's header."""
    content = bytearray(path.read_bytes())
    place = max(content.find(b"Xing"), content.find(b"Info"))
    (frames,) = struct.unpack(">I", content[place + 8 : place + 12])
    content[place + 8 : place + 12] = struct.pack(">I", round(frames * factor))
    target.write_bytes(content)
    return target


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_an_mp3_is_as_long_as_its_frames(one, tmp_path, factor):
    samples, stream = decoded(xing(one("mp3"), tmp_path / "x.mp3", factor))
    assert abs(samples.shape[1] - RATE) <= 2 * 1152
    if factor == 1:
        assert (stream.cut, stream.notes) == ("", [])
        assert samples.shape[1] == RATE
    elif factor < 1:
        assert stream.cut == "" and "more than its header says" in stream.notes[0]
    else:
        assert stream.cut.startswith("is cut short") and len(stream.notes) == 1


@pytest.mark.parametrize("rate", [44100, 22050, 11025])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("options", [["-b:a", "64k"], ["-q:a", "0"], ["-b:a", "8k"]])
def test_a_range_of_an_mp3_is_decoded_from_nearby(
    tmp_path, noise, save, convert, monkeypatch, rate, channels, options
):
    monkeypatch.setattr(mp3, "LEAST", 1000)
    source = save(tmp_path / "source.wav", noise(8, rate, channels), rate)
    song = convert(source, tmp_path / "song.mp3", *options)
    whole, _ = audio.read(song)
    begun = []
    for start in (999, 30_011, whole.shape[1] - 2500):
        begun.append(mp3.place(song, start, start + 2500))
        part, _ = audio.read(song, start, 2500)
        assert np.array_equal(part, whole[:, start : start + 2500])
    assert begun[0] is None and all(begun[1:])
    assert mp3.place(song, 2000, whole.shape[1] + 1) is None
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(2 * song.read_bytes())
    assert mp3.place(joined, 2000, 3000) is None


@pytest.mark.parametrize("suffix", [*LOSSLESS, "mp3", "ogg", "opus", "tta", "wv"])
def test_what_is_left_of_a_cut_file_is_used_and_told(tmp_path, noise, save, convert, suffix):
    options = {"ogg": ["-c:a", "libvorbis"], "mp3": ["-b:a", "320k"]}.get(suffix, [])
    source = save(tmp_path / "source.wav", noise(4, RATE), RATE)
    source = convert(source, tmp_path / f"whole.{suffix}", *options)
    whole, stream = decoded(source)
    assert (stream.cut, stream.notes, stream.warnings) == ("", [], [])
    content = source.read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(content[: len(content) // 2])
    left, stream = decoded(path)
    assert stream.cut or stream.warnings
    assert stream.cut.startswith("is cut short") == (len(stream.notes) == 1)
    if suffix in LOSSLESS:
        assert 1.8 * RATE < left.shape[1] < 2.1 * RATE
        assert np.array_equal(left, whole[:, : left.shape[1]])
        with pytest.raises(audio.AudioError, match="is cut short"):
            audio.read(path)
    else:
        assert 0.9 * RATE < left.shape[1] < 2.2 * RATE


def with_sizes(content, name, size, whole):
    content = bytearray(content)
    place = content.index(name)
    order = ">" if name == b"SSND" else "<"
    content[place + 4 : place + 8] = struct.pack(order + "I", size)
    content[4:8] = struct.pack(order + "I", whole)
    return content


@pytest.mark.parametrize("suffix", ["wav", "aiff"])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
@pytest.mark.parametrize("whole", [0, 36, 0xFFFFFFFF])
def test_a_recording_that_was_not_closed_is_whole(one, tmp_path, suffix, size, whole):
    name = b"SSND" if suffix == "aiff" else b"data"
    path = tmp_path / f"open.{suffix}"
    path.write_bytes(with_sizes(one(suffix).read_bytes(), name, size, whole))
    samples, stream = decoded(path)
    assert np.array_equal(samples, audio.read(one(suffix))[0])
    assert stream.cut == "" and stream.integers
    assert len(stream.notes) == (size == 0)


@pytest.mark.parametrize("suffix", ["au", "caf", "w64", "flac", "wav"])
def test_what_was_written_to_a_pipe_has_no_length_and_needs_no_note(one, tmp_path, suffix):
    command = [find_ffmpeg(), "-v", "error", "-i", str(one("wav")), "-f", suffix, "-"]
    path = tmp_path / f"piped.{suffix}"
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    samples, stream = decoded(path)
    assert np.array_equal(samples, audio.read(one("wav"))[0])
    assert stream.cut == ""


def test_an_empty_wav_is_empty_and_tags_behind_it_are_no_sound(one, tmp_path):
    content = with_sizes(one("wav").read_bytes()[:44], b"data", 0, 36)
    (tmp_path / "empty.wav").write_bytes(content)
    assert decoded(tmp_path / "empty.wav")[0].shape == (2, 0)
    whole = one("wav").read_bytes()
    (tmp_path / "tagged.wav").write_bytes(whole + b"TAG" + bytes(125))
    samples, stream = decoded(tmp_path / "tagged.wav")
    assert samples.shape[1] == RATE and stream.notes == []


def test_samples_behind_what_the_header_states_are_told(one, tmp_path):
    content = one("wav").read_bytes()
    path = tmp_path / "low.wav"
    path.write_bytes(with_sizes(content, b"data", 4 * 20_000, len(content) - 8))
    samples, stream = decoded(path)
    assert samples.shape[1] == 20_000
    (note,) = stream.notes
    assert f"last {4 * (RATE - 20_000)} bytes are not used" in note


def test_mp3_inside_wav(one):
    samples, stream = decoded(one("wav", "-c:a", "libmp3lame"))
    assert abs(samples.shape[1] - RATE) < 3 * 1152
    assert (stream.cut, stream.warnings) == ("", [])


@pytest.mark.parametrize(
    "options",
    [
        ("song.ogg", "-c:a", "libvorbis"),
        ("song.opus",),
        ("song.opus", "-b:a", "1200k"),
        ("song.m4a",),
        ("song.flac",),
    ],
)
def test_six_channels_come_in_the_order_of_wav(tmp_path, convert, save, options):
    """Each channel a tone of its own; the fourth, the bass channel, a low one."""
    tones = np.array([500, 600, 700, 60, 800, 900])
    waveform = 0.3 * np.sin(2 * np.pi * tones[:, None] * np.arange(48000) / 48000)
    source = save(tmp_path / "six.wav", waveform, 48000)
    layout = ["-channel_layout", "5.1"]
    name, *more = options
    command = [find_ffmpeg(), "-v", "error", *layout, "-i", str(source), "-ac", "6", *more]
    subprocess.run([*command, str(tmp_path / name)], check=True)
    for count in (1, 2):  # alone, and joined
        path = tmp_path / f"{count}{name}"
        if count == 2 and not name.endswith(("ogg", "opus", "flac")):
            break
        path.write_bytes(count * (tmp_path / name).read_bytes())
        samples, _ = decoded(path)
        assert abs(samples.shape[1] - count * 48000) < 2048
        spectrum = np.abs(np.fft.rfft(samples[:, 5000:29000]))
        assert (2 * spectrum.argmax(axis=1)).tolist() == tones.tolist()


@pytest.mark.parametrize("rate", [999, 0, 768_001, 67_108_864, 0x7FFFFFFF])
def test_a_rate_that_nothing_has_is_refused(one, tmp_path, rate):
    content = bytearray(one("wav").read_bytes())
    content[24:28] = struct.pack("<I", rate)
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(audio.AudioError, match=r"x\.wav' (states a sample rate|cannot be decoded)"):
        audio.stream(tmp_path / "x.wav")


def test_too_many_channels_are_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((10, 65)), 8000)
    with pytest.raises(audio.AudioError, match="65 channels, not between 1 and 64"):
        audio.stream(tmp_path / "x.wav")


def test_a_length_that_no_memory_holds_allocates_nothing(one, tmp_path):
    content = bytearray(one("flac").read_bytes())
    content[21] |= 0x0F  # 2^36 samples
    content[22:26] = b"\xff" * 4
    (tmp_path / "x.flac").write_bytes(content)
    samples, stream = decoded(tmp_path / "x.flac")
    assert samples.shape[1] == RATE and stream.cut
    with pytest.raises(audio.AudioError, match="is cut short"):
        audio.read(tmp_path / "x.flac")
    with pytest.raises(audio.AudioError, match="ends before"):
        audio.read(tmp_path / "x.flac", 0, 1 << 35)


def test_only_files_are_opened(tmp_path, one):
    os.mkfifo(tmp_path / "pipe.wav")
    os.symlink("/dev/zero", tmp_path / "zero.wav")
    os.symlink(one("wav"), tmp_path / "link.wav")
    for path in (tmp_path / "pipe.wav", tmp_path / "zero.wav", "/dev/zero", tmp_path, "/dev/stdin"):
        with pytest.raises(audio.AudioError, match="is not a file"):
            audio.stream(path)
    for path in (
        "a\0b.wav",
        "x" * 300 + ".wav",
        tmp_path / ("x" * 300),
        "",
        str(one("wav")) + "/x",
    ):
        with pytest.raises(audio.AudioError):
            audio.stream(path)
    assert audio.probe(tmp_path / "link.wav").frames == RATE


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_an_error(tmp_path, noise, save, value):
    waveform = noise(1)
    waveform[1, 5000] = value
    save(tmp_path / "x.wav", waveform, subtype="FLOAT")
    with pytest.raises(audio.AudioError, match=r"x\.wav' has samples that are not finite numbers"):
        list(audio.stream(tmp_path / "x.wav"))


@pytest.mark.parametrize(
    "name", ["cafe\udce9", "a%03d", "concat:a|b", "-i", "http:__x", "n\nl", "a'b$"]
)
@pytest.mark.parametrize("suffix", ["mp3", "flac", "m4a"])
def test_a_name_is_just_a_name(one, tmp_path, name, suffix, monkeypatch):
    path = tmp_path / f"{name}.{suffix}"
    path.write_bytes(one(suffix).read_bytes())
    assert abs(audio.probe(path).frames - RATE) < 3000
    monkeypatch.chdir(tmp_path)
    assert abs(decoded(path.name)[0].shape[1] - RATE) < 3000


REFERRING = {
    "hls.m4a": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{0}\n#EXT-X-ENDLIST\n",
    "concat.mp3": "ffconcat version 1.0\nfile '{0}'\n",
    "dash.m4a": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="audio/mp4"><Representation '
    'id="1" bandwidth="9"><BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp.mp3": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    "list": "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:9,\n{0}\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", REFERRING)
def test_a_file_that_names_others_is_no_audio(one, tmp_path, name):
    for target in (one("m4a"), one("wav")):
        (tmp_path / name).write_text(REFERRING[name].format(target))
        with pytest.raises(audio.AudioError, match=rf"{name}' (holds no audio|cannot be decoded)"):
            audio.stream(tmp_path / name)
        assert ffmpeg_pipe.describe(tmp_path / name) == ({}, None)
        assert not audio.has_audio(tmp_path / name)


def test_without_the_lists_of_what_is_allowed_such_a_file_would_be_read(one, tmp_path):
    (tmp_path / "x.mp3").write_text(REFERRING["concat.mp3"].format(one("m4a")))
    command = [find_ffmpeg(), "-v", "error", "-safe", "0", "-f", "concat"]
    command += ["-i", str(tmp_path / "x.mp3"), "-f", "null", "-"]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def film(tmp_path_factory, one, noise, save):
    """A video of two audio streams, and one without any."""
    folder = tmp_path_factory.mktemp("film")
    second = save(folder / "second.wav", noise(SECONDS, RATE, 1, seed=1), RATE)
    picture = ["-f", "lavfi", "-i", "color=red:s=64x64:r=5:d=1"]
    base = [find_ffmpeg(), "-v", "error", *picture]
    sound = ["-i", str(one("wav")), "-i", str(second), "-map", "0:v", "-map", "1:a", "-map", "2:a"]
    codec = ["-c:v", "mpeg4", "-c:a", "pcm_s16le"]
    subprocess.run([*base, *sound, *codec, str(folder / "film.mkv")], check=True)
    subprocess.run([*base, "-c:v", "mpeg4", str(folder / "silent.mp4")], check=True)
    subprocess.run([*base, "-frames:v", "1", str(folder / "cover.jpg")], check=True)
    return folder


def test_the_audio_stream_of_a_video_is_told_and_can_be_chosen(film, one):
    first, stream = decoded(film / "film.mkv")
    assert np.array_equal(first, audio.read(one("wav"))[0])
    (note,) = stream.notes
    assert "2 audio streams; number 1 is used (pcm_s16le" in note
    second, stream = decoded(film / "film.mkv", stream=2)
    assert np.array_equal(second, audio.read(film / "second.wav")[0])
    assert "number 2 is used" in stream.notes[0]
    with pytest.raises(audio.AudioError, match="holds 2 audio streams, and number 3 was asked for"):
        audio.stream(film / "film.mkv", stream=3)


def test_pictures_and_silent_videos_say_so(film, tmp_path):
    with pytest.raises(
        audio.AudioError, match=r"silent\.mp4' holds no audio \(a video without sound"
    ):
        audio.stream(film / "silent.mp4")
    for name in ("cover.jpg", "cover.mp3", "cover%d.jpg", "cover"):
        (tmp_path / name).write_bytes((film / "cover.jpg").read_bytes())
        with pytest.raises(audio.AudioError, match=r"holds no audio \(a picture\)"):
            audio.stream(tmp_path / name)


@pytest.mark.parametrize("suffix", ["mp3", "flac", "m4a"])
def test_a_cover_is_no_sound(film, one, tmp_path, suffix):
    path = tmp_path / f"song.{suffix}"
    command = [find_ffmpeg(), "-v", "error", "-i", str(one("wav")), "-i", str(film / "cover.jpg")]
    command += ["-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic"]
    subprocess.run([*command, str(path)], check=True)
    samples, stream = decoded(path)
    assert abs(samples.shape[1] - RATE) < 3000
    assert (stream.notes, stream.warnings, stream.cut) == ([], [], "")
    assert audio.has_audio(path)


def test_ffmpeg_does_not_wait_for_ever(one, monkeypatch, tmp_path):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(ffmpeg_pipe, "find_ffmpeg", lambda: str(program))
    monkeypatch.setattr(ffmpeg_pipe, "PATIENCE", 0.2)
    with pytest.raises(audio.AudioError, match="ended by signal 9 before it found audio"):
        audio.stream(one("m4a"))
    assert ffmpeg_pipe.describe(one("m4a")) == ({}, None)


CLOSED = """
import os, sys
from mixit_mss import audio
for path in sys.argv[1:]:
    frames = sum(block.shape[1] for block in audio.stream(path))
    os.write(1, f"{frames}\\n".encode())
"""


def test_without_a_standard_error(one):
    files = [str(one(suffix)) for suffix in ("mp3", "wav", "m4a")]
    command = [sys.executable, "-c", CLOSED, *files]
    done = subprocess.run(
        ["sh", "-c", '"$@" 2>&-', "sh", *command], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[:2] == [str(RATE), str(RATE)]


def test_threads_keep_their_standard_error(one, damage, tmp_path, capfd):
    broken = damage(one("mp3"), tmp_path / "broken.mp3", 3)
    before = os.fstat(2)
    threads = [threading.Thread(target=decoded, args=(broken,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        print("here", file=sys.stderr)
        threads[0].join(0.005)
        threads = [thread for thread in threads if thread.is_alive()] or threads[:1]
    after = os.fstat(2)
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)
    words = set(capfd.readouterr().err.split())
    assert words == {"here"}


def test_what_no_audio_is(tmp_path):
    known = {
        b"hello\n": "text",
        b"\xff\xd8\xff\xe0": "a picture",
        b"RIFF\0\0\0\0WEBP": "a picture",
        b"%PDF-1": "a document",
        b"PK\x03\x04": "an archive",
        b"ID3\x04\0": "",
        b"RIFF\0\0\0\0WAVE": "",
    }
    for content, words in known.items():
        (tmp_path / "x").write_bytes(content)
        assert headers.what_else(tmp_path / "x") == words
