import os
import pickle
import time

import numpy as np
import pandas as pd
import pytest

from mixit_mss.data.manifest import (
    MAX_CLIMB,
    Segments,
    concatenate,
    make_manifest,
    portable_path,
    read_manifest,
    write_manifest,
)
from mixit_mss.errors import UserError


def row(path, song="a song", stem="mixture", split="train", frames=1000, license=""):
    return {
        **{"song": song, "stem": stem, "split": split, "path": str(path), "frames": frames},
        **{"sample_rate": 100, "channels": 2, "license": license},
    }


@pytest.fixture
def folder(tmp_path):
    """Three tracks, five segments, in a recipe's folders."""
    audio = tmp_path / "recipe/data/corpus/audio"
    audio.mkdir(parents=True)
    rows = []
    for number, (song, stem, split) in enumerate(
        [("NA", "drums", "train"), ("007", "bass", "train"), ('x, "y"\u00e9', "drums", "valid")]
    ):
        path = audio / f"{number}.flac"
        path.touch()
        rows.append(row(path, song, stem, split, 1000 + number, "CC BY 4.0"))
    starts = [([0, 500], 500), ([], 500), ([0, 1, 2], 1000)]
    manifest = make_manifest(rows, [(np.array(s, np.int64), frames) for s, frames in starts])
    write_manifest(tmp_path / "recipe/manifests/list", manifest)
    return tmp_path / "recipe"


def same(one, other):
    pd.testing.assert_frame_equal(one.tracks, other.tracks, check_dtype=False)
    for ours, theirs in zip(one.segments, other.segments, strict=True):
        assert ours.tolist() == theirs.tolist()


def test_round_trip(folder):
    manifest = read_manifest(folder / "manifests/list")
    assert manifest.tracks["song"].tolist() == ["NA", "007", 'x, "y"\u00e9']
    assert manifest.tracks["license"].tolist() == 3 * ["CC BY 4.0"]
    assert manifest.segments.track.tolist() == [0, 0, 2, 2, 2]
    assert manifest.segments.start.tolist() == [0, 500, 0, 1, 2]
    assert manifest.offsets.tolist() == [0, 2, 2, 5]
    assert manifest.stems() == ["drums", "bass"]
    assert manifest.hours == pytest.approx((1000 + 1001 + 1002) / 100 / 3600)
    write_manifest(folder / "manifests/again", manifest)
    same(read_manifest(folder / "manifests/again"), manifest)
    for name in ("tracks", "segments"):
        one, other = (folder / f"manifests/{stem}.{name}.csv" for stem in ("list", "again"))
        assert one.read_bytes() == other.read_bytes()


def test_a_recipe_can_be_moved(folder):
    text = (folder / "manifests/list.tracks.csv").read_text(encoding="utf-8")
    assert "../data/corpus/audio/0.flac" in text
    moved = folder.rename(folder.parent / "elsewhere")
    paths = read_manifest(moved / "manifests/list").tracks["path"]
    assert all(path.startswith(str(moved)) for path in paths)


def test_portable_path():
    assert portable_path("/r/data/c/audio/x.flac", "/r/data/c") == "audio/x.flac"
    assert portable_path("/r/downloads/x.flac", "/r/data/c") == "../../downloads/x.flac"
    assert portable_path("/elsewhere/x.flac", "/r/data/c") == "/elsewhere/x.flac"
    assert MAX_CLIMB == 2


def test_select(folder):
    manifest = read_manifest(folder / "manifests/list")
    valid = manifest.select(split="valid")
    assert valid.tracks["track"].tolist() == [0]
    assert valid.segments.track.tolist() == [0, 0, 0]
    assert valid.segments.start.tolist() == [0, 1, 2]
    drums = manifest.select(stem="drums")
    assert drums.segments.track.tolist() == [0, 0, 1, 1, 1]
    assert len(manifest.select(split="valid", stem="bass").tracks) == 0
    assert manifest.segments.track.tolist() == [0, 0, 2, 2, 2]  # untouched
    same(concatenate([manifest.select(split="train"), valid]), manifest)


def test_any_ids_and_any_order_can_be_read(folder):
    tracks = pd.read_csv(folder / "manifests/list.tracks.csv", dtype=str, keep_default_na=False)
    segments = pd.read_csv(folder / "manifests/list.segments.csv")
    expected = read_manifest(folder / "manifests/list")
    ids = {0: 70, 1: 5, 2: 31}
    tracks["track"] = [70, 5, 31]
    segments["track"] = segments["track"].map(ids)
    tracks["more"] = "ignored"
    tracks.to_csv(folder / "manifests/list.tracks.csv", index=False)
    segments = pd.concat([segments.iloc[2:], segments.iloc[:2]])
    segments.to_csv(folder / "manifests/list.segments.csv", index=False)
    same(read_manifest(folder / "manifests/list"), expected)


def spoil(folder, table, change):
    path = folder / f"manifests/list.{table}.csv"
    content = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(content)
    content.to_csv(path, index=False)


def assign(column, index, value):
    return lambda table: table.__setitem__(
        column, [value if i == index else old for i, old in enumerate(table[column])]
    )


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("tracks", lambda t: t.drop(columns="path", inplace=True), "no column 'path'"),
        ("segments", lambda t: t.drop(columns="start", inplace=True), "no column 'start'"),
        ("tracks", assign("frames", 1, "many"), "'frames', line 3: 'many' is no whole number"),
        ("tracks", assign("channels", 2, ""), "'channels', line 4: '' is no whole number"),
        ("tracks", assign("sample_rate", 0, "0"), "'sample_rate', line 2: 0 is too small"),
        ("tracks", assign("track", 2, "0"), "'track', line 4: the id is there twice"),
        ("tracks", assign("split", 1, "dev"), "'split', line 3: 'dev' is not"),
        ("tracks", assign("path", 1, "gone.flac"), "'path', line 3: '.*gone.flac' does not exist"),
        ("tracks", assign("path", 1, ""), "'path', line 3: .* does not exist"),
        ("segments", assign("track", 3, "9"), "'track', line 5: the track table has no such id"),
        ("segments", assign("start", 4, "-1"), "'start', line 6: -1 is negative"),
        ("segments", assign("frames", 0, "0"), "'frames', line 2: 0 is not positive"),
        ("segments", assign("start", 1, "501"), "'frames', line 3: ends after the 1000 samples"),
        ("segments", assign("start", 1, "1.5"), "'start', line 3: '1.5' is no whole number"),
        (
            "segments",
            assign("frames", 1, "9999999999"),
            "'frames', line 3: 9999999999 is too large",
        ),
    ],
)
def test_faults_are_named(folder, table, change, message):
    spoil(folder, table, change)
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(folder / "manifests/list")
    assert f"list.{table}.csv" in str(caught.value)


def test_faults_of_whole_files(folder):
    with pytest.raises(UserError, match=r"none\.tracks\.csv' does not exist"):
        read_manifest(folder / "manifests/none")
    path = folder / "manifests/list.segments.csv"
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"list\.segments\.csv' is empty"):
        read_manifest(folder / "manifests/list")
    path.write_bytes(b"track,start,frames\n1,2\n")
    with pytest.raises(UserError, match="'frames', line 2"):
        read_manifest(folder / "manifests/list")
    path.write_bytes(b"track,start,frames\n\xff\xfe,1,2\n")
    with pytest.raises(UserError, match=r"list\.segments\.csv"):
        read_manifest(folder / "manifests/list")


def test_manifest_without_segments(folder):
    manifest = make_manifest([row(folder / "data/corpus/audio/0.flac")], [([], 1)])
    write_manifest(folder / "manifests/bare", manifest)
    assert len(read_manifest(folder / "manifests/bare").segments.track) == 0
    none = make_manifest([], [])
    write_manifest(folder / "manifests/empty", none)
    assert len(read_manifest(folder / "manifests/empty").tracks) == 0


def test_many_segments_stay_small(tmp_path):
    """A tenth of FMA-full's number: 16 bytes per segment, read in a few seconds."""
    tracks, segments = 10_000, 600_000
    rows = [row(tmp_path / f"{i:06d}.flac", f"{i:06d}", frames=10**6) for i in range(tracks)]
    each = np.arange(segments // tracks, dtype=np.int64) * 1000
    write_manifest(tmp_path / "big", make_manifest(rows, [(each, 2000)] * tracks))
    started = time.process_time()
    manifest = read_manifest(tmp_path / "big", check_files=False)
    assert time.process_time() - started < 5
    assert isinstance(manifest.segments, Segments)
    assert sum(column.nbytes for column in manifest.segments) == 16 * segments
    assert len(pickle.dumps(manifest.segments)) < 16.1 * segments


def test_reading_does_not_follow_links(folder):
    """``data`` is often a link to a larger disk; a relative path goes by the names, not the disks."""
    disk = folder.parent / "disk"
    (folder / "data").rename(disk)
    os.symlink(disk, folder / "data")
    manifest = read_manifest(folder / "manifests/list")
    assert manifest.tracks["path"][0] == str(folder / "data/corpus/audio/0.flac")
    (folder / "downloads").mkdir()
    (folder / "downloads/x.flac").touch()
    listed = make_manifest([row(folder / "downloads/x.flac")], [([0], 10)])
    write_manifest(folder / "data/corpus", listed)
    assert read_manifest(folder / "data/corpus").tracks["path"][0] == str(
        folder / "downloads/x.flac"
    )


def test_a_digest_knows_splits_by_what_can_be_read_of_them(folder):
    manifest = read_manifest(folder / "manifests/list")
    train, valid, whole = manifest.digest("train"), manifest.digest("valid"), manifest.digest()
    assert len({train, valid, whole, manifest.digest("test")}) == 4
    assert manifest.digest("train", "valid", "test") == whole
    os.rename(folder, folder.with_name("moved"))  # known by times: renaming keeps them
    moved = read_manifest(folder.with_name("moved") / "manifests/list")
    assert moved.digest() == whole
    moved.tracks.loc[2, "content"] = "0" * 64  # the validation song's samples
    assert moved.digest("train") == train and moved.digest("valid") != valid
    moved.segments.start[0] += 1
    assert moved.digest("train") != train


def test_content_decides_where_it_is_known(folder):
    manifest = read_manifest(folder / "manifests/list")
    manifest.tracks["content"] = [f"{number}" * 64 for number in range(3)]
    write_manifest(folder / "manifests/known", manifest)
    for name in manifest.tracks["path"]:
        os.utime(name, (1, 1))
    known = read_manifest(folder / "manifests/known")
    assert known.digest() == manifest.digest()
    same(known, manifest)


def test_tables_without_contents_are_read(folder):
    path = folder / "manifests/list.tracks.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="content")
    table.to_csv(path, index=False)
    assert read_manifest(folder / "manifests/list").tracks["content"].tolist() == ["", "", ""]
