"""``mixit-mss diagnose`` as people call it, on tones and a small network."""

import csv
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from tones import make_corpus

from mixit_mss.bin import diagnose
from mixit_mss.bin.main import COMMANDS
from mixit_mss.bin.main import main as door
from mixit_mss.errors import UserError
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import save_model

SIZES = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2, "kernel_size": 2}
AUDIO = {"sample_rate": 8000, "n_fft": 128, "hop": 32, "bands": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = make_corpus(tmp_path_factory.mktemp("tones"))
    save_model(BSLocoformer(5, **SIZES, **AUDIO), folder / "model")
    return folder


def arguments(corpus, out, **changes):
    options = {
        "model": corpus / "model",
        "manifest": corpus / "labelled",
        "split": "valid",
        "chunk-seconds": 0.5,
        "device": "cpu",
        "out": out,
        **changes,
    }
    return [word for key, value in options.items() for word in (f"--{key}", str(value))]


def test_files_words_and_nothing_the_second_time(corpus, tmp_path, capsys):
    out = tmp_path / "deep/diagnosis"
    diagnose.main(arguments(corpus, out))
    words = capsys.readouterr().out
    assert "low" in words and "of 5 outputs sound" in words and "onset correlation" in words
    files = {path.name for path in out.iterdir()}
    assert files == {"diagnosis.json", "chunks.csv", "diagnosis.svg", ".done.json"}
    summary = json.loads((out / "diagnosis.json").read_text())
    assert (summary["stems"], summary["num_outputs"]) == (["low", "high"], 5)
    assert (summary["songs"], summary["chunks"], summary["mixed_chunks"]) == (2, 8, 8)
    assert (summary["split"], summary["chunk_seconds"]) == ("valid", 0.5)
    assert summary["snr"] <= summary["grouped_snr"]
    assert summary["spectral_overlap"] < 0.05  # tones far apart
    rows = list(csv.DictReader((out / "chunks.csv").open()))
    assert len(rows) == 8 and float(rows[1]["start_seconds"]) == 0.5
    mean = sum(float(row["snr:low"]) for row in rows) / 8
    assert mean == pytest.approx(summary["snr_per_stem"]["low"], abs=1e-4)
    picture = (out / "diagnosis.svg").read_bytes()
    assert ET.fromstring(picture).tag.endswith("svg")

    assert door(["diagnose", *arguments(corpus, out)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    diagnose.main(arguments(corpus, out, stems="high,low"))
    assert json.loads((out / "diagnosis.json").read_text())["stems"] == ["high", "low"]
    again = tmp_path / "again"
    diagnose.main(arguments(corpus, again))
    assert (again / "diagnosis.svg").read_bytes() == picture


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"stems": "low,low"}, "must be different names"),
        ({"stems": "mixture,low"}, "names of stems"),
        ({"stems": "low"}, "low alone is no mixture"),
        ({"stems": "low,flute"}, "no stem 'flute'"),
        ({"split": "test"}, "no stems in this split"),
        ({"chunk-seconds": 0}, "--chunk-seconds 0 must be"),
        ({"active-db": "nan"}, "--active-db nan must be"),
        ({"model": "nowhere"}, "nowhere is no model folder"),
        ({"manifest": "nowhere"}, "does not exist"),
    ],
)
def test_mistakes(corpus, tmp_path, changes, what):
    with pytest.raises(UserError, match=what):
        diagnose.main(arguments(corpus, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_it_replaces_nothing_of_others(corpus, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"did not write \('notes\.txt'\)"):
        diagnose.main(arguments(corpus, tmp_path))
    with pytest.raises(UserError, match=r"notes\.txt' is there already and is no folder"):
        diagnose.main(arguments(corpus, tmp_path / "notes.txt"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_help_is_quick():
    assert "diagnose" in COMMANDS
    code = (
        "import sys; from mixit_mss.bin.diagnose import build_parser as b; print(b().format_help())"
    )
    command = [sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "degenerate_share" in said and "--degenerate-db" in said
