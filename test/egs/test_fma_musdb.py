"""Every stage of the paper's recipe on miniatures of FMA and MUSDB18-HQ."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from corpus_server import serving, tracks_csv

from mixit_mss.bin.main import main
from mixit_mss.corpora.fma import audio_name
from mixit_mss.corpora.musdb18hq import VALIDATION
from mixit_mss.errors import UserError
from mixit_mss.models import build_model
from mixit_mss.training.config import FinetuneConfig, PretrainConfig, load_config, read_yaml

RUN = Path(__file__).parents[2] / "egs/fma_musdb/run.sh"
RATE = 44100
# number: (split, subset, licence), and what the file is
SONGS = {
    2: (("training", "small", "Attribution"), "-f lavfi -i anoisesrc=d=12:r=44100:a=0.3 -ac 2"),
    5: (("training", "small", ""), "-f lavfi -i sine=300:d=11:r=48000 -ac 2"),
    10: (("validation", "small", "CC0"), "-f lavfi -i sine=500:d=11:r=44100 -ac 2"),
    11: (("validation", "small", ""), "-f lavfi -i sine=600:d=11:r=44100 -ac 2"),
    20: (("test", "small", ""), "-f lavfi -i sine=700:d=11:r=44100 -ac 2"),
    134: (("training", "medium", ""), "-f lavfi -i sine=900:d=11:r=44100 -ac 2"),
    1001: (("training", "small", ""), "-f lavfi -i sine=440:d=11:r=44100 -ac 1"),
    1002: (("training", "small", ""), "-f lavfi -i sine=440:d=11:r=22050 -ac 2"),
    1003: (("training", "small", ""), "-f lavfi -i sine=440:d=4:r=44100 -ac 2"),
    1004: (("training", "small", ""), None),  # empty
    1005: (("training", "small", ""), None),  # broken
    1006: (("training", "small", ""), None),  # the same as 2
    1007: (("training", "small", ""), None),  # not there
}
REASONS = {
    1001: "mono",
    1002: "low_sample_rate",
    1003: "too_short",
    1004: "unreadable",
    1005: "unreadable",
    1006: "duplicate",
    1007: "unreadable",
}
STEMS = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
def fma(tmp_path_factory):
    """fma_metadata/ and fma_large/ with good and bad MP3s; larger subsets of clips will do."""
    root = tmp_path_factory.mktemp("fma")
    (root / "fma_metadata").mkdir()
    facts = {number: about for number, (about, _) in SONGS.items()}
    (root / "fma_metadata/tracks.csv").write_text(tracks_csv(facts))
    places = {number: root / "fma_large" / audio_name(number) for number in SONGS}
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    for number, (_, options) in SONGS.items():
        places[number].parent.mkdir(parents=True, exist_ok=True)
        if options:
            subprocess.run([*ffmpeg, *options.split(), "-b:a", "128k", places[number]], check=True)
    places[1004].touch()
    places[1005].write_bytes(np.random.default_rng(0).bytes(20_000))
    shutil.copy(places[2], places[1006])
    return root


@pytest.fixture(scope="module")
def musdb(tmp_path_factory):
    """All 150 songs by number and name; two of train, one of valid and one of test are music."""
    root = tmp_path_factory.mktemp("musdb")
    long, short = root / "long.wav", root / "short.wav"
    noise = 0.1 * np.random.default_rng(0).standard_normal((7 * RATE, 2))
    soundfile.write(long, noise, RATE)
    soundfile.write(short, noise[: RATE // 10], RATE)
    train = [*VALIDATION, *(f"Band {n:02d} - Song" for n in range(86))]
    test = [f"Test {n:02d} - Song" for n in range(50)]
    music = {VALIDATION[0], "Band 00 - Song", "Band 01 - Song", "Test 00 - Song"}
    for part, songs in (("train", train), ("test", test)):
        for song in songs:
            (root / part / song).mkdir(parents=True)
            for stem in ("mixture", *STEMS):
                source = long if song in music else short
                (root / part / song / f"{stem}.wav").hardlink_to(source)
    return root


def command(fma, musdb, work, *more):
    folders = {"--fma-dir": fma, "--musdb-dir": musdb, "--work-dir": work}
    words = [str(word) for pair in folders.items() for word in pair]
    fixed = ["--fma-subset", "small", "--stop-stage", "2", "--nj", "1"]
    return [str(RUN), *words, *fixed, *more]


@pytest.fixture(scope="module")
def finished(fma, musdb, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    done = subprocess.run(command(fma, musdb, work), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return work, done.stdout


def test_a_corpus_that_is_on_disk_is_looked_over_and_not_fetched(finished):
    work, printed = finished
    assert "11 of 12 tracks of subset small; missing: 001/001007.mp3" in printed
    assert "100 train and 50 test songs" in printed
    assert sorted(path.name for path in (work / "downloads").iterdir()) == [
        "LICENSE_fma.txt",
        "LICENSE_musdb18hq.txt",
    ]


def test_good_songs_of_the_subset_are_kept_in_their_split(finished):
    work, _ = finished
    tracks = pd.read_csv(work / "manifests/fma_small/unlabelled.tracks.csv", dtype={"song": str})
    assert dict(zip(tracks["song"], tracks["split"], strict=True)) == {
        "000002": "train",
        "000005": "train",
        "000010": "valid",
        "000011": "valid",
    }
    assert set(tracks["sample_rate"]) == {RATE} and set(tracks["channels"]) == {2}
    tracks = tracks.set_index("song")
    assert abs(tracks.loc["000005", "frames"] - 11 * RATE) < 0.1 * RATE  # 48 kHz on disk
    assert tracks.loc["000002", "license"] == "Attribution"


def test_every_other_song_is_listed_with_its_reason(finished):
    work, _ = finished
    rejected = pd.read_csv(work / "data/fma_small/rejected.csv")
    whole = rejected[rejected["start_seconds"].isna()]
    reasons = {int(Path(row.path).stem): row.reason for row in whole.itertuples()}
    assert reasons == REASONS


def test_stems_are_kept_by_split(finished):
    work, _ = finished
    tracks = pd.read_csv(work / "manifests/fma_small/labelled.tracks.csv")
    stems = tracks[tracks["stem"] != "mixture"].groupby("split")
    assert stems["song"].nunique().to_dict() == {"test": 50, "train": 2, "valid": 14}
    assert set(tracks.loc[tracks["split"] == "valid", "song"]) == set(VALIDATION)
    segments = pd.read_csv(work / "manifests/fma_small/labelled.segments.csv")
    train = tracks[tracks["split"] == "train"]
    assert set(segments["track"]) == set(train["track"]) and len(train) == 8
    assert set(segments["frames"]) == {6 * RATE}


def test_the_other_stages_with_a_network_in_miniature(fma, musdb, finished, tmp_path):
    """The network reads the stored 44.1 kHz at a rate of its own."""
    steps = "epochs: 1, steps_per_epoch: 1, validate_every_epochs: 1"
    for name in ("pretrain", "finetune", "model_mini"):
        more = "{}" if name == "model_mini" else f"{{run: {{{steps}}}}}"
        base = RUN.parents[2] / f"test/egs/conf/{name}.yaml"
        content = {"base": str(base), **yaml.safe_load(more)}
        (tmp_path / f"{name.replace('mini', 'tiny')}.yaml").write_text(yaml.safe_dump(content))
    work, _ = finished
    network = ("--model", "tiny", "--conf-dir", str(tmp_path), "--init", "mixit")
    log = tmp_path / "commands"
    stub = "() { printf '%q ' \"$@\" >>" + f"'{log}'; echo >>'{log}'; }}"
    # the report names what has scores, so it is asked for again when there are some
    for first, last, wanted in ((3, 5, ""), (6, 6, "s"), (6, 6, "report")):
        argv = [*command(fma, musdb, work), *network, "--stage", str(first)]
        environment = {**os.environ, "BASH_FUNC_mixit-mss%%": stub}
        log.unlink(missing_ok=True)
        subprocess.run([*argv, "--stop-stage", str(last)], env=environment, check=True)
        for line in log.read_text().splitlines():  # here, to import torch once only
            assert not line.startswith(wanted) or main(shlex.split(line)) == 0, line
    experiment = work / "exp/finetune_tiny_fma_small_seed1_mixit_all"
    scores = pd.read_csv(experiment / "scores.csv")
    assert scores["song"].nunique() == 50 and set(scores["stem"]) == set(STEMS)
    results = (work / "RESULTS.md").read_text()
    assert "tiny, MixIT FMA small, then fine-tuned" in results
    assert "ours: not run here" in results  # no size of the paper was


def test_the_stand_ins_configs_differ_from_the_papers_in_size_only():
    conf, kinds = RUN.parent / "conf", {"pretrain": PretrainConfig, "finetune": FinetuneConfig}
    sizes = {"epochs", "steps_per_epoch", "batch_size", "validation_chunks", "num_workers"}
    for name, kind in kinds.items():
        here, there = (
            load_config(folder / f"{name}.yaml", kind).model_dump()
            for folder in (conf / "stand_in", conf)
        )
        differ = {key for key in here["run"] if here["run"][key] != there["run"][key]}
        assert differ <= sizes | {"validate_every_epochs"}
        assert [key for key in here if here[key] != there[key]] == ["schedule", "run"]
    network = read_yaml(conf / "stand_in/model_tiny.yaml")
    assert build_model(**network, num_sources=12).sample_rate == RATE


def test_only_what_needs_pre_training_gets_it(fma, musdb, tmp_path):
    options = ("--stage", "3", "--init", "scratch", "--stop-stage", "4")
    argv = [*command(fma, musdb, tmp_path), *options]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no training starts from MixIT (--init scratch)") == 2


def test_the_stand_in_is_fetched_and_every_fault_found(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(RUN.parent / "local")
    import make_stand_in

    monkeypatch.setattr(make_stand_in, "CLIP_SECONDS", 11)
    noise = 0.1 * np.random.default_rng(0).standard_normal((23 * RATE, 2))
    for number in range(5):
        (tmp_path / "music").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"music/{number}.wav", np.roll(noise, number * RATE), RATE)
    for split in ("train", "valid", "test"):
        for stem in ("mixture", *STEMS):
            path = tmp_path / f"labelled/{split}/song/{stem}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise[:1000], RATE)
    served = tmp_path / "served"
    folders = ["--music", str(tmp_path / "music"), "--labelled", str(tmp_path / "labelled")]
    make_stand_in.main([*folders, "--clips", "2", "--out", str(served)])
    forms = pd.read_csv(served / "expected.csv", keep_default_na=False)
    assert set(forms["form"]) == set(make_stand_in.FORMS)
    assert set(forms["fault"]) == {"", *make_stand_in.FAULTS}
    with serving({path.name: path.read_bytes() for path in served.glob("*.zip")}) as server:
        fetch = ["--base-url", server.url, "--archives", str(served / "archives.csv")]
        for corpus in (["fma", "--subset", "small"], ["musdb18hq"]):
            assert main(["download", *corpus, *fetch, "--out", str(tmp_path / "got")]) == 0
    printed = capsys.readouterr().out
    assert "2 of them missing or not as their checksums say" in printed
    corpus = ["--corpus", "fma", "--fma-subset", "small", "--mono", "reject"]
    folders = ["--input", str(tmp_path / "got"), "--out", str(tmp_path / "data")]
    assert main(["segment", *corpus, *folders]) == 0
    make_stand_in.main(["--out", str(served), "--check", str(tmp_path / "data")])
    assert "as expected" in capsys.readouterr().out
    (tmp_path / "data/rejected.csv").write_text("path,start_seconds,reason,detail\n")
    with pytest.raises(UserError, match="not listed, not"):
        make_stand_in.main(["--out", str(served), "--check", str(tmp_path / "data")])


def test_mono_songs_are_kept_on_request_and_a_larger_subset_has_more(fma, tmp_path):
    rules = ["--mono", "duplicate", "--silence-rule", "release", "--fma-subset", "medium"]
    out = ["--out", str(tmp_path)]
    assert main(["segment", "--corpus", "fma", "--input", str(fma), *rules, *out]) == 0
    kept = pd.read_csv(tmp_path / "tracks.csv")
    assert set(kept["song"]) == {2, 5, 10, 11, 134, 1001}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--corpus fma --input {fma}", "--corpus fma and --fma-subset go together"),
        ("--kind unlabelled --fma-subset small --input {fma}", "go together"),
        ("--corpus fma --fma-subset full --input {fma}", "has no fma_full/"),
        ("--corpus fma --fma-subset small --input {empty}", "has no fma_small/ or fma_medium/"),
        ("--corpus musdb18hq --input {empty}", "train/ has 0 songs, not 100"),
        (
            "--corpus musdb18hq --input {musdb} --stems vocals,piano",
            "--stems piano: MUSDB18-HQ has",
        ),
    ],
)
def test_mistakes_are_one_sentence(fma, musdb, tmp_path, capsys, options, message):
    (tmp_path / "empty").mkdir()
    words = options.format(fma=fma, musdb=musdb, empty=tmp_path / "empty").split()
    assert main(["segment", *words, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
