import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from mixit_mss import audio
from mixit_mss.audio.ffmpeg import FfmpegDecoder, find_ffmpeg
from mixit_mss.audio.resampling import SINC
from mixit_mss.errors import UserError

RATE = 44100
FORMATS = ("wav", "flac", "ogg", "aiff", "mp3", "m4a", "opus")


@pytest.fixture(scope="module")
def songs(tmp_path_factory, noise, save, convert):
    """The same 4 s of stereo in every format, and what ffmpeg alone decodes each to."""
    folder = tmp_path_factory.mktemp("formats")
    source = save(folder / "source.wav", noise(4, RATE), RATE)
    paths = {suffix: convert(source, folder / f"song.{suffix}") for suffix in FORMATS}
    paths["noheader.mp3"] = convert(
        *(source, folder / "noheader.mp3", "-q:a", "4", "-write_xing", "0", "-id3v2_version", "0")
    )
    piped = [find_ffmpeg(), "-v", "error", "-i", str(source), "-f", "flac", "-"]
    paths["piped.flac"] = folder / "piped.flac"
    paths["piped.flac"].write_bytes(subprocess.run(piped, check=True, capture_output=True).stdout)
    return paths


@pytest.mark.parametrize("name", [*FORMATS, "noheader.mp3", "piped.flac"])
def test_every_format_by_every_way(songs, name, convert, tmp_path):
    path = songs[name]
    decoded, rate = soundfile.read(
        convert(path, tmp_path / "decoded.wav", "-c:a", "pcm_f32le"), dtype="float32"
    )
    info = audio.probe(path)
    assert (info.path, info.sample_rate, info.channels) == (str(path), rate, 2)
    assert abs(info.frames - len(decoded)) <= 1152  # decoders differ in the padding they keep
    whole, read_rate = audio.read(path)
    assert (whole.shape, whole.dtype, read_rate) == ((2, info.frames), np.float32, rate)
    frames = min(info.frames, len(decoded))
    tolerance = 0.01 if name == "opus" else 1e-3  # two decoders of one lossy format
    assert np.abs(whole[:, :frames] - decoded[:frames].T).max() < tolerance
    blocks = list(audio.stream(path, block_frames=10_000))
    assert {block.shape[1] for block in blocks[:-1]} == {10_000}
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)
    part, _ = audio.read(path, 70_001, 20_000)
    assert np.array_equal(part, whole[:, 70_001:90_001])


def end_early(path, target, pages):
    """Mark the end of an Ogg stream some pages before the last, as some encoders do."""
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"OggS", bytes(content))]
    start, stop = starts[-1 - pages], starts[-pages]
    content[start + 5] |= 4
    content[start + 22 : start + 26] = bytes(4)
    checksum = 0
    for byte in content[start:stop]:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    content[start + 22 : start + 26] = checksum.to_bytes(4, "little")
    target.write_bytes(content)
    return target


def test_an_ogg_that_marks_its_end_too_early_is_whole(songs, convert, tmp_path):
    """As does `northerners.ogg` of Wesnoth's music: libvorbis leaves out its last 0.13 s."""
    pages = ("-c:a", "libvorbis", "-page_duration", "100000")  # of 0.1 s
    song = convert(songs["wav"], tmp_path / "song.ogg", *pages)
    early = end_early(song, tmp_path / "early.ogg", 1)
    whole, _ = audio.read(song)
    blocks = np.concatenate(list(audio.stream(early)), axis=1)
    missing = audio.probe(early).frames - blocks.shape[1]
    assert 0 < missing <= audio.header_slack(early)
    assert np.array_equal(blocks, whole[:, : blocks.shape[1]])
    gone = end_early(song, tmp_path / "gone.ogg", 12)  # more than 0.7 s: ffmpeg goes on there
    with audio.stream(gone) as stream:
        samples = np.concatenate(list(stream), axis=1)
    assert abs(samples.shape[1] - whole.shape[1]) <= audio.header_slack(gone)
    assert np.abs(samples - whole[:, : samples.shape[1]]).max() < 1e-3


def test_headers_are_looked_at_without_decoding(songs, monkeypatch):
    monkeypatch.setattr(FfmpegDecoder, "blocks", None)
    for name in ("noheader.mp3", "piped.flac", "m4a"):
        info = audio.probe(songs[name], count=False)
        assert (info.frames, info.sample_rate, info.channels) == (None, RATE, 2)
    assert audio.probe(songs["mp3"], count=False).frames > 4 * RATE - 1


def test_range_beyond_the_end(songs):
    for name in ("wav", "flac", "mp3", "m4a"):
        with pytest.raises(audio.AudioError, match=rf"song\.{name}.*ends before sample 999999"):
            audio.read(songs[name], 999_000, 999)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.wav", None, "does not exist"),
        ("empty.mp3", b"", "is empty"),
        ("text.wav", b"not audio at all " * 100, "cannot be decoded as audio"),
        ("text.mp3", b"not audio at all " * 100, "cannot be decoded as audio"),
    ],
)
@pytest.mark.parametrize("function", [audio.probe, audio.read, audio.stream])
def test_what_is_no_audio(tmp_path, name, content, message, function):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(audio.AudioError, match=message) as caught:
        function(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_folder_is_no_file(tmp_path):
    with pytest.raises(audio.AudioError, match="is not a file"):
        audio.probe(tmp_path)


@pytest.mark.parametrize("name", ["flac", "mp3"])
def test_cut_files_are_noticed(songs, tmp_path, name):
    path = tmp_path / f"cut.{name}"
    path.write_bytes(songs[name].read_bytes()[: songs[name].stat().st_size // 2])
    with audio.stream(path) as stream:
        samples = sum(block.shape[1] for block in stream)
    assert 0.4 < samples / (4 * RATE) < 0.6
    assert stream.cut.startswith(f"is cut short: it ends after {samples} of ")
    with pytest.raises(audio.AudioError, match=r"cut\..*cut short"):
        audio.read(path)


def test_decoder_warnings(songs, damage, convert, tmp_path):
    for name in FORMATS:
        assert audio.decode_warnings(songs[name]) == []
    # MP3s cut out of longer ones, as FMA's clips are, begin with frames that lack earlier bits
    cut = convert(songs["mp3"], tmp_path / "clip.mp3", "-ss", "1.01", "-c:a", "copy")
    assert audio.decode_warnings(cut) == []
    assert audio.decode_warnings(damage(songs["m4a"], tmp_path / "broken.m4a")) != []


def test_damaged_mp3_frame(songs, tmp_path, capfd):
    """One frame whose side information is overwritten: as long as before, and no exception."""
    content = bytearray(songs["mp3"].read_bytes())
    header = bytes(content[content.index(b"\xff\xfb", 2000) :][:2])
    places = [i for i in range(20_000, 30_000) if content[i : i + 2] == header]
    for place in places[:3]:
        content[place + 6 : place + 36] = b"\xff" * 30
    path = tmp_path / "damaged.mp3"
    path.write_bytes(content)
    warnings = audio.decode_warnings(path)
    assert warnings
    assert all(audio.MP3_DAMAGE.search(line) for line in warnings)
    assert capfd.readouterr().err == ""  # caught, and not shown


@pytest.mark.parametrize(
    "line",
    [
        "[src/libmpg123/layer3.c:INT123_do_layer3():1844] error: dequantization failed!",
        "[src/libmpg123/layer3.c:INT123_do_layer3():1837] error: part2_3_length (3456) too large "
        "for available bit count (1832)",
        "[layer3.c:1771] error: bad frame - unable to get valid sideinfo",
        "[mp3float] invalid block type",
        "[mp3float] Error while decoding MPEG audio frame.",
    ],
)
def test_what_counts_as_damage(line):
    assert audio.MP3_DAMAGE.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "Note: Illegal Audio-MPEG-Header 0x54414700 at offset 97071.",
        "Note: missing 9 bytes in bit reservoir for frame 0",
        "[mp3float] Header missing",
    ],
)
def test_what_is_no_damage(line):
    """Tags at the end, and the first frame of a clip cut out of a longer file."""
    assert not audio.MP3_DAMAGE.search(line)


def test_without_a_system_ffmpeg(songs, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "imageio_ffmpeg" in find_ffmpeg()
    assert abs(audio.probe(songs["m4a"]).frames - 4 * RATE) <= 2048


def test_a_playlist_in_disguise_opens_no_connection(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        path = tmp_path / "song.m4a"
        path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(audio.AudioError):
            audio.read(path)
        with pytest.raises(TimeoutError):
            server.accept()


def test_ffmpeg_can_be_left_early(songs):
    decoder = FfmpegDecoder(songs["m4a"])
    decoder.read(10)
    decoder.close()
    assert decoder._process.poll() is not None


@pytest.mark.parametrize("rates", [(48000, 44100), (44100, 22050), (22050, 44100), (8000, 11025)])
def test_resampled_blocks_equal_the_whole(noise, rates):
    waveform = noise(0.7, rates[0])
    whole = audio.resample(waveform, *rates)
    assert whole.shape[1] == -(-waveform.shape[1] * rates[1] // rates[0])
    for size in (331, 5000, waveform.shape[1] - 1):
        blocks = np.split(waveform, range(size, waveform.shape[1], size), axis=1)
        joined = np.concatenate(list(audio.resample_blocks(blocks, *rates)), axis=1)
        assert joined.shape == whole.shape
        assert np.abs(joined - whole).max() < 1e-6


@pytest.mark.parametrize("rates", [(48000, 44100), (44100, 22050), (22050, 44100), (3, 7)])
@pytest.mark.parametrize("frames", [1, 50, 7919])
def test_resampling_against_torchaudio(rates, frames):
    waveform = torch.randn(3, 2, frames, dtype=torch.float64)
    expected = torchaudio.functional.resample(waveform, *rates, **SINC)
    assert torch.allclose(audio.resample(waveform, *rates), expected, atol=1e-12)


def test_resampling_keeps_a_tone_and_removes_what_would_alias():
    time = np.arange(48000) / 48000
    tone, above = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 15000 * time)
    resampled = audio.resample(np.stack([tone, above]).astype(np.float32), 48000, 22050)
    expected = np.sin(2 * np.pi * 1000 * np.arange(22050) / 22050)
    middle = slice(1000, -1000)
    assert np.abs(resampled[0, middle] - expected[middle]).max() < 1e-4
    assert np.abs(resampled[1, middle]).max() < 1e-4


@pytest.mark.parametrize("rates", [(48000, 44100), (96000, 44100)])
def test_resampling_is_no_worse_than_soxr(tmp_path, save, convert, rates):
    """Tones below and above the new band edge, through ours and through ffmpeg's soxr.

    The filters are compared in double precision; in single precision, what they add is less than
    what 16 bits round away.
    """
    from_rate, to_rate = rates
    time = np.arange(from_rate) / from_rate
    frequencies = np.array([440, 10_000, 19_000, 23_000])  # the last would alias
    tones = 0.5 * np.sin(2 * np.pi * frequencies[:, None] * time)
    source = save(tmp_path / "tones.wav", tones, from_rate, subtype="DOUBLE")
    options = ["-ar", str(to_rate), "-c:a", "pcm_f32le", "-af", "aresample=resampler=soxr"]
    try:
        theirs = audio.read(convert(source, tmp_path / "soxr.wav", *options))[0]
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg has no soxr")
    expected = 0.5 * np.sin(2 * np.pi * frequencies[:, None] * np.arange(to_rate) / to_rate)
    expected[-1] = 0
    middle = slice(2000, -2000)

    def error_db(resampled):
        return 20 * np.log10(np.abs(resampled[:, middle] - expected[:, middle]).max(axis=1))

    assert (error_db(audio.resample(tones, *rates)) < np.minimum(error_db(theirs), -140)).all()
    single = audio.resample(tones.astype(np.float32), *rates)
    assert (error_db(single) < 20 * np.log10(0.5 / 32768)).all()


def test_resample_takes_tensors():
    waveform = torch.randn(2, 4000)
    resampled = audio.resample(waveform, 8000, 4000)
    assert isinstance(resampled, torch.Tensor)
    assert np.array_equal(resampled, audio.resample(waveform.numpy(), 8000, 4000))
    assert np.array_equal(resampled[0], audio.resample(waveform[0], 8000, 4000))
    assert audio.resample(np.zeros((2, 0), np.float32), 8000, 4000).shape == (2, 0)


def test_to_channels(noise):
    mono, stereo = noise(0.1, channels=1), noise(0.1)
    assert np.array_equal(audio.to_channels(mono, 2), np.concatenate([mono, mono]))
    assert np.allclose(audio.to_channels(stereo, 1), stereo.mean(axis=0))
    assert audio.to_channels(stereo, 2) is stereo
    with pytest.raises(ValueError, match="2 channels"):
        audio.to_channels(noise(0.1, channels=6), 2)


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_write_and_read_back(noise, tmp_path, suffix):
    waveform = noise(0.5, level=0.5)
    path = tmp_path / f"deep/er/x.{suffix}"
    audio.write(path, waveform, 8000)
    assert soundfile.info(path).subtype == "PCM_16"
    back, rate = audio.read(path)
    assert rate == 8000
    assert np.abs(back - np.clip(waveform, -1, 1)).max() < 2 / 32768
    audio.write(path, waveform, 8000, "PCM_24")
    step = 2**-23
    rounded = np.clip(np.rint(waveform / step) * step, -1, 1 - step)
    np.testing.assert_array_equal(audio.read(path)[0], rounded.astype(np.float32))
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_copy_of_16_bit_audio_is_exact(save, tmp_path, suffix):
    samples = np.random.default_rng(0).integers(-32768, 32768, (2, 70_000), dtype=np.int16)
    samples[0, :2] = -32768, 32767
    source = save(tmp_path / "source.wav", samples, RATE)
    waveform, _ = audio.read(source)
    assert np.array_equal(waveform, soundfile.read(source, dtype="float32")[0].T)
    path = tmp_path / f"copy.{suffix}"
    with audio.open_writer(path, RATE, 2) as file:
        for block in audio.stream(source):
            file.write(block)
    assert np.array_equal(soundfile.read(path, dtype="int16")[0].T, samples)


def test_failed_write_leaves_the_old_file(noise, tmp_path):
    path = tmp_path / "x.flac"
    audio.write(path, noise(0.1), 8000)
    before = path.read_bytes()
    with pytest.raises(KeyError), audio.open_writer(path, 8000, 2) as file:
        file.write(noise(0.2))
        raise KeyError
    assert path.read_bytes() == before
    with pytest.raises(UserError, match=r"x\.nothing.*cannot be written"):
        audio.write(tmp_path / "x.nothing", noise(0.1), 8000)
    assert os.listdir(tmp_path) == ["x.flac"]


@pytest.mark.parametrize("suffix", ["flac", "wav"])
def test_full_disk_is_one_sentence(tmp_path, suffix):
    program = f"""
import resource, signal, numpy as np
from mixit_mss import audio
from mixit_mss.audio.resampling import SINC
from mixit_mss.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
noise = np.random.default_rng(0).standard_normal((2, 100_000)).astype("float32")
try:
    audio.write({str(tmp_path / f"x.{suffix}")!r}, noise, 8000)
except UserError as error:
    assert "cannot be written" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert os.listdir(tmp_path) == []
