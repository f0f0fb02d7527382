"""Shares of songs done apart: together they are the whole, byte for byte."""

import os

import pytest

from mixit_mss.bin import segment
from mixit_mss.errors import UserError
from mixit_mss.parallel import Shard, parse_shard
from mixit_mss.preparation import corpus

RATE = 4000
TABLES = ("tracks.csv", "segments.csv", "rejected.csv")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_shares_are_all_and_none_twice(count):
    items = list("abcdefg")
    shares = [Shard(number, count).of(items) for number in range(1, count + 1)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_what_is_no_share(text):
    with pytest.raises(UserError, match="write it as 3/8"):
        parse_shard(text)


@pytest.fixture
def songs(tmp_path, noise, save):
    """Seven songs: two of them the same, one silent, one not audio."""
    folder = tmp_path / "songs"
    for number in range(5):
        save(folder / f"{number}.wav", noise(15 + 5 * number, RATE, seed=number % 4), RATE)
    save(folder / "3 again.wav", noise(30, RATE, seed=3), RATE)
    save(folder / "9 silent.wav", noise(20, RATE, level=0), RATE)
    (folder / "5.wav").write_text("no audio")
    return folder


def run(songs, out, *options):
    command = ["--kind", "unlabelled", "--input", str(songs), "--sample-rate", str(RATE)]
    segment.main([*command, "--out", str(out), *options])


def test_shards_and_a_merge_make_the_tables_of_one_run(songs, tmp_path, monkeypatch, capsys):
    run(songs, tmp_path / "whole")
    out = tmp_path / "parts"
    for share in ("2/3", "1/3", "3/3"):
        run(songs, out, "--shard", share)
        assert f"shard {share}" in capsys.readouterr().out
        assert not (out / "tracks.csv").exists()
    journals = sorted(out.glob(".journal.?-of-3.jsonl"))
    assert len(journals) == 3
    assert sum(path.read_text().count("\n") for path in journals) == 8
    # nothing is left to do at the merge
    monkeypatch.setattr(corpus, "prepare_song", None)
    run(songs, out)
    assert not list(out.glob(".journal.?-of-3.jsonl"))
    for name in TABLES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    stored = [sorted(os.listdir(folder / "audio")) for folder in (out, tmp_path / "whole")]
    assert stored[0] == stored[1]
    run(songs, out)
    assert "nothing to do" in capsys.readouterr().out


def test_a_killed_shard_goes_on_and_a_missing_one_is_made_up_for(songs, tmp_path):
    run(songs, tmp_path / "whole")
    out = tmp_path / "parts"
    run(songs, out, "--shard", "1/2")
    journal = out / ".journal.1-of-2.jsonl"
    first, second, *_ = journal.read_text().splitlines()
    journal.write_text(f"{first}\n{second[:30]}")
    before = {path.name: path.stat().st_ino for path in (out / "audio").iterdir()}
    run(songs, out, "--shard", "1/2")
    after = {path.name: path.stat().st_ino for path in (out / "audio").iterdir()}
    assert before.keys() == after.keys()
    assert sum(before[name] == after[name] for name in before) == 1
    run(songs, out)
    for name in TABLES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
