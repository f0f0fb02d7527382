"""What a killed process leaves is swept, and nothing that somebody still writes."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mixit_mss import files


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_dead_processes_go_and_the_others_stay(tmp_path):
    with files.atomic_path(tmp_path / "table.csv") as partial:
        partial.write_text("half")
        here = partial.name
        template = here.replace(f".{os.getpid()}-", ".{}-")
        dead, running = dead_process(), os.getppid()
        for process in (dead, running):
            (tmp_path / template.format(process)).write_text("half")
        (tmp_path / f".song.{dead}-{files.HOST}.partial").mkdir()
        (tmp_path / f".song.{dead}-00000000.partial").mkdir()  # of another machine, just now
        old = tmp_path / ".old.1-00000000.partial.ckpt"
        old.write_text("half")
        os.utime(old, (0, 0))
        (tmp_path / f".mine.{dead}.partial.csv").write_text("somebody's")
        files.sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            here,
            template.format(running),
            f".song.{dead}-00000000.partial",
            f".mine.{dead}.partial.csv",
        }
    assert (tmp_path / "table.csv").read_text() == "half"


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    for name in ("x" * 251 + ".csv", "é" * 125 + ".json"):
        files.write_text(tmp_path / name, "content")
        assert (tmp_path / name).read_text() == "content"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(FileExistsError), files.atomic_folder(tmp_path / "a"):
        pass
    with pytest.raises(OSError), files.atomic_folder(tmp_path / "b") as partial:
        (partial / "new").touch()
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "theirs").touch()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["theirs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_two_threads_replace_folders_of_one_folder(tmp_path):
    both = threading.Barrier(2, timeout=20)

    def replace(name):
        (tmp_path / name).mkdir()
        with files.atomic_folder(tmp_path / name, replace=True) as partial:
            (partial / "new").touch()
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(replace, "ab"))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        *("a", "a/new", "b", "b/new")
    ]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/old").touch()
    with pytest.raises(OSError), files.atomic_folder(tmp_path / "a", replace=True) as partial:
        partial.rmdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "old"]


def test_json_keeps_names_that_are_not_utf8(tmp_path):
    files.write_json(tmp_path / "a.json", {"caf\udce9": "é"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"caf\udce9": "é"}


def test_one_thread_at_a_time_writes_a_file_and_one_that_was_interrupted_can_again(tmp_path):
    path = tmp_path / "state.json"
    with ThreadPoolExecutor(1) as other, files.atomic_path(path) as partial:
        partial.write_text("ours")
        with pytest.raises(FileExistsError, match="being written"):
            other.submit(files.write_text, path, "theirs").result()
    assert path.read_text() == "ours"
    abandoned = files.atomic_path(path)  # a signal came before the block began
    abandoned.__enter__()
    files.write_text(path, "at last")
    assert path.read_text() == "at last"
