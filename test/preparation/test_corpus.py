"""Stage 1 on unlabelled songs, through its command."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from mixit_mss import audio
from mixit_mss.bin.main import run
from mixit_mss.bin.segment import main
from mixit_mss.data.manifest import read_manifest
from mixit_mss.errors import UserError
from mixit_mss.names import relative_path
from mixit_mss.preparation.corpus import draw_validation
from mixit_mss.preparation.journal import JOURNAL

RATE = 8000


def segment(source, out, *options):
    command = ["--kind", "unlabelled", "--input", str(source), "--out", str(out)]
    command += ["--sample-rate", "4000", "--segment-seconds", "4", "--valid-fraction", "0"]
    main([*command, *options])


def rejected(out):
    table = pd.read_csv(out / "rejected.csv", dtype=str, keep_default_na=False)
    return {
        os.path.basename(row.path): row.reason
        for row in table.itertuples()
        if not row.start_seconds
    }


def files(folder):
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
    )


@pytest.fixture(scope="module")
def music(tmp_path_factory, noise, save, convert, damage):
    """One song of every kind, good and bad."""
    folder = tmp_path_factory.mktemp("music")
    good = save(folder / "good.wav", noise(9.3), RATE)
    twin = convert(good, folder / "deep/er/copy of good.flac")  # sorts before it
    for name in ("song.mp3", "song.m4a", "song.ogg"):
        convert(save(folder / "x.wav", noise(8, 44100, seed=len(name)), 44100), folder / name)
    damage(folder / "song.m4a", folder / "damaged.m4a")
    (folder / "cut.flac").write_bytes(twin.read_bytes()[:20_000])
    (folder / "cut.mp3").write_bytes((folder / "song.mp3").read_bytes()[:20_000])
    (folder / "empty.wav").touch()
    (folder / "text.mp3").write_text("no music")
    save(folder / "mono.wav", noise(8, channels=1, seed=1), RATE)
    save(folder / "surround.wav", noise(8, channels=6, seed=2), RATE)
    save(folder / "low.wav", noise(8, 2000, seed=3), 2000)
    save(folder / "same rate.wav", noise(8, 4000, seed=4), 4000)
    save(folder / "short.wav", noise(3.9, seed=5), RATE)
    save(folder / "silent.wav", noise(9) * 0, RATE)
    save(folder / "nan.wav", np.where(noise(8, seed=6) > 0.3, np.nan, 0), RATE, subtype="FLOAT")
    gap = noise(20, seed=7)
    gap[:, 6 * RATE : 14 * RATE] = 0
    save(folder / "gap.wav", gap, RATE)
    with open(os.fsencode(folder) + b"/no\xfftext.wav", "wb") as file:
        file.write(good.read_bytes())
    save(folder / f"{'long' * 55}.wav", noise(8, seed=8), RATE)
    (folder / "x.wav").unlink()
    return folder


def test_all_kinds_of_songs(music, tmp_path, capsys):
    out = tmp_path / "data/unlabelled"
    segment(music, out)
    assert rejected(out) == {
        **{"damaged.m4a": "decoder_warning", "good.wav": "duplicate"},
        **{"cut.flac": "unreadable", "cut.mp3": "unreadable", "empty.wav": "unreadable"},
        **{"text.mp3": "unreadable", "nan.wav": "unreadable", "surround.wav": "channels"},
        **{"low.wav": "low_sample_rate", "short.wav": "too_short", "silent.wav": "silent"},
        "no%FFtext.wav": "duplicate",
    }
    manifest = read_manifest(out)
    songs = manifest.tracks["song"].tolist()
    assert songs == [
        *("deep/er/copy of good", "gap", "long" * 55, "mono", "same rate"),
        *("song.m4a", "song.mp3", "song.ogg"),
    ]
    # audio once per song, at the wanted rate, nothing besides
    stored = [f"audio/{relative_path(song)}.flac" for song in songs]
    assert files(out) == sorted([*stored, ".done.json", JOURNAL, "rejected.csv",
                                 "segments.csv", "tracks.csv"])  # fmt: skip
    for row in manifest.tracks.itertuples():
        info = soundfile.info(row.path)
        assert (info.samplerate, info.channels, info.frames) == (4000, 2, row.frames)
    # 4-s segments every 2 s; of the gap from 6 to 14 s those with more than 2 s in it are dropped
    starts = manifest.segments.start[manifest.segments.track == songs.index("gap")]
    assert (starts / 4000).tolist() == [0, 2, 4, 12, 14, 16]
    assert set(manifest.segments.frames) == {16000}
    table = pd.read_csv(out / "rejected.csv")
    gap = table[table.path.str.contains("gap") & (table.reason == "silent")]
    assert gap.start_seconds.tolist() == [6, 8, 10]
    # the stored audio is the song, resampled
    whole, _ = audio.read(music / "gap.wav")
    stored, _ = audio.read(out / "audio/gap.flac")
    assert np.abs(stored - audio.resample(whole, RATE, 4000)).max() < 1e-4
    mono, _ = audio.read(out / "audio/mono.flac")
    assert np.array_equal(mono[0], mono[1])
    printed = capsys.readouterr().out
    assert "8 of 20 songs kept" in printed
    assert "unreadable 5" in printed
    assert "silent 3" in printed


def test_order_of_work_does_not_matter(music, tmp_path):
    segment(music, tmp_path / "one")
    segment(music, tmp_path / "two", "--nj", "2")
    for name in ("tracks.csv", "segments.csv", "rejected.csv", "audio/gap.flac"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.fixture
def album(tmp_path, noise, save):
    """Six good songs."""
    for number in range(6):
        save(tmp_path / f"album/{number}.wav", noise(5, seed=number), RATE)
    return tmp_path / "album"


def test_options(album, tmp_path, noise, save):
    save(album / "mono.wav", noise(5, channels=1, seed=9), RATE)
    segment(album, tmp_path / "a", "--mono", "reject", "--store", "wav")
    assert rejected(tmp_path / "a") == {"mono.wav": "mono"}
    assert soundfile.info(tmp_path / "a/audio/0.wav").format == "WAV"
    segment(album, tmp_path / "b", "--channels", "1", "--hop-seconds", "1")
    manifest = read_manifest(tmp_path / "b")
    assert set(manifest.tracks["channels"]) == {1}
    assert manifest.segments.start.tolist() == [0, 4000] * 7
    with pytest.raises(UserError, match="silent 7"):  # the noise has -20 dB
        segment(album, tmp_path / "c", "--silence-db", "-15")
    segment(album, tmp_path / "d", "--silence-rule", "release", "--segment-seconds", "3")
    assert set(read_manifest(tmp_path / "d").segments.frames) == {12000}


def test_unchanged_input_is_left_alone(album, tmp_path, capsys):
    out = tmp_path / "out"
    segment(album, out, "--valid-fraction", "0.4")
    times = {name: os.stat(out / name).st_mtime_ns for name in files(out)}
    capsys.readouterr()
    segment(album, out, "--valid-fraction", "0.4")
    assert "nothing to do, all 6 songs are as they were" in capsys.readouterr().out
    assert {name: os.stat(out / name).st_mtime_ns for name in files(out)} == times


def test_only_what_changed_is_done_again(album, tmp_path, noise, save):
    out = tmp_path / "out"
    segment(album, out)
    before = {name: os.stat(out / name).st_ino for name in files(out) if "audio" in name}
    (album / "0.wav").unlink()
    save(album / "1.wav", noise(6, seed=77), RATE)
    save(album / "9.wav", noise(5, seed=9), RATE)
    (out / "audio/2.flac").unlink()
    segment(album, out)
    after = {name: os.stat(out / name).st_ino for name in files(out) if "audio" in name}
    assert sorted(after) == [f"audio/{n}.flac" for n in (1, 2, 3, 4, 5, 9)]
    assert [n for n in (3, 4, 5) if after[f"audio/{n}.flac"] != before[f"audio/{n}.flac"]] == []
    assert after["audio/1.flac"] != before["audio/1.flac"]
    fresh = tmp_path / "fresh"
    segment(album, fresh)
    for name in (*after, "tracks.csv", "segments.csv", "rejected.csv"):
        assert (out / name).read_bytes() == (fresh / name).read_bytes()
    # other settings: all of it
    segment(album, out, "--segment-seconds", "2")
    assert set(read_manifest(out).segments.frames) == {8000}


@pytest.mark.parametrize("store", ["flac", "source"])
def test_a_folder_that_moved_is_done_and_what_it_rejected_too(
    album, tmp_path, capsys, save, noise, store
):
    """Sources and what was made of them, in another place and by another path."""
    shutil.copytree(album, tmp_path / "here/music")
    save(tmp_path / "here/music/short.wav", noise(1), RATE)
    save(tmp_path / "here/music/twin.wav", noise(5, seed=9), RATE)
    save(tmp_path / "here/music/twin 2.wav", noise(5, seed=9), RATE)
    segment(tmp_path / "here/music", tmp_path / "here/out", "--store", store)
    digest = read_manifest(tmp_path / "here/out").digest()
    os.rename(tmp_path / "here", tmp_path / "there")
    capsys.readouterr()
    segment(tmp_path / "there/music", tmp_path / "there/out", "--store", store)
    assert "nothing to do, all 9 songs" in capsys.readouterr().out
    # the sources elsewhere: tables are written again, and no song is prepared again
    os.rename(tmp_path / "there/music", tmp_path / "music")
    audio = {name: os.stat(tmp_path / "there/out" / name).st_ino
             for name in files(tmp_path / "there/out") if "audio" in name}  # fmt: skip
    segment(tmp_path / "music", tmp_path / "there/out", "--store", store)
    assert "nothing to do" not in capsys.readouterr().out
    assert audio == {name: os.stat(tmp_path / "there/out" / name).st_ino
                     for name in files(tmp_path / "there/out") if "audio" in name}  # fmt: skip
    assert bool(audio) == (store == "flac")
    manifest = read_manifest(tmp_path / "there/out")
    assert manifest.digest() == digest
    assert rejected(tmp_path / "there/out") == {
        **{"short.wav": "too_short", "twin 2.wav": "duplicate"}
    }
    for path in pd.read_csv(tmp_path / "there/out/rejected.csv")["path"]:
        assert (tmp_path / "there/out" / path).exists()
    if store == "source":
        assert {os.path.dirname(path) for path in manifest.tracks["path"]} == {
            str(tmp_path / "music")
        }


def test_audio_that_was_damaged_is_stored_again_and_other_files_stay(album, tmp_path):
    out = tmp_path / "out"
    segment(album, out)
    whole = (out / "audio/2.flac").read_bytes()
    (out / "audio/2.flac").write_bytes(whole[:-10])
    (out / "audio/notes.txt").write_text("mine")
    segment(album, out)
    assert (out / "audio/2.flac").read_bytes() == whole
    (album / "2.wav").unlink()
    segment(album, out)
    assert not (out / "audio/2.flac").exists()
    assert (out / "audio/notes.txt").read_text() == "mine"


def test_a_journal_of_others_deletes_nothing_outside(album, tmp_path):
    out, precious = tmp_path / "out", tmp_path / "precious.flac"
    precious.write_text("mine")
    segment(album, out)
    line = json.loads((out / JOURNAL).read_text().splitlines()[0])
    line["tracks"][0]["path"] = "../precious.flac"
    with open(out / JOURNAL, "a") as journal:
        journal.write(json.dumps({**line, "key": "another"}) + "\n")
    with pytest.raises(UserError, match="does not lie in"):
        segment(album, out, "--segment-seconds", "2")
    assert precious.read_text() == "mine"


def test_source_store_reads_in_place(album, tmp_path, convert):
    convert(album / "0.wav", album / "other.m4a")
    segment(album, tmp_path / "out", "--store", "source")
    assert not (tmp_path / "out/audio").exists()
    manifest = read_manifest(tmp_path / "out")
    assert manifest.tracks["path"].tolist() == [
        str(album / name) for name in sorted(os.listdir(album))
    ]
    assert set(manifest.tracks["sample_rate"]) == {RATE}
    for row in manifest.tracks.itertuples():
        assert audio.probe(row.path).frames == row.frames
    assert set(manifest.segments.frames) == {4 * RATE}


def test_validation_share(album, tmp_path):
    segment(album, tmp_path / "out", "--valid-fraction", "0.1")
    splits = read_manifest(tmp_path / "out").tracks["split"].tolist()
    assert splits.count("valid") == 2
    assert splits.count("train") == 4
    names = [f"song {number}" for number in range(4000)]
    drawn = draw_validation(names, 0.05)
    assert len(drawn) == pytest.approx(200, abs=60)
    assert drawn & set(names[:2000]) == draw_validation(names[:2000], 0.05)
    assert draw_validation(names[:3], 0.05) == set()
    assert draw_validation(names, 0.0) == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--sample-rate", "0"],
            "--sample-rate 0 must be a whole number of Hz from 1000 to 768000",
        ),
        (["--nj", "-1"], "--nj -1 must be a whole number of processes from 1"),
        (["--valid-fraction", "1"], "--valid-fraction 1 must be a number from 0 to below 1"),
        (["--silence-db", "3"], "--silence-db 3 must be a number of dB from -200 to below 0"),
        (["--hop-seconds", "1.5"], "hop of 1.5 s is not a positive multiple of 1 s"),
        (["--stems", "a,,b"], "--stems a,,b must be different names"),
        (["--stems", "a,mixture"], "--stems: mixture is what"),
    ],
)
def test_impossible_options(album, tmp_path, capsys, options, message):
    base = ["--kind", "unlabelled", "--input", str(album), "--out", str(tmp_path / "out")]
    # 2 where the words alone tell it
    assert run(main, "segment", [*base, *options]) == (
        1 if "mixture" in message or "hop" in message else 2
    )
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_bad_folders(album, tmp_path):
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match="void' holds no song"):
        segment(tmp_path / "void", tmp_path / "out")
    with pytest.raises(UserError, match="gone' is not a folder"):
        segment(tmp_path / "gone", tmp_path / "out")
    with pytest.raises(UserError, match="must not lie in each other"):
        segment(album, album / "out")
    mine = tmp_path / "mine/audio"
    shutil.copytree(album, mine)
    with pytest.raises(UserError, match="mine' holds other files"):
        segment(album, tmp_path / "mine")
    assert len(os.listdir(mine)) == 6
    assert not (tmp_path / "out").exists()


def test_no_usable_song(tmp_path, noise, save):
    save(tmp_path / "in/a.wav", noise(1), RATE)
    save(tmp_path / "in/b.wav", noise(1, 1000), 1000)
    with pytest.raises(UserError, match=r"none of the 2 songs .*low_sample_rate 1, too_short 1"):
        segment(tmp_path / "in", tmp_path / "out")
    assert rejected(tmp_path / "out") == {"a.wav": "too_short", "b.wav": "low_sample_rate"}
    assert not (tmp_path / "out/tracks.csv").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"starts": ""},
        {"starts": [""]},
        {"starts": [1e308]},
        {"starts": [10**400]},
        {"frames": None},
        {"channels": True},
        {"path": 1},
        {"content": []},
        {"dropped": {"a": 1}},
    ],
)
def test_a_line_of_a_journal_that_makes_no_sense_is_done_again(album, tmp_path, change, capsys):
    segment(album, tmp_path / "a")
    tables = (tmp_path / "a/tracks.csv").read_text()
    lines = (tmp_path / "a" / JOURNAL).read_text().splitlines()
    broken = json.loads(lines[0])
    broken["tracks"][0] |= change
    (tmp_path / "a" / JOURNAL).write_text("\n".join([json.dumps(broken), *lines[1:]]) + "\n")
    (tmp_path / "a/.done.json").unlink()
    segment(album, tmp_path / "a")
    assert (tmp_path / "a/tracks.csv").read_text() == tables
