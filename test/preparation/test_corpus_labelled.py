"""Stage 1 on songs with stems, and stage 2, through their commands."""

import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from mixit_mss import audio
from mixit_mss.bin import make_manifests, segment
from mixit_mss.bin.main import run
from mixit_mss.data.manifest import read_manifest
from mixit_mss.errors import UserError
from mixit_mss.preparation.activity import active_segments

RATE, STORED = 8000, 4000
STEMS = ("lead", "beat")


def prepare(source, out, *options):
    command = ["--kind", "labelled", "--input", str(source), "--out", str(out)]
    segment.main([*command, "--stems", ",".join(STEMS), "--sample-rate", str(STORED), *options])


def join(out, *options):
    make_manifests.main(["--out", str(out), *map(str, options)])


def rejected(out, source):
    table = pd.read_csv(out / "rejected.csv", dtype=str, keep_default_na=False)
    whole = table[table.start_seconds == ""]
    paths = [os.path.relpath(os.path.join(out, path), source) for path in whole.path]
    return dict(zip(paths, whole.reason, strict=True))


@pytest.fixture(scope="module")
def band(tmp_path_factory, noise, save, convert):
    """Songs of a band, three of them broken."""
    folder = tmp_path_factory.mktemp("band")
    for number, name in enumerate(("train/one", "train/two", "valid/three", "test/four")):
        gate = np.ones(18 * RATE)
        gate[(2 + number) * RATE : (12 + number) * RATE] = 0
        stems = {"lead": noise(18, seed=number) * gate, "beat": noise(18, seed=9 + number)}
        for stem, waveform in stems.items():
            save(folder / name / f"{stem}.wav", waveform, RATE)
        save(folder / name / "mixture.wav", sum(stems.values()), RATE)
    save(folder / "train/quiet/lead.wav", noise(9) * 0, RATE)
    save(folder / "train/quiet/beat.wav", noise(9), RATE)
    for stem in STEMS:  # no mixture, another format and rate, mono
        source = save(folder / f"x/{stem}.wav", noise(9, 44100, 1), 44100)
        convert(source, folder / f"test/five/{stem}.m4a")
    shutil.rmtree(folder / "x")
    save(folder / "train/no beat/lead.wav", noise(9), RATE)
    save(folder / "test/unequal/lead.wav", noise(9), RATE)
    save(folder / "test/unequal/beat.wav", noise(8), RATE)
    save(folder / "train/longer/lead.wav", noise(9), RATE)
    save(folder / "train/longer/beat.wav", noise(9.001), RATE)
    save(folder / "valid/broken/lead.wav", noise(9), RATE)
    (folder / "valid/broken/beat.wav").write_text("no music")
    for stem in STEMS:
        save(folder / f"train/low/{stem}.wav", noise(9, 2000), 2000)
        save(folder / f"train/short/{stem}.wav", noise(5), RATE)
    return folder


@pytest.fixture(scope="module")
def prepared(band, tmp_path_factory):
    out = tmp_path_factory.mktemp("recipe") / "data/labelled"
    prepare(band, out)
    return out


def test_rejected_songs(band, prepared):
    assert rejected(prepared, band) == {
        "train/no beat": "missing_stem",
        "test/unequal": "stems_differ",
        "train/longer": "stems_differ",
        "valid/broken/beat.wav": "unreadable",
        "train/low/lead.wav": "low_sample_rate",
        "train/short/lead.wav": "too_short",
        "train/quiet/lead.wav": "silent",
    }


def test_tracks(band, prepared):
    tracks = read_manifest(prepared).tracks
    listed = [tuple(row) for row in tracks[["split", "song", "stem"]].itertuples(index=False)]
    assert listed == [
        *(("test", "five", stem) for stem in STEMS),
        *(("test", "four", stem) for stem in ("mixture", *STEMS)),
        *(("train", song, stem) for song in ("one", "quiet", "two") for stem in STEMS),
        *(("valid", "three", stem) for stem in STEMS),
    ]
    for row in tracks.itertuples():
        if row.split == "test":  # as and where they are
            assert row.path.startswith(str(band))
            assert row.sample_rate == (44100 if row.song == "five" else RATE)
        else:
            assert row.path == str(prepared / f"audio/{row.split}/{row.song}/{row.stem}.flac")
            info = soundfile.info(row.path)
            assert (info.samplerate, info.channels, info.frames) == (STORED, 2, row.frames)
            source, _ = audio.read(band / row.split / row.song / f"{row.stem}.wav")
            stored, _ = audio.read(row.path)
            assert np.abs(stored - audio.resample(source, RATE, STORED)).max() < 1e-4


def test_segments_are_where_training_stems_are_active(prepared):
    manifest = read_manifest(prepared)
    for row in manifest.tracks.itertuples():
        starts = manifest.segments.start[manifest.segments.track == row.track].tolist()
        if row.split == "train":
            stored, _ = audio.read(row.path)
            table = active_segments(stored, STORED)
            assert starts == table.starts[table.kept].tolist()
        else:
            assert starts == []
    # lead of song one is silent from 2 to 12 s: of 0, 3, 6, 9, 12 only the last has enough
    one = manifest.tracks[(manifest.tracks.song == "one") & (manifest.tracks.stem == "lead")]
    starts = manifest.segments.start[manifest.segments.track == one.track.item()]
    assert (starts / STORED).tolist() == [12]
    assert set(manifest.segments.frames) == {6 * STORED}
    dropped = pd.read_csv(prepared / "rejected.csv")
    dropped = dropped[dropped.path.str.endswith("one/lead.wav")]
    assert dropped.start_seconds.tolist() == [0, 3, 6, 9]
    assert set(dropped.reason) == {"inactive"}


def test_other_constants(band, tmp_path):
    prepare(band, tmp_path / "a", "--activity-rule", "release")
    assert set(read_manifest(tmp_path / "a").segments.frames) == {8 * STORED}
    prepare(band, tmp_path / "b", "--segment-seconds", "3", "--activity-energy", "mean")
    assert set(read_manifest(tmp_path / "b").segments.frames) == {3 * STORED}
    assert "one" in set(read_manifest(tmp_path / "b").tracks.song)


def test_source_store(band, tmp_path):
    prepare(band, tmp_path / "out", "--store", "source")
    manifest = read_manifest(tmp_path / "out")
    assert all(path.startswith(str(band)) for path in manifest.tracks.path)
    assert not (tmp_path / "out/audio").exists()
    assert set(manifest.segments.frames) == {6 * RATE}


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory, prepared, noise, save):
    songs = tmp_path_factory.mktemp("songs")
    for number in range(4):
        save(songs / f"{number}.wav", noise(11, seed=number), RATE)
    out = prepared.parent / "unlabelled"
    options = ["--kind", "unlabelled", "--input", str(songs), "--out", str(out)]
    segment.main([*options, "--sample-rate", str(STORED)])
    return out


def test_manifests(prepared, unlabelled, capsys):
    out = prepared.parent.parent / "manifests"
    options = (out, "--labelled", prepared, "--unlabelled", unlabelled)
    capsys.readouterr()
    join(*options)
    printed = capsys.readouterr().out
    assert "train lead: 3 tracks, 0.01 h" in printed
    assert "unlabelled: 4 tracks" in printed
    for name, corpus in (("labelled", prepared), ("unlabelled", unlabelled)):
        ours, theirs = read_manifest(out / name), read_manifest(corpus)
        pd.testing.assert_frame_equal(ours.tracks, theirs.tracks)
        for one, other in zip(ours.segments, theirs.segments, strict=True):
            assert one.tolist() == other.tolist()
        assert "../data/" in (out / f"{name}.tracks.csv").read_text()
    join(*options)
    assert "nothing to do" in capsys.readouterr().out
    (out / "labelled.tracks.csv").unlink()
    join(*options)
    assert (out / "labelled.tracks.csv").exists()


def test_several_corpora(prepared, unlabelled, tmp_path):
    again = shutil.copytree(unlabelled, tmp_path / "again")
    join(tmp_path / "out", "--unlabelled", unlabelled, again)
    songs = read_manifest(tmp_path / "out/unlabelled").tracks.song.tolist()
    assert songs == [f"{name}/{number}" for name in ("unlabelled", "again") for number in range(4)]
    assert read_manifest(tmp_path / "out/unlabelled").tracks.track.tolist() == list(range(8))
    with pytest.raises(UserError, match="same name"):
        join(tmp_path / "x", "--unlabelled", unlabelled, unlabelled)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "audio/0.flac").unlink(), r"'path', line 2: '.*0\.flac' does not exist"),
        (lambda f: (f / "audio/1.flac").write_text("x"), r"1\.flac' cannot be decoded"),
        (
            lambda f: audio.write(f / "audio/2.flac", np.zeros((2, 9), np.float32), STORED),
            r"2\.flac' has 9 samples, 2 channels at 4000 Hz, but .*lists 44000",
        ),
        (lambda f: (f / "segments.csv").unlink(), r"segments\.csv' does not exist"),
        (lambda f: (f / "tracks.csv").write_text("track,song\n"), "no column 'stem'"),
    ],
)
def test_faults_stop_stage_2(unlabelled, tmp_path, capsys, spoil, message):
    corpus = shutil.copytree(unlabelled, tmp_path / "spoiled")
    spoil(corpus)
    options = ["--unlabelled", str(corpus), "--out", str(tmp_path / "out")]
    assert run(make_manifests.main, "make-manifests", options) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_songs_in_two_splits(band, tmp_path):
    source = tmp_path / "in"
    for split in ("train", "valid"):
        shutil.copytree(band / "train/one", source / split / "one")
    prepare(source, tmp_path / "out")
    with pytest.raises(UserError, match=r"song 'one' .* is in both train and valid"):
        join(tmp_path / "manifests", "--labelled", tmp_path / "out")


def test_wrong_folders(prepared, unlabelled, tmp_path):
    with pytest.raises(UserError, match="no corpus was named"):
        join(tmp_path / "out")
    with pytest.raises(UserError, match=r"gone' is not a folder; run stage 1"):
        join(tmp_path / "out", "--unlabelled", tmp_path / "gone")
    with pytest.raises(UserError, match="is no unlabelled corpus"):
        join(tmp_path / "out", "--unlabelled", prepared)
    with pytest.raises(UserError, match="is no labelled corpus"):
        join(tmp_path / "out", "--labelled", unlabelled)


def test_what_is_in_no_song_is_in_the_table_of_the_rejected(band, tmp_path, noise, save, capsys):
    source = tmp_path / "band"
    shutil.copytree(band / "train/one", source / "train/one")
    save(source / "train/one/guitar.wav", noise(1), RATE)
    save(source / "train/.two/lead.wav", noise(1), RATE)
    prepare(source, tmp_path / "out")
    assert rejected(tmp_path / "out", source) == {
        "train/one/guitar.wav": "undeclared_stem",
        "train/one/mixture.wav": "undeclared_stem",
        "train/.two/lead.wav": "hidden",
    }
    said = capsys.readouterr().out
    assert "rejected files: hidden 1, undeclared_stem 2" in said
    prepare(source, tmp_path / "out")
    assert "nothing to do" in capsys.readouterr().out
    os.unlink(source / "train/one/guitar.wav")
    prepare(source, tmp_path / "out")
    assert rejected(tmp_path / "out", source) == {"train/.two/lead.wav": "hidden"}


def test_a_mono_stem_among_stereo_ones_of_a_test_song(tmp_path, noise, save):
    for name, channels in (("alike", 2), ("mono", 1)):
        save(tmp_path / f"band/test/{name}/lead.wav", noise(3), RATE)
        save(tmp_path / f"band/test/{name}/beat.wav", noise(3, channels=channels), RATE)
    prepare(tmp_path / "band", tmp_path / "out")
    assert rejected(tmp_path / "out", tmp_path / "band") == {"test/mono": "stems_differ"}
    table = pd.read_csv(tmp_path / "out/rejected.csv")
    assert table.detail[0] == "lead 2 channels, beat 1 channels"


def test_mixtures_that_are_not_the_sum_of_their_stems(tmp_path, noise, save, capsys):
    """A rest of a tenth of the mixture's amplitude is 20 dB below it."""
    lead, beat, more = (noise(9, seed=seed) for seed in range(3))
    rest = more * np.sqrt(np.square(lead + beat).sum() / np.square(more).sum())
    songs = {"exact": 0.0, "near": 0.01, "far": 0.2, "shifted": 0.0}
    for name, gain in songs.items():
        mixture = lead + beat + gain * rest
        if name == "shifted":
            mixture = np.roll(mixture, 100, axis=1)
        for stem, wave in (("lead", lead), ("beat", beat), ("mixture", mixture)):
            save(tmp_path / f"band/test/{name}/{stem}.wav", wave, RATE, subtype="FLOAT")
    prepare(tmp_path / "band", tmp_path / "out")
    first = capsys.readouterr().out
    prepare(tmp_path / "band", tmp_path / "out")
    again = capsys.readouterr().out
    assert "nothing to do" in again
    for said in (first, again):
        assert "4 of 4 songs kept" in said
        (note,) = [line for line in said.splitlines() if "note: the mixture" in line]
        far = 20 * np.log10(np.sqrt(1.04 + 0.4 * corr(lead + beat, rest)) / 0.2)
        assert f"'far' {far:.1f} dB" in note and "'shifted' -3.0 dB" in note
        assert "'near'" not in note and "'exact'" not in note
        assert " to 120.0 dB" in said


def test_what_later_stages_will_miss_is_noted(band, tmp_path, noise, save, capsys):
    shutil.copytree(band / "train/one", tmp_path / "band/train/one")
    save(tmp_path / "band/train/one/beat.wav", 0 * noise(18), RATE)
    prepare(tmp_path / "band", tmp_path / "out")
    first = capsys.readouterr().out
    join(tmp_path / "lists", "--labelled", tmp_path / "out")
    for said in (first, capsys.readouterr().out):
        notes = [line for line in said.splitlines() if "note: " in line]
        assert len(notes) == 3
        assert "songs in split 'valid': 0;" in notes[0] and "in split 'test': 0;" in notes[1]
        assert notes[2] == "  note: no segment of beat in any training song"


def corr(one, other):
    return float((one * other).sum() / np.sqrt(np.square(one).sum() * np.square(other).sum()))
