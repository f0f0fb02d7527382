"""Songs and stems of any name go through all stages: found, stored, separated, scored and reported."""

from __future__ import annotations

import os
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
import soundfile

from mixit_mss.bin.main import main
from mixit_mss.data.datasets import UnlabelledMixtures
from mixit_mss.data.manifest import read_manifest
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import save_model
from mixit_mss.names import path_of, path_text, printable, relative_path
from mixit_mss.scoring.songs import read_scores

RATE, SAMPLES = 8000, 12_000
STEMS = ("_low", "<i>high $1 & [x](javascript:y)")
SONGS = (
    *("caf\udce9", "line\nand\rreturn", "Ke$ha - 100% $wag", "100%25", "..two dots", "_first"),
    *("\"quoted\", 'and', commas", "<b>*bold* [x](javascript:alert(1))", "a|b&amp;c`d`", "\\"),
    *(unicodedata.normalize(form, "Beyonc\u00e9") for form in ("NFC", "NFD")),
    "x" * 255,
)


def write(path, *key):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    wave = 0.1 * np.random.default_rng(list(key)).standard_normal((SAMPLES, 2))
    with open(path, "wb") as file:
        soundfile.write(file, wave, RATE, format="WAV")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder in which all stages but the trainings ran."""
    work = tmp_path_factory.mktemp("work")
    for number, song in enumerate(SONGS):
        write(f"{work}/music/{song[:251]}.wav", number, 9)
        for split in ("train", "valid", "test"):
            for i, stem in enumerate(STEMS):
                name = song if split == "test" else f"{song[:249]} {split}"
                write(f"{work}/songs/{split}/{name}/{stem}.wav", number, i, len(split))
    sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
    stft = {"n_fft": 128, "hop": 32, "bands": 4, "sample_rate": RATE}
    save_model(BSLocoformer(2, stems=list(STEMS), **sizes, **stft), work / "model")
    before = os.getcwd()
    os.chdir(work)
    segments = ["--sample-rate", str(RATE), "--segment-seconds", "1", "--hop-seconds", "1"]
    segments += ["--valid-fraction", "0"]
    labelled = ["--kind", "labelled", "--input", "songs", "--stems", ",".join(STEMS)]
    unlabelled = ["--kind", "unlabelled", "--input", "music"]
    stages = (
        ["segment", *labelled, *segments[:4], "--out", "data/labelled"],
        ["segment", *unlabelled, *segments, "--out", "data/unlabelled"],
        ["make-manifests", "--labelled", "data/labelled", "--unlabelled", "data/unlabelled"],
        ["separate", "--manifest", "manifests/labelled", "--model", "model", "--out"],
        ["score", "--manifest", "manifests/labelled", "--estimates", "exp/estimates", "--out"],
        ["report", "exp", "--recipe", STEMS[1]],
    )
    ends = {2: ["--out", "manifests"], 3: ["exp/estimates", "--device", "cpu"]}
    ends[4] = ["exp/scores.csv", "--label", f"_{STEMS[1]}", "--order", "0"]
    try:
        for number, stage in enumerate(stages):
            assert main([*stage, *ends.get(number, [])]) in (None, 0), stage
    finally:
        os.chdir(before)
    return work


def test_every_song_is_kept_and_found_again(work):
    for corpus, count in (("labelled", 6 * len(SONGS)), ("unlabelled", len(SONGS))):
        manifest = read_manifest(work / f"manifests/{corpus}")
        assert len(manifest.tracks) == len(set(manifest.tracks.path)) == count
        (work / f"manifests/{corpus}.tracks.csv").read_text(encoding="utf-8")
        assert len((work / f"data/{corpus}/rejected.csv").read_text().splitlines()) == 1
    songs = read_manifest(work / "manifests/labelled").select(split="test").tracks
    assert set(songs.song) == set(map(printable, SONGS)) and set(songs.stem) == set(STEMS)
    for song, path in zip(songs.song, songs.path, strict=True):
        assert printable(os.path.basename(os.path.dirname(path))) == song


def test_what_is_stored_is_the_song(work):
    tracks = read_manifest(work / "manifests/unlabelled").tracks
    for number, song in enumerate(SONGS):
        (path,) = tracks.path[tracks.song == printable(song[:251])]
        with open(f"{work}/music/{song[:251]}.wav", "rb") as file:
            source, _ = soundfile.read(file)
        assert np.abs(soundfile.read(path)[0] - source).max() < 2 / 2**15, number
    examples = UnlabelledMixtures(read_manifest(work / "manifests/unlabelled"), 0.5)
    assert examples[0].shape == (2, 2, RATE // 2) and len(set(examples.songs_of(0))) == 2


def test_every_song_is_separated_and_scored_inside_its_folder(work):
    for song in SONGS:
        files = set(os.listdir(work / "exp/estimates" / relative_path(song)))
        assert files == {".done.json", *(f"{s.replace('/', '%2F')}.wav" for s in STEMS)}
    scores = read_scores(work / "exp/scores.csv")
    assert set(scores.song) == set(map(printable, SONGS)) and len(scores) == 2 * len(SONGS)
    assert sorted(os.listdir(work)) == sorted(
        [
            "RESULTS.md",
            "data",
            "exp",
            "figures",
            "manifests",
            "model",
            "music",
            "report.html",
            "songs",
        ]
    )


def test_the_report_shows_names_as_text(work):
    for name in ("RESULTS.md", "report.html", "exp/report.html"):
        path = work / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        assert "<i>high" not in text and "<b>*bold*" not in text
        wrong = "href=.javascript" if name.endswith("html") else r"(?<!\\)\]\(javascript"
        assert not re.search(wrong, text)
    assert (work / "figures/spectrograms.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "name", [*SONGS, "%", "%E9", "a%0Ab", "/x/%25/\x7f", "\u2028", "caf\u00e9%C3"]
)
def test_a_path_in_a_table_comes_back_as_it_was(name):
    text = path_text(name)
    assert path_of(text) == name and text == text.encode().decode() and len(text.splitlines()) == 1


def test_paths_that_are_written_alike_are_alike(tmp_path):
    names = [*SONGS, "caf%E9", "100%", "100%2525", "line%0Aand%0Dreturn"]
    assert len({path_text(name) for name in names}) == len(names)
    table = pd.DataFrame({"path": list(map(path_text, names))})
    table.to_csv(tmp_path / "t.csv", index=False)
    assert list(map(path_of, pd.read_csv(tmp_path / "t.csv").path)) == names
