"""The benchmarks of the data, at a size at which their figures mean nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_mss.data.datasets import UnlabelledMixtures
from mixit_mss.data.manifest import read_manifest

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import loading, manifest, segmentation


@pytest.fixture(scope="module")
def songs(tmp_path_factory, noise, save):
    folder = tmp_path_factory.mktemp("songs")
    for number in range(3):
        save(folder / f"{number}.flac", noise(6, 44100, seed=number), 44100)
    return folder


def test_manifest_tables(tmp_path):
    manifest.write_tables(tmp_path / "songs", 50, 1000)
    songs = read_manifest(tmp_path / "songs", check_files=False)
    assert len(songs.tracks) == 50
    assert len(songs.segments.track) == 1000
    examples = UnlabelledMixtures(songs, manifest.CHUNK_SECONDS)
    drawn = [manifest.draw(examples, index) for index in range(2000)]
    length, room = manifest.CHUNK_SECONDS * manifest.RATE, songs.tracks.set_index("path")["frames"]
    assert all(0 <= start <= room[path] - length for crops in drawn for path, start in crops)
    assert len({path for crops in drawn for path, _ in crops}) == 50
    assert all(first[0] != second[0] for first, second in drawn)
    seconds, size, peak = manifest.read_alone(tmp_path / "songs")
    assert seconds > 0
    assert peak >= size


def test_all_readers_give_the_same_crop(songs, tmp_path):
    loading.make_files(tmp_path, songs, 2, 8.0)
    for suffix in ("wav", "flac"):
        readers = loading.readers(tmp_path, suffix, 2.0)
        assert set(readers) == {"ours", "soundfile alone", "asteroid"}
        for number in range(3):
            ours = readers["ours"](number)
            assert ours.shape == (2, 2 * loading.RATE)
            assert np.array_equal(ours, readers["soundfile alone"](number).T)
        mixture, sources = readers["asteroid"](0)
        assert mixture.shape == ours.shape
        assert list(sources) == ["mixture"]
    rows = list(loading.table_rows(tmp_path, 2.0, 2))
    assert [row[0] for row in rows] == ["flac", "wav", "mp3"]


def test_segmentation(songs, tmp_path):
    options = segmentation.build_parser().parse_args(
        ["--songs", str(songs), "--join", "2", "--formats", "wav", "--repeats", "1", "--nj", "1"]
    )
    ((suffix, minutes, *_),) = segmentation.compare(options, tmp_path)
    assert (suffix, minutes) == ("wav", "0.3")
    ours, theirs = (sorted((tmp_path / name).rglob("*.flac")) for name in ("ours", "theirs"))
    assert len(theirs) == 2
    assert [path.name for path in ours] == ["0000.flac"]  # the other is shorter than a segment
    samples = [soundfile.read(path, dtype="int16")[0] for path in (ours[0], theirs[0])]
    assert np.array_equal(*samples)
