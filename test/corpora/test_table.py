"""Songs listed in a table, through stage 1."""

import os

import pandas as pd
import pytest

from mixit_mss.bin.segment import main
from mixit_mss.corpora import Record
from mixit_mss.corpora.table import listed_songs
from mixit_mss.data.manifest import read_manifest
from mixit_mss.errors import UserError
from mixit_mss.preparation import song as preparation
from mixit_mss.preparation.corpus import build_corpus, draw_validation
from mixit_mss.preparation.song import UnlabelledSettings

RATE = 8000
SETTINGS = UnlabelledSettings(sample_rate=RATE, segment_seconds=4, hop_seconds=2)


def listed(path, text):
    path.write_text(text, encoding="utf-8")
    return listed_songs(path)


def test_columns(tmp_path):
    text = (
        "song,path,note,license,split\n"
        '7,a/x.mp3,,"CC BY, 4.0",train\n\n'
        "caf\u00e9,../y.flac,hm,,\n"
        "last,/z.wav\n"
    )
    assert listed(tmp_path / "list.csv", text) == [
        Record(str(tmp_path / "a/x.mp3"), "7", "mixture", "train", "CC BY, 4.0"),
        Record(str(tmp_path.parent / "y.flac"), "caf\u00e9", "mixture"),
        Record("/z.wav", "last", "mixture"),
    ]
    stems = listed(tmp_path / "stems.csv", "path,song,stem\na.wav,s,drums\nb.wav,s,\n")
    assert [record.stem for record in stems] == ["drums", "mixture"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.csv' is empty; it needs the columns path, song"),
        ("path,name\na,b\n", "list.csv' has no column 'song'"),
        ("path,song\n", "list.csv' lists no song"),
        ("path,song\na,b\n,c\n", "list.csv', line 3: column 'path' is empty"),
        ("path,song,split\na,b,training\n", "list.csv', line 2: split 'training' is not train"),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        listed(tmp_path / "list.csv", text)


def test_no_table(tmp_path):
    with pytest.raises(UserError, match=r"gone\.csv' cannot be read"):
        listed_songs(tmp_path / "gone.csv")
    (tmp_path / "binary.csv").write_bytes(b"path,song\n\xff\xfe,b\n")
    with pytest.raises(UserError, match=r"binary\.csv' cannot be read"):
        listed_songs(tmp_path / "binary.csv")


@pytest.fixture
def songs(tmp_path, noise, save):
    """Four files, and records of them and of one that is missing."""
    for number in range(4):
        save(tmp_path / f"music/{number}.wav", noise(5, seed=number), RATE)
    splits = ("train", "train", "valid", "test", "train")
    return [
        Record(str(tmp_path / f"music/{n}.wav"), f"{n:06d}", "mixture", split, f"licence {n}")
        for n, split in enumerate(splits)
    ]


def test_only_what_is_listed(songs, tmp_path, capsys, noise, save):
    save(tmp_path / "music/unlisted.wav", noise(5, seed=9), RATE)
    pd.DataFrame(songs).to_csv(tmp_path / "songs.csv", index=False)
    options = ["--kind", "unlabelled", "--input", str(tmp_path / "songs.csv")]
    options += ["--sample-rate", str(RATE), "--segment-seconds", "4"]
    main([*options, "--out", str(tmp_path / "out")])
    tracks = read_manifest(tmp_path / "out").tracks
    assert tracks[["song", "split", "license"]].to_numpy().tolist() == [
        ["000003", "test", "licence 3"],
        ["000000", "train", "licence 0"],
        ["000001", "train", "licence 1"],
        ["000002", "valid", "licence 2"],
    ]
    printed = capsys.readouterr().out
    assert "4 of 5 songs kept" in printed
    assert "rejected files: unreadable 1" in printed
    # a second run has nothing to do, and gives the same summary
    main([*options, "--out", str(tmp_path / "out")])
    again = capsys.readouterr().out
    assert "nothing to do" in again
    assert again.endswith(printed)


def test_other_split_or_licence_reads_no_audio_again(songs, tmp_path, monkeypatch):
    build_corpus(songs, SETTINGS, tmp_path / "out")
    monkeypatch.setattr(preparation, "_prepare_mixture", None)
    changed = [
        Record(song.path, song.song, song.stem, "train", song.license + "!") for song in songs
    ]
    build_corpus(changed, SETTINGS, tmp_path / "out")
    tracks = read_manifest(tmp_path / "out").tracks
    assert set(tracks["split"]) == {"train"}
    assert tracks["license"].tolist() == [f"licence {n}!" for n in range(4)]


def test_songs_that_would_overwrite_each_other(songs, tmp_path):
    twice = Record(songs[1].path, songs[0].song, "mixture", "valid")
    with pytest.raises(UserError, match=r"0\.wav' and '.*1\.wav' are both listed as song '000000'"):
        build_corpus([*songs, twice], SETTINGS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_songs_in_the_folder_that_is_written(songs, tmp_path):
    with pytest.raises(UserError, match=r"music/\d\.wav' lies in"):
        build_corpus(songs, SETTINGS, tmp_path / "music")
    assert len(os.listdir(tmp_path / "music")) == 4


def test_an_unforeseen_fault_costs_one_song(songs, tmp_path, monkeypatch):
    check = preparation._check_format

    def fault(blocks, source, settings):
        check(blocks, source, settings)
        if source.endswith("1.wav"):
            raise ZeroDivisionError("planted\nfault")

    monkeypatch.setattr(preparation, "_check_format", fault)
    assert "failed 1" in build_corpus(songs, SETTINGS, tmp_path / "out")
    rejected = pd.read_csv(tmp_path / "out/rejected.csv").set_index("reason")
    assert rejected.detail["failed"] == "ZeroDivisionError: planted"
    assert len(read_manifest(tmp_path / "out").tracks) == 3


def test_splits_of_songs_with_stems_are_drawn(tmp_path, noise, save, capsys):
    lines = ["path,song,stem"]
    for number in range(7):
        for stem in ("low", "high"):
            save(tmp_path / f"{number}{stem}.wav", noise(7, seed=number), RATE)
            lines.append(f"{number}{stem}.wav,song {number},{stem}")
    (tmp_path / "songs.csv").write_text("\n".join(lines))
    options = ["--kind", "labelled", "--input", f"{tmp_path}/songs.csv", "--stems", "low,high"]
    main([*options, "--sample-rate", str(RATE), "--out", f"{tmp_path}/out"])
    manifest = read_manifest(tmp_path / "out")
    by_song = manifest.tracks.groupby("song")["split"]
    assert (by_song.nunique() == 1).all()
    held_out = draw_validation({f"song {number}" for number in range(7)}, 0.05)
    assert len(held_out) == 2
    assert set(manifest.select(split="valid").tracks["song"]) == held_out
    assert len(manifest.select(split="train").segments.track) == 10
    main([*options, "--sample-rate", str(RATE), "--out", f"{tmp_path}/out"])
    assert "nothing to do" in capsys.readouterr().out
