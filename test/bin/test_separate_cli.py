"""``mixit-mss separate`` as people call it: a small real network, good and bad songs, and signals."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest
import soundfile

from mixit_mss.audio.encoding import ENCODINGS
from mixit_mss.audio.ffmpeg import find_ffmpeg
from mixit_mss.bin import separate
from mixit_mss.bin.main import main
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import save_model
from mixit_mss.separation import request
from mixit_mss.separation.overlap_add import WINDOWS
from mixit_mss.separation.request import Options

STEMS = ["vocals", "rest"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
    stft = {"n_fft": 256, "hop": 64, "bands": 6, "sample_rate": 8000}
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(BSLocoformer(2, stems=STEMS, **sizes, **stft), folder)
    return folder


def make_song(path, seconds=1.0, rate=8000, channels=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, 0.1 * noise, rate)
    return path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (48000, 2)])
def test_a_song_of_any_rate_comes_out_at_its_own(model_folder, tmp_path, capsys, rate, channels):
    song = make_song(tmp_path / "my song.wav", 1.23, rate, channels)
    argv = ["--model", str(model_folder), "--out", str(tmp_path / "out"), "--device", "cpu"]
    separate.main([str(song), *argv])
    assert "1 separated" in capsys.readouterr().out
    for stem in STEMS:
        info = soundfile.info(tmp_path / f"out/my song/{stem}.wav")
        assert (info.samplerate, info.channels) == (rate, channels)
        assert (info.frames, info.subtype) == (round(1.23 * rate), "FLOAT")
    separate.main([str(song), *argv])
    assert "1 unchanged" in capsys.readouterr().out


def test_songs_that_are_done_need_no_network(model_folder, tmp_path):
    argv = [str(make_song(tmp_path / "a.wav")), "--model", str(model_folder)]
    argv += ["--out", str(tmp_path / "out")]
    separate.main(argv)
    code = f"import sys; from mixit_mss.bin import separate; separate.main({argv}); "
    code += "assert 'torch' not in sys.modules"
    again = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "1 unchanged" in again.stdout


def test_every_option_reaches_the_estimates(model_folder, tmp_path):
    make_song(tmp_path / "songs/a.wav")
    out = tmp_path / "out"
    argv = [str(tmp_path / "songs"), "--model", str(model_folder), "--out", str(out)]
    separate.main([*argv, "--stems", "rest", "--format", "flac"])
    assert files(out) == ["a/.done.json", "a/rest.flac"]
    separate.main([*argv, "--all-channels"])
    channels = ["a/channel_00.wav", "a/channel_01.wav"]
    assert files(out) == ["a/.done.json", *channels, "a/rest.flac"]
    estimates = []
    for chunk, hop, batch in (("0.5", "0.25", "1"), ("0.5", "0.25", "3"), ("0.7", "0.35", "1")):
        chunks = ["--chunk-seconds", chunk, "--hop-seconds", hop, "--batch-size", batch]
        fresh = tmp_path / f"out_{len(estimates)}"
        separate.main([*argv, *chunks, "--out", str(fresh)])
        estimates.append(soundfile.read(fresh / "a/rest.wav")[0])
    np.testing.assert_allclose(estimates[1], estimates[0], atol=1e-5)
    assert not np.allclose(estimates[2], estimates[0], atol=1e-4)


def test_the_mixtures_of_a_manifest(model_folder, tmp_path):
    rows = []
    for song, split in (("one", "test"), ("two", "test"), ("three", "valid")):
        for stem in ("mixture", *STEMS):
            path = make_song(tmp_path / f"data/{song}/{stem}.wav")
            rows.append(
                {"song": song, "stem": stem, "split": split, "path": str(path), "license": ""}
                | {"frames": 8000, "sample_rate": 8000, "channels": 2}
            )
    segments = [(np.zeros(0, np.int64), 1)] * len(rows)
    write_manifest(tmp_path / "manifests/labelled", make_manifest(rows, segments))
    argv = ["--model", str(model_folder), "--out", str(tmp_path / "out"), "--split", "test"]
    separate.main([*argv, "--manifest", str(tmp_path / "manifests/labelled")])
    wanted = [f"{song}/{stem}.wav" for song in ("one", "two") for stem in sorted(STEMS)]
    assert [name for name in files(tmp_path / "out") if name.endswith(".wav")] == sorted(wanted)


def test_a_bad_song_is_named_and_the_rest_go_on(model_folder, tmp_path, capsys):
    good = make_song(tmp_path / "good.wav")
    bad = tmp_path / "bad.mp3"
    bad.write_bytes(b"no music")
    argv = ["--model", str(model_folder), "--out", str(tmp_path / "out")]
    assert main(["separate", str(bad), str(tmp_path / "gone.wav"), str(good), *argv]) == 1
    printed = capsys.readouterr()
    assert "2 of 3 songs failed: bad, gone" in printed.err
    assert "bad.mp3" in printed.out + printed.err
    assert "Traceback" not in printed.err
    assert files(tmp_path / "out") == ["good/.done.json", "good/rest.wav", "good/vocals.wav"]


def test_requests_that_make_no_sense(model_folder, tmp_path, capsys):
    argv = ["--model", str(model_folder), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"songs .* or --manifest"):
        separate.main(argv)
    song = str(make_song(tmp_path / "a.wav"))
    with pytest.raises(UserError, match="no model folder"):
        separate.main([song, "--model", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match="no stem 'drums'; it has vocals, rest"):
        separate.main([song, *argv, "--stems", "drums"])
    with pytest.raises(UserError, match="hop-seconds 9"):
        separate.main([song, *argv, "--chunk-seconds", "3", "--hop-seconds", "9"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "form"),
    [(signal.SIGINT, "flac"), (signal.SIGTERM, "mp3"), (signal.SIGKILL, "wav")],
)
def test_a_stopped_command_leaves_no_half_files_and_goes_on(model_folder, tmp_path, number, form):
    song = make_song(tmp_path / "long.wav", seconds=600)
    out = tmp_path / "out"
    argv = [str(song), "--model", str(model_folder), "--out", str(out)]
    argv += ["--chunk-seconds", "0.2", "--hop-seconds", "0.1", "--format", form]
    process = subprocess.Popen(
        [sys.executable, "-m", "mixit_mss.bin.separate", *argv],
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background hands down that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list(out.glob(".long.*.partial/*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    if number != signal.SIGKILL:
        assert list(out.iterdir()) == []
    assert not (out / "long").exists()
    make_song(song, seconds=1.0)
    separate.main(argv)
    assert files(out) == ["long/.done.json", f"long/rest.{form}", f"long/vocals.{form}"]


def call(argv, **options):
    """The command as a program, with bytes on its standard streams."""
    command = [sys.executable, "-m", "mixit_mss.bin.main", "separate", *map(str, argv)]
    return subprocess.run(command, capture_output=True, **options)


def test_a_song_through_pipes(model_folder, tmp_path):
    """An m4a, which cannot be read without going back, comes in; one FLAC goes out."""
    song = make_song(tmp_path / "song.wav", 2.0, 44100)
    m4a = tmp_path / "song.m4a"
    command = [find_ffmpeg(), "-v", "error", "-i", str(song), str(m4a)]
    subprocess.run(command, check=True)
    argv = ["--model", model_folder, "--device", "cpu", "--format", "flac"]
    argv += ["--stems", "vocals", "--out"]
    piped = call(["-", *argv, "-"], input=m4a.read_bytes())
    assert piped.returncode == 0
    assert piped.stderr.startswith(b"stdin: separated 0:02 in ") and piped.stderr.count(b"\n") == 1
    separate.main([str(m4a), *map(str, argv), str(tmp_path / "out")])
    wanted, rate = soundfile.read(tmp_path / "out/song/vocals.flac")
    got, got_rate = soundfile.read(io.BytesIO(piped.stdout))
    assert rate == got_rate == 44100
    np.testing.assert_array_equal(got, wanted)
    stored = call(["-", *argv, tmp_path / "out"], input=m4a.read_bytes())
    assert stored.returncode == 0
    assert (tmp_path / "out/stdin/vocals.flac").is_file()


def test_nothing_goes_out_of_a_pipe_when_the_song_is_bad(model_folder, tmp_path):
    argv = ["--model", model_folder, "--stems", "vocals", "--out", "-"]
    piped = call(["-", *argv], input=b"no music")
    assert piped.returncode == 1 and piped.stdout == b""
    assert b"stdin" in piped.stderr and b"Traceback" not in piped.stderr
    song = str(make_song(tmp_path / "a.wav"))
    for songs, stems in (([song, "b.wav"], "vocals"), ([song], "vocals,rest")):
        with pytest.raises(UserError, match="writes one stem of one song"):
            separate.main([*songs, *argv[:1], str(model_folder), "--stems", stems, "--out", "-"])
    with pytest.raises(UserError, match="one song on standard input"):
        separate.main(["-", "-", *argv[:1], str(model_folder), "--out", str(tmp_path)])


def test_patterns_two_stems_and_published_names(model_folder, tmp_path):
    for name in ("a", "b"):
        make_song(tmp_path / f"{name}.wav")
    argv = ["--model", str(model_folder), "--out", str(tmp_path / "out"), "--shifts", "2"]
    argv += ["--window", "fade", "--half", "--device", "cpu"]
    separate.main([str(tmp_path / "*.wav"), *argv, "--two-stems", "vocals", "--format", "wav24"])
    wanted = ["no_vocals.wav", "vocals.wav"]
    stems = [name for name in files(tmp_path / "out") if name.endswith(".wav")]
    assert stems == [f"{song}/{stem}" for song in "ab" for stem in wanted]
    assert soundfile.info(tmp_path / "out/a/vocals.wav").subtype == "PCM_24"
    with pytest.raises(UserError, match=r"no\.such is neither a file nor a published name"):
        separate.main([str(tmp_path / "a.wav"), "--model", "official:no.such", "--out", "x"])


def test_help_is_quick_because_nothing_heavy_is_loaded():
    """Not one module beyond Python's own and the few of ours that speak to the user."""
    code = "import sys; from mixit_mss.bin import main, {0}; {0}.build_parser().format_help(); "
    code += "print(*sorted(set(sys.modules)))"
    for name in ("separate", "score", "report"):
        program = [sys.executable, "-I", "-c", code.format(name)]
        loaded = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()
        heavy = ("torch", "torchaudio", "numpy", "scipy", "pandas", "rich", "soundfile")
        assert not {module.split(".")[0] for module in loaded} & set(heavy)
        ours = {module for module in loaded if module.startswith("mixit_mss.")}
        if name == "separate":
            floor = ("errors", "limits", "machine")
            bins = ("bin", "bin.arguments", "failures", "bin.main", "bin.separate")
            assert ours == {f"mixit_mss.{module}" for module in (*bins, *floor)}


def test_the_choices_on_the_command_line_are_those_of_the_library():
    options = {action.dest: action for action in separate.build_parser()._actions}
    assert list(options["format"].choices) == list(ENCODINGS)
    assert list(options["window"].choices) == list(request.WINDOWS) == list(WINDOWS)
    for name, value in asdict(Options()).items():
        assert options[{"audio_format": "format"}.get(name, name)].default == value


def make_video(folder, *inputs, name="film.mkv"):
    """A video with the picture of nothing, and with the sound of each of the inputs."""
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", "-f", "lavfi"]
    command += ["-i", "color=size=32x32:rate=5:duration=1"]
    for path in inputs:
        command += ["-i", str(path)]
    maps = [word for number in range(len(inputs) + 1) for word in ("-map", str(number))]
    command += [*maps, "-c:v", "mpeg4", "-c:a", "pcm_s16le"]
    subprocess.run([*command, str(folder / name)], check=True)
    return folder / name


def test_the_audio_stream_of_a_video_is_said_and_can_be_chosen(model_folder, tmp_path, capsys):
    songs = [make_song(tmp_path / "a.wav"), make_song(tmp_path / "b.wav", channels=1)]
    film = make_video(tmp_path, *songs)
    argv = [str(film), "--model", str(model_folder), "--out"]
    separate.main([*argv, str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "film.mkv' holds 2 audio streams; number 1 is used (pcm_s16le" in said
    assert soundfile.info(tmp_path / "out/film/rest.wav").channels == 2
    separate.main([*argv, str(tmp_path / "out"), "--audio-stream", "2"])
    assert "number 2 is used" in capsys.readouterr().err
    assert soundfile.info(tmp_path / "out/film/rest.wav").channels == 1
    separate.main([*argv, str(tmp_path / "out"), "--audio-stream", "2"])
    assert "1 unchanged" in capsys.readouterr().out
    assert main(["separate", *argv, str(tmp_path / "o"), "--audio-stream", "3"]) == 1
    assert "holds 2 audio streams, and number 3 was asked for" in capsys.readouterr().err
    assert main(["separate", *argv, str(tmp_path / "o"), "--audio-stream", "0"]) == 2
    assert "--audio-stream 0 must be a whole number of an audio stream" in capsys.readouterr().err


def test_a_silent_video_and_a_cover_are_told_and_the_rest_goes_on(model_folder, tmp_path, capsys):
    make_song(tmp_path / "album/01.wav")
    make_video(tmp_path / "album", name="silent.mp4")
    (tmp_path / "album/scans").mkdir()
    picture = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "color=size=32x32:duration=1"]
    for name in ("album/cover.jpg", "album/scans/1.png"):
        subprocess.run([*picture, "-frames:v", "1", str(tmp_path / name)], check=True)
    argv = ["--model", str(model_folder), "--out", str(tmp_path / "out")]
    separate.main([str(tmp_path / "album"), *argv])
    assert "1 separated" in capsys.readouterr().out
    separate.main([*map(str, sorted((tmp_path / "album").glob("*[!4]"))), *argv])
    assert "1 unchanged" in capsys.readouterr().out
    for name, words in (("silent.mp4", "a video without sound"), ("cover.jpg", "a picture")):
        assert main(["separate", str(tmp_path / "album" / name), *argv]) == 1
        failed, _ = capsys.readouterr().err.splitlines()
        assert f"{name}' holds no audio ({words})" in failed
