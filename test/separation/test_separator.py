"""Songs through planted networks: lengths, rates, channels, failures, and what is left on disk."""

from __future__ import annotations

import os
import subprocess
import unicodedata

import numpy as np
import pytest
import soundfile
import torch

from mixit_mss.errors import UserError
from mixit_mss.files import HOST
from mixit_mss.models.hub import opening
from mixit_mss.models.hub.opening import pick_device
from mixit_mss.separation.request import Options
from mixit_mss.separation.separator import separate_files, separate_songs
from mixit_mss.separation.songs import Song, find_songs
from mixit_mss.separation.stream import for_channels

GAINS = {"vocals": 0.5, "drums": -0.25, "bass": 2.0}


class GainModel:
    """Stereo in, three stems out; each is the mixture times a constant."""

    sample_rate, num_channels, num_sources = 8000, 2, 3
    stems: tuple[str, ...] | None = tuple(GAINS)

    def __init__(self):
        self.widths = set()

    def __call__(self, mixture):
        self.widths.add(mixture.shape[1])
        return mixture[:, None] * torch.tensor(list(GAINS.values()))[:, None, None]


class LeftOnly(GainModel):
    """Its stems hold the left input in both channels."""

    def __call__(self, mixture):
        return mixture[:, None, :1].expand(-1, 3, 2, -1)


def tone(seconds, rate, channels=2):
    """Low sines, a different one in each channel, so that resampling keeps them."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.stack([np.sin(2 * np.pi * (200 + 130 * c) * time) for c in range(channels)])


def make_song(path, seconds=2.0, rate=8000, channels=2, subtype="FLOAT"):
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = tone(seconds, rate, channels)
    soundfile.write(path, waveform.T, rate, subtype=subtype)
    return waveform


def run(paths, out, model=None, **options):
    options = {"chunk_seconds": 0.5, "hop_seconds": 0.25} | options
    songs = [path if isinstance(path, Song) else find_songs([path])[0] for path in paths]
    return separate_files(
        songs, "no/model", out, Options(**options), "cpu", lambda folder: model or GainModel()
    )


def written(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_stems_have_the_songs_rate_length_and_channels(tmp_path, rate, channels):
    seconds = 1.2345
    song = make_song(tmp_path / "song.wav", seconds, rate, channels)
    model = GainModel()
    (outcome,) = run([tmp_path / "song.wav"], tmp_path / "out", model)
    assert outcome.status == "separated"
    assert model.widths == {2}
    for stem, gain in GAINS.items():
        estimate, out_rate = soundfile.read(tmp_path / f"out/song/{stem}.wav", always_2d=True)
        assert (out_rate, estimate.T.shape) == (rate, song.shape)
        # the resampling filter rings at both ends of a tone that starts and stops at once
        inside = slice(rate // 20, -rate // 20)
        tolerance = 1e-6 if rate == 8000 else 1e-3
        np.testing.assert_allclose(
            estimate.T[:, inside], gain * song[:, inside], atol=tolerance * abs(gain)
        )


def test_a_song_longer_than_many_chunks_and_blocks_comes_out_whole(tmp_path):
    song = make_song(tmp_path / "long.wav", seconds=80, rate=8000)
    run([tmp_path / "long.wav"], tmp_path / "out", batch_size=3)
    estimate, _ = soundfile.read(tmp_path / "out/long/bass.wav")
    np.testing.assert_allclose(estimate.T, 2 * song, atol=1e-6)


def test_compressed_input_and_flac_output(tmp_path):
    make_song(tmp_path / "song.flac", rate=16000, subtype="PCM_16")
    run([tmp_path / "song.flac"], tmp_path / "out", audio_format="flac")
    info = soundfile.info(tmp_path / "out/song/vocals.flac")
    assert (info.frames, info.samplerate, info.subtype) == (32000, 16000, "PCM_24")


def test_channels_are_grouped_and_kept_apart():
    mixture = torch.arange(12.0).reshape(1, 6, 2)
    estimates = for_channels(LeftOnly(), 6)(mixture)
    assert estimates.shape == (1, 3, 6, 2)
    assert estimates[0, 1, :, 0].tolist() == [0, 0, 4, 4, 8, 8]
    odd = for_channels(LeftOnly(), 3)(mixture[:, :3].repeat(2, 1, 1))
    assert odd.shape == (2, 3, 3, 2)
    assert odd[1, 2, :, 0].tolist() == [0, 2, 4]


def test_only_the_wanted_stems(tmp_path):
    make_song(tmp_path / "song.wav")
    run([tmp_path / "song.wav"], tmp_path / "out", stems=("drums", "vocals"))
    assert written(tmp_path / "out/song") == {"drums.wav", "vocals.wav"}
    drums, _ = soundfile.read(tmp_path / "out/song/drums.wav")
    np.testing.assert_allclose(drums.T, GAINS["drums"] * tone(2.0, 8000), atol=1e-6)
    with pytest.raises(UserError, match="no stem 'flute'; it has vocals, drums, bass"):
        run([tmp_path / "song.wav"], tmp_path / "other", stems=("flute",))
    assert not (tmp_path / "other").exists()


def test_all_channels_of_a_network_without_names(tmp_path):
    make_song(tmp_path / "song.wav")
    model = GainModel()
    model.stems = None
    with pytest.raises(UserError, match="--all-channels"):
        run([tmp_path / "song.wav"], tmp_path / "out", model)
    run([tmp_path / "song.wav"], tmp_path / "out", model, all_channels=True)
    assert written(tmp_path / "out/song") == {f"channel_0{i}.wav" for i in range(3)}


def test_one_bad_song_does_not_stop_the_rest(tmp_path):
    make_song(tmp_path / "first.wav")
    make_song(tmp_path / "last.wav")
    (tmp_path / "broken.wav").write_bytes(b"RIFF but not really")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), 8000)
    names = ["first", "broken", "missing", "empty", "last"]
    outcomes = run([tmp_path / f"{name}.wav" for name in names], tmp_path / "out")
    assert {outcome.song: outcome.status for outcome in outcomes} == {
        **dict.fromkeys(names, "failed"),
        "first": "separated",
        "last": "separated",
    }
    for outcome in outcomes:
        if outcome.status == "failed":
            assert f"{outcome.song}.wav" in outcome.reason
    assert written(tmp_path / "out") == {"first", "last"}
    assert len(list((tmp_path / "out").iterdir())) == 2  # no hidden halves either


def test_a_fault_of_the_network_is_reported_with_its_song(tmp_path, capsys):
    class Faulty(GainModel):
        def __call__(self, mixture):
            raise RuntimeError("shapes differ, say")

    make_song(tmp_path / "song.wav")
    (outcome,) = run([tmp_path / "song.wav"], tmp_path / "out", Faulty())
    assert outcome.status == "failed"
    assert "song.wav" in outcome.reason and "shapes differ, say" in outcome.reason
    assert "Traceback" in capsys.readouterr().err


def test_interrupted_work_leaves_nothing_and_finished_songs_stay(tmp_path):
    class Interrupted(GainModel):
        def __call__(self, mixture):
            raise KeyboardInterrupt

    make_song(tmp_path / "a.wav")
    make_song(tmp_path / "b.wav")
    run([tmp_path / "a.wav"], tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        run([tmp_path / "a.wav", tmp_path / "b.wav"], tmp_path / "out", Interrupted())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_leftovers_of_killed_processes_are_removed_and_those_of_running_ones_stay(tmp_path):
    killed = subprocess.Popen(["true"])
    killed.wait()
    ours = tmp_path / f"out/.song.{os.getppid()}-{HOST}.partial"
    gone = tmp_path / f"out/.song.{killed.pid}-{HOST}.partial"
    for folder in (ours, gone):
        folder.mkdir(parents=True)
    make_song(tmp_path / "song.wav")
    run([tmp_path / "song.wav"], tmp_path / "out")
    assert ours.exists() and not gone.exists()


def test_what_is_done_is_left_alone_until_something_changes(tmp_path):
    song = tmp_path / "song.wav"
    make_song(song)
    assert run([song], tmp_path / "out")[0].status == "separated"
    assert run([song], tmp_path / "out")[0].status == "unchanged"
    assert run([song], tmp_path / "out", hop_seconds=0.5)[0].status == "separated"
    make_song(song, seconds=1.0)
    assert run([song], tmp_path / "out", hop_seconds=0.5)[0].status == "separated"
    assert soundfile.info(tmp_path / "out/song/bass.wav").frames == 8000


def test_estimates_inside_the_model_folder_do_not_count_as_a_change(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    make_song(tmp_path / "song.wav")
    songs = find_songs([tmp_path / "song.wav"])

    def again():
        out = model / "estimates"
        return separate_files(songs, model, out, device="cpu", load=lambda _: GainModel())[0].status

    assert [again(), again()] == ["separated", "unchanged"]
    (model / "model.safetensors").write_bytes(b"other weights")
    assert again() == "separated"


def test_the_sum_of_stems_where_there_is_no_mixture(tmp_path):
    a = make_song(tmp_path / "a.wav")
    make_song(tmp_path / "b.wav")
    run([Song("both", (tmp_path / "a.wav", tmp_path / "b.wav"))], tmp_path / "out")
    estimate, _ = soundfile.read(tmp_path / "out/both/bass.wav")
    np.testing.assert_allclose(estimate.T, 4 * a, atol=1e-6)
    make_song(tmp_path / "short.wav", seconds=1.0)
    (outcome,) = run([Song("odd", (tmp_path / "a.wav", tmp_path / "short.wav"))], tmp_path / "out")
    assert outcome.status == "failed" and "odd" in outcome.reason


def test_songs_are_found_in_folders_and_named(tmp_path):
    make_song(tmp_path / "band/one/mixture.wav")
    make_song(tmp_path / "band/one/vocals.wav")
    make_song(tmp_path / "band/x/two.wav")
    make_song(tmp_path / "band/y/two.wav")
    make_song(tmp_path / "three.wav")
    (tmp_path / "band/notes.txt").write_text("no song")
    songs = find_songs([tmp_path / "three.wav", tmp_path / "band"])
    assert [song.name for song in songs] == ["three", "one", "x/two", "y/two"]
    assert songs[1].parts == (tmp_path / "band/one/mixture.wav",)
    run([songs[2]], tmp_path / "out")
    assert written(tmp_path / "out/x/two") == {f"{stem}.wav" for stem in GAINS}


def test_requests_that_cannot_be_met_are_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty' holds no song"):
        find_songs([tmp_path / "empty"])
    make_song(tmp_path / "same.wav")
    with pytest.raises(UserError, match="hop-seconds"):
        Options(chunk_seconds=1.0, hop_seconds=2.0)
    with pytest.raises(UserError, match="batch-size"):
        Options(batch_size=0)
    with pytest.raises(UserError, match="exclude"):
        Options(stems=("vocals",), all_channels=True)
    with pytest.raises(UserError, match="exclude"):
        Options(two_stems="vocals", stems=("vocals",))
    with pytest.raises(UserError, match="--format aac is unknown; choose one of wav"):
        Options(audio_format="aac")
    with pytest.raises(UserError, match="--window hann"):
        Options(window="hann")
    with pytest.raises(UserError, match="--device gpu9"):
        pick_device("gpu9")
    with pytest.raises(UserError, match="no model folder"):
        separate_files(find_songs([tmp_path / "same.wav"]), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_would_share_a_name_keep_what_tells_them_apart(tmp_path):
    for name in ("same.wav", "same.flac", "x/same.wav", "x/mixture.wav"):
        make_song(tmp_path / name, subtype="PCM_16")
    paths = [tmp_path / name for name in ("same.wav", "same.flac", "x/same.wav", "x/mixture.wav")]
    assert [song.name for song in find_songs(paths[:2])] == ["same.wav", "same.flac"]
    assert [song.name for song in find_songs(paths[::2])] == [f"{tmp_path.name}/same", "x/same"]
    (tmp_path / "link.wav").symlink_to("same.wav")
    again = [paths[0], tmp_path / "x/../same.wav", tmp_path / "link.wav"]
    assert [song.name for song in find_songs(again)] == ["same"]


def test_names_of_the_same_letters_in_other_code_points_are_told_apart(tmp_path):
    forms = [unicodedata.normalize(form, "Beyonc\u00e9") for form in ("NFC", "NFD")]
    for form in forms:
        make_song(tmp_path / f"{form}.wav")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk takes them for one")
    (one,) = find_songs([tmp_path / f"{forms[1]}.wav"])
    assert one.name == forms[1]
    names = [song.name for song in find_songs([tmp_path])]
    assert len({unicodedata.normalize("NFC", name) for name in names}) == 2
    assert sorted(name.partition("~")[0] for name in names) == sorted(forms)
    outcomes = run(find_songs([tmp_path]), tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["separated"] * 2
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("name", ["...wav", "..wav", ".wav", "-x.wav", "a\nb.wav", "caf\udce9.wav"])
def test_odd_names_stay_inside_the_folder(tmp_path, name):
    make_song(tmp_path / "in/song.wav")
    (tmp_path / "in/song.wav").rename(tmp_path / "in" / name)
    (tmp_path / "precious.txt").write_text("precious")
    assert run([tmp_path / "in" / name], tmp_path / "out/here")[0].status == "separated"
    found = {os.path.relpath(path, tmp_path) for path in tmp_path.rglob("*.wav")}
    (folder,) = (tmp_path / "out/here").iterdir()
    assert found == {f"in/{name}"} | {f"out/here/{folder.name}/{stem}.wav" for stem in GAINS}
    assert (tmp_path / "precious.txt").read_text() == "precious"


def test_a_mixture_one_folder_up_deletes_nothing(tmp_path, monkeypatch):
    make_song(tmp_path / "mixture.wav")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.tex").write_text("years")
    monkeypatch.chdir(tmp_path / "work")
    assert run(["../mixture.wav"], "separated")[0].status == "separated"
    assert (tmp_path / "work/thesis.tex").read_text() == "years"
    assert written(tmp_path / "work/separated" / tmp_path.name) == {f"{s}.wav" for s in GAINS}


def test_names_of_a_manifest_stay_inside_the_folder(tmp_path):
    make_song(tmp_path / "in.wav")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/vocals.wav").write_text("mine")
    songs = [Song(n, (tmp_path / "in.wav",)) for n in ("../thesis", str(tmp_path / "thesis"))]
    outcomes = separate_files(
        songs, "none", tmp_path / "out", device="cpu", load=lambda _: GainModel()
    )
    assert [outcome.status for outcome in outcomes] == ["separated"] * 2
    assert (tmp_path / "thesis/vocals.wav").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "out", "thesis"]


def test_our_own_stems_and_the_out_folder_are_no_songs(tmp_path):
    make_song(tmp_path / "songs/a.wav")
    for out in (tmp_path / "songs/separated", tmp_path / "songs"):
        for status in ("separated", "unchanged"):
            outcomes = run([tmp_path / "songs"], out)
            assert [(o.song, o.status) for o in outcomes] == [("a", status)]


def test_other_requests_add_to_a_folder(tmp_path):
    song, out = tmp_path / "song.wav", tmp_path / "out"
    make_song(song)
    first, second = list(GAINS)[:2]
    run([song], out, stems=(first,))
    (out / "song/notes.txt").write_text("mine")
    before = (out / f"song/{first}.wav").stat().st_mtime_ns
    run([song], out, stems=(second,))
    assert written(out / "song") == {f"{first}.wav", f"{second}.wav", "notes.txt"}
    assert (out / f"song/{first}.wav").stat().st_mtime_ns == before
    assert run([song], out, stems=(first,), batch_size=3)[0].status == "unchanged"
    make_song(tmp_path / "x/song/one.wav")
    run([tmp_path / "x"], out)
    make_song(song, seconds=1.0)
    run([song], out)
    assert written(out / "song/one") == {f"{stem}.wav" for stem in GAINS}
    (out / f"song/{first}.wav").unlink()
    assert run([song], out)[0].status == "separated"  # what is gone is made again


def test_patterns_stand_for_what_they_match(tmp_path):
    for name in ("a", "b", "deep/er/c", "d [live]"):
        make_song(tmp_path / f"{name}.wav")
    (tmp_path / "a.txt").write_text("no song")
    found = [song.name for song in find_songs([f"{tmp_path}/*.wav"])]
    assert found == ["a", "b", "d [live]"]
    assert [s.name for s in find_songs([tmp_path / "**/*.wav"])] == ["a", "b", "d [live]", "c"]
    assert [s.name for s in find_songs([tmp_path / "d [live].wav"])] == ["d [live]"]
    assert find_songs([tmp_path / "*.mp3"]) == [Song("*", (tmp_path / "*.mp3",))]


def test_a_python_call_does_it_all(tmp_path, monkeypatch, capsys):
    model = GainModel()
    opened = []
    monkeypatch.setattr(opening, "load_model", lambda name: opened.append(name) or model)
    official = "mixit_mss.models.hub.published.import_official"
    monkeypatch.setattr(official, lambda name: opened.append(name) or model)
    make_song(tmp_path / "in/a [b].wav")
    options = {"device": "cpu", "two_stems": "drums", "audio_format": "flac16"}
    outcomes = separate_songs([tmp_path / "in/*"], "folder", tmp_path / "out", **options)
    assert [outcome.status for outcome in outcomes] == ["separated"]
    assert written(tmp_path / "out/a [b]") == {"drums.flac", "no_drums.flac"}
    again = separate_songs([tmp_path / "in"], "official:some.name", tmp_path / "other", **options)
    assert again[0].status == "separated"
    assert opened == ["folder", "some.name"]
    assert "K. Saijo and Y. Bando" in capsys.readouterr().err


def test_no_file_of_anybody_else_is_replaced(tmp_path):
    make_song(tmp_path / "band/one/mixture.wav")
    mixture = (tmp_path / "band/one/mixture.wav").read_bytes()
    (tmp_path / "band/two").mkdir()
    (tmp_path / "band/two/diary.txt").write_text("dear diary")
    (tmp_path / "band/three").mkdir()
    (tmp_path / "band/three/bass.wav").write_text("my own bass")
    for name in ("two", "three"):
        make_song(tmp_path / f"{name}.wav")
    songs = [tmp_path / "band/one/mixture.wav", tmp_path / "two.wav", tmp_path / "three.wav"]
    outcomes = run(songs, tmp_path / "band")
    assert [outcome.status for outcome in outcomes] == ["separated", "separated", "failed"]
    assert "bass.wav' is there already and was not written by mixit-mss" in outcomes[2].reason
    stems = {f"{stem}.wav" for stem in GAINS}
    assert written(tmp_path / "band/one") == {"mixture.wav"} | stems
    assert (tmp_path / "band/one/mixture.wav").read_bytes() == mixture
    assert written(tmp_path / "band/two") == {"diary.txt"} | stems
    assert written(tmp_path / "band/three") == {"bass.wav"}
    assert (tmp_path / "band/three/bass.wav").read_text() == "my own bass"


def test_what_the_listener_should_know_is_said_once(tmp_path, capsys):
    soundfile.write(tmp_path / "loud.wav", np.full((4000, 2), 0.9), 8000)
    (outcome,) = run([tmp_path / "loud.wav"], tmp_path / "out", audio_format="wav16")
    assert len(outcome.notes) == 1 and "bass (+5.1 dB)" in outcome.notes[0]
    assert capsys.readouterr().err.count("--format wav (float) keeps them") == 1
    (outcome,) = run([tmp_path / "loud.wav"], tmp_path / "out", audio_format="wav")
    assert outcome.notes == ()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        MemoryError(),
    ],
)
def test_a_full_device_is_one_sentence(tmp_path, capsys, error):
    class Large(GainModel):
        def __call__(self, mixture):
            raise error

    make_song(tmp_path / "song.wav")
    (outcome,) = run([tmp_path / "song.wav"], tmp_path / "out", Large())
    assert outcome.status == "failed" and "smaller --batch-size" in outcome.reason
    assert "Traceback" not in capsys.readouterr().err
