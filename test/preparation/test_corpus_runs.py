"""Stage 1 when it is killed, and when a song is long."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from mixit_mss.bin.segment import main
from mixit_mss.preparation.journal import JOURNAL

RATE = 8000


def files(folder):
    return sorted(
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_and_run_again(tmp_path, noise, save, processes):
    songs, out = tmp_path / "songs", tmp_path / "out"
    for number in range(16):
        save(songs / f"{number:02d}.wav", noise(60, seed=number), RATE)
    options = ["--input", str(songs), "--out", str(out), "--sample-rate", "4000"]
    command = [sys.executable, "-m", "mixit_mss.bin.segment", "--kind", "unlabelled", *options]
    started = subprocess.Popen([*command, "--nj", str(processes)], start_new_session=True)
    journal, end = out / JOURNAL, time.monotonic() + 60
    while not journal.exists() or journal.read_text().count("\n") < 2:
        assert started.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert not (out / "tracks.csv").exists()
    with open(journal, "a") as file:
        file.write('{"key": "half a li')
    lines = journal.read_text().count("\n")
    before = {name: os.stat(out / name).st_ino for name in files(out) if name.endswith("flac")}
    main(["--kind", "unlabelled", *options])
    kept = [name for name, inode in before.items() if os.path.exists(out / name)
            and os.stat(out / name).st_ino == inode]  # fmt: skip
    assert len(kept) >= lines >= 2
    options[3] = str(tmp_path / "whole")
    main(["--kind", "unlabelled", *options])
    for name in ("tracks.csv", "segments.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [n for n in files(out) if n.endswith(("flac", "csv", "partial"))] == [
        n for n in files(tmp_path / "whole") if n.endswith(("flac", "csv"))
    ]


def test_memory_does_not_grow_with_the_song(tmp_path):
    """An hour of stereo at 8 kHz is 220 MiB as floats, a minute 4."""
    rows = np.random.default_rng(0).integers(-3000, 3000, (60 * RATE, 2), dtype=np.int16)
    for name, minutes in (("short", 1), ("long", 60)):
        (tmp_path / name).mkdir()
        with soundfile.SoundFile(tmp_path / name / "song.wav", "w", RATE, 2) as file:
            for _ in range(minutes):
                file.write(rows)
    program = (
        "import resource, sys; from mixit_mss.bin.segment import main; main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = {}
    for name in ("short", "long"):
        options = ["--input", str(tmp_path / name), "--out", str(tmp_path / f"out {name}")]
        options += ["--sample-rate", str(RATE)]
        done = subprocess.run([sys.executable, "-c", program, "--kind", "unlabelled", *options],
                              capture_output=True, text=True, check=True)  # fmt: skip
        peaks[name] = int(done.stdout.split()[-1]) / 1024
    assert peaks["long"] - peaks["short"] < 20
    with soundfile.SoundFile(tmp_path / "out long/audio/song.flac") as stored:
        assert stored.frames == 3600 * RATE
