"""Tables that are not what they should be: one sentence with file, column and line."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pytest

from mixit_mss.corpora.table import listed_songs
from mixit_mss.data.manifest import make_manifest, read_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.report.build import read_votes
from mixit_mss.report.history import read_history
from mixit_mss.scoring.experiments import read_experiment, write_experiment
from mixit_mss.scoring.songs import read_scores
from mixit_mss.tables import Kind, read_large_table, read_table

COLUMNS = {"song": Kind.TEXT, "frames": Kind.WHOLE}
GOOD = {
    "scores.csv": "song,stem,usdr,usdr_per_channel,csdr\na,low,1,2,3\na,high,-1,,nan\n",
    "history.csv": "step,train_loss,val_loss,val_usdr,lr,seconds\n10,-1.5,,,1e-3,x\n20,nan,1,2,0,\n",
    "votes.csv": "channel,low,high,chosen_for\n0,3,0,low\n1,0,2,high\n2,0,0,\n",
    "list.csv": "path,song,split\na.wav,a,\nb.wav,b,train\n",
}
READERS = {
    "scores.csv": read_scores,
    "history.csv": read_history,
    "votes.csv": read_votes,
    "list.csv": listed_songs,
}


def refused(read, *arguments):
    with pytest.raises(UserError) as caught:
        read(*arguments)
    text = str(caught.value)
    assert len(text.splitlines()) == 1 and len(text) < 500
    return text


@pytest.mark.parametrize("read", [read_table, lambda *a: read_large_table(*a, 2**23)])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "' is empty; it needs the columns song, frames"),
        (b"song,length\na,1\n", "' has no column 'frames'; it needs song, frames"),
        (b"song,frames,song\na,1,b\n", "' has the column 'song' twice"),
        (b"song,frames\na,1\nb\n", "', column 'frames', line 3: it is missing"),
        (b"song,frames\na,1\nb,2,3\n", "', line 3: it has 3 cells, and the header 2"),
        (b"song,frames\na,1\n\nb,x\n", "', column 'frames', line 4: 'x' is no whole number"),
        (b"song,frames\na,1.5\n", "', column 'frames', line 2: '1.5' is no whole number"),
        (b"song,frames\na,\n", "', column 'frames', line 2: '' is no whole number"),
        (b"song,frames\na,1e308\n", "', column 'frames', line 2: '1e308' is no whole number"),
        (b"song,frames\na," + b"9" * 5000, "', column 'frames', line 2: '999"),
        ("song,frames\na,\u0664\n".encode(), "', column 'frames', line 2: '\u0664' is no whole"),
        ("song,frames\ncaf\u00e9,1\n".encode("latin-1"), "line 2 is not UTF-8 text"),
        ("song,frames\na,1\n".encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        (b"song,frames\na,1\nb\0,2\n", "line 3 holds NUL characters"),
        (b"song,frames\n" + b"x" * 3_000_000, "line 2 is longer than 1024 KiB"),
        (b'song,frames\n"' + b"x\n" * 200_000 + b'",1\n', "is not CSV (field larger than"),
        (b'song,frames\n"a"b,1\n', "', line 2 is not CSV"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, read, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    text = refused(read, path, COLUMNS)
    assert text.startswith(f"'{path}") and message in text


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path, tmp_path / "pipe", "/dev/zero", tmp_path / "none", "a\0b", "x" * 300):
        assert "cannot be read" in refused(read_table, name, COLUMNS)
    large = tmp_path / "large.csv"
    with open(large, "wb") as file:
        file.write(b"song,frames\n" + b"a,1\n" * 300_000)
        file.truncate(2**31)  # zeros
    assert "more than 1 MiB" in refused(read_large_table, large, COLUMNS, 2**20)
    assert "NUL" in refused(read_table, large, COLUMNS)


def test_good_tables_are_read_as_they_are(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b'\xef\xbb\xbfframes,more,song\r\n7,x,NA\r\n\r\n-1,,"a, ""b""\n"\r\n')
    wanted = pd.DataFrame({"song": ["NA", 'a, "b"\n'], "frames": [7, -1]})
    pd.testing.assert_frame_equal(read_table(path, COLUMNS), wanted)
    pd.testing.assert_frame_equal(read_large_table(path, COLUMNS, 2**20), wanted)
    path.write_text("song,frames\n")
    assert len(read_table(path, COLUMNS)) == len(read_large_table(path, COLUMNS, 2**20)) == 0
    path.write_text("x,y\n1,2\n,nan\n-1e-3,1.25e2")
    table = read_table(path, {"x": Kind.GAPPED, "y": Kind.GAPPED})
    assert table.fillna(0).to_numpy().tolist() == [[1, 2], [0, 0], [-0.001, 125]]


@pytest.mark.parametrize("name", GOOD)
def test_every_table_of_an_experiment(tmp_path, name):
    path, read = tmp_path / name, READERS[name]
    path.write_text(GOOD[name])
    assert len(read(path)) == 2
    header, *lines = GOOD[name].splitlines()
    for content in (
        *("", header, "\n".join(lines), header + "\n" + ",".join("x" * 9) + "\n"),
        *(f"{header}\n{lines[0]},more\n", f"{header},{header}\n{lines[0]},{lines[0]}\n"),
        *(GOOD[name] + text for text in ('"', "\0", "\n" + "," * 40)),
    ):
        path.write_text(content)
        assert name in refused(read, path)
    for encoding in ("utf-16", "utf-32"):
        path.write_text(GOOD[name], encoding=encoding)
        assert name in refused(read, path)
    path.unlink()
    path.mkdir()
    assert name in refused(read, path)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        (name, cell)
        for name in ("scores.csv", "history.csv", "votes.csv")
        for cell in ("one", "inf", "-inf", "1e308", "1_0", "0x10", "\u0664", "1,0")
        if name != "history.csv" or "inf" not in cell  # a training may diverge: see below
    ],
)
def test_a_number_that_cannot_be_is_found(tmp_path, name, cell):
    header, first, last = GOOD[name].splitlines()[:3]
    cells = first.split(",")
    cells[2 if name == "scores.csv" else 1] = cell
    (tmp_path / name).write_text("\n".join((header, last, ",".join(cells))))
    assert "line 3" in refused(READERS[name], tmp_path / name)


def test_a_training_that_diverged_has_gaps(tmp_path):
    (tmp_path / "history.csv").write_text(GOOD["history.csv"].replace("-1.5", "-inf"))
    table = read_history(tmp_path / "history.csv")
    assert table.train_loss.isna().all() and table.val_loss.tolist()[1] == 1


def test_a_perfect_estimate_has_an_infinite_ratio(tmp_path):
    (tmp_path / "scores.csv").write_text(GOOD["scores.csv"].replace(",3\n", ",inf\n"))
    assert read_scores(tmp_path / "scores.csv").csdr[0] == np.inf


@pytest.mark.parametrize(
    ("name", "lines", "words"),
    [
        ("votes.csv", "0,3,0,low\n0,0,2,high\n", "lists a channel twice"),
        ("votes.csv", "0,3,0,low\n1,0,2,\n", "a channel that was chosen for it"),
        ("votes.csv", "0,3,0,low\n1,0,2,other\n", "a channel that was chosen for it"),
        ("votes.csv", "0,-3,0,low\n1,0,2,high\n", "needs votes for every stem"),
        ("scores.csv", "a,low,1,2,3\na,low,1,2,3\n", "two scores of 'low' in the song 'a'"),
        ("scores.csv", "".join(f"a,{n},1,2,3\n" for n in range(300)), "has 300 stems"),
        ("history.csv", ",1,,,,\n", "a step is negative or missing"),
        ("history.csv", "-1,1,,,,\n", "a step is negative or missing"),
    ],
)
def test_what_makes_no_sense_together(tmp_path, name, lines, words):
    (tmp_path / name).write_text(GOOD[name].splitlines()[0] + "\n" + lines)
    assert words in refused(READERS[name], tmp_path / name)


@pytest.mark.parametrize("key", ["label", "order", "parameters", "steps", "seed", "config"])
@pytest.mark.parametrize("value", [[[]], {"a": 1}, True, 10**400, -1, "", "x", 1.5, [1]])
def test_facts_of_an_experiment_are_what_they_should_be(tmp_path, key, value):
    write_experiment(tmp_path, label="a", order=0)
    facts = json.loads((tmp_path / "experiment.json").read_text())
    (tmp_path / "experiment.json").write_text(json.dumps({**facts, key: value}))
    fits = {"label": value == "x", "config": isinstance(value, str)}
    fits |= dict.fromkeys(("order", "seed"), value in (-1, 1.5) and value is not True)
    if fits.get(key):
        assert read_experiment(tmp_path)[key] == value
    else:
        assert f"{key} is " in refused(read_experiment, tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "\0", '{"order": 1e999}', '{"order": NaN}', "[" * 100_000]
)
def test_facts_that_are_no_json(tmp_path, text):
    (tmp_path / "experiment.json").write_text(text)
    assert "experiment.json" in refused(read_experiment, tmp_path)
    for content in (text.encode("utf-16"), b"\xff\xfe\xfa"):
        (tmp_path / "experiment.json").write_bytes(content)
        assert "experiment.json" in refused(read_experiment, tmp_path)


def test_a_manifest_with_names_of_no_song(tmp_path):
    row = {"song": "a", "stem": "mixture", "split": "train", "path": str(tmp_path / "a.wav")}
    row |= {"frames": 10, "sample_rate": 8000, "channels": 1, "license": ""}
    (tmp_path / "a.wav").touch()
    for column in ("song", "stem"):
        table = make_manifest([row, {**row, column: ""}], [(np.array([0]), 5)] * 2)
        write_manifest(tmp_path / "list", table)
        assert f"column '{column}', line 3: it is empty" in refused(
            read_manifest, tmp_path / "list"
        )
