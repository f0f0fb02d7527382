"""Stages on a real SLURM: arrays, two processes of one training, pre-emption, and cancelling.

``setup.sh`` makes a cluster of this one machine; where that cannot be, these tests are skipped.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from tones import edit, make_corpus, run_pretrain

from mixit_mss.bin import segment
from mixit_mss.models.hub import load_model

ROOT = Path(__file__).parents[2]
SETUP = ROOT / "test/slurm/setup.sh"
RATE = 4000


@pytest.fixture(scope="module")
def cluster():
    """The environment in which ``sbatch`` and its like find the cluster."""
    folder = tempfile.mkdtemp(prefix="slurm_test_", dir="/tmp")
    try:
        started = subprocess.run([SETUP, "start", folder], stderr=subprocess.PIPE, text=True)
        if started.returncode == 77:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": path}
    finally:
        subprocess.run([SETUP, "stop", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = make_corpus(tmp_path_factory.mktemp("corpus"))
    edit(folder / "pretrain.yaml", num_workers=1)  # which SLURM's signals reach as well
    shutil.copy(folder / "pretrain.yaml", folder / "short.yaml")
    edit(folder / "short.yaml", epochs=6)
    edit(folder / "pretrain.yaml", epochs=30)  # long enough to be disturbed
    return folder


def dispatch(cluster, corpus, *words):
    """A dispatching process, its output and errors in one stream."""
    own = ["--jobs-folder", str(corpus / "jobs"), "--time", "10"]
    command = [sys.executable, "-m", "mixit_mss.bin.dispatch", *own, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=cluster, cwd=corpus, **pipes)


def training(out, *options, config="pretrain.yaml"):
    files = ("--config", config, "--model", "model.yaml", "--manifest", "unlabelled")
    return ("--", "pretrain", *files, "--out", out, "--device", "cpu", *options)


def read_until(process, sign):
    """What a process prints up to a line with ``sign``, which may be longer in coming than it is."""
    seen = ""
    for line in process.stdout:
        seen += line
        if sign in line:
            return seen
    raise AssertionError(f"never printed {sign!r}:\n{seen}")


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def job_of(said):
    return said.split("job ")[1].split(";")[0]


def logs(corpus, job):
    return "".join(path.read_text() for path in (corpus / "jobs").glob(f"*/{job}_*_log.out"))


def in_queue(cluster):
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
    done = subprocess.run(command, env=cluster, capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (
            ["--partition", "big", "--", "segment"],
            "--partition big: sbatch",
            "this cluster has test",
        ),
        (["--ngpu", "2", "--", "pretrain"], "sbatch refuses", "--slurm-options gpus-per-node="),
        (["--time", "noon", "--", "segment"], "sbatch refuses", "Invalid --time specification"),
    ],
)
def test_what_the_cluster_refuses(cluster, corpus, words, first, last):
    process = dispatch(cluster, corpus, *words)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 1
    assert said.startswith(f"dispatch: {first}")
    assert said.endswith(f"{last}\n") and said.count("\n") == 1


def test_stage_1_of_a_recipe_as_arrays(cluster, tmp_path):
    """``run.sh --executor slurm`` leaves the tables that a plain call of each command leaves."""
    generator = np.random.default_rng(0)
    names = [f"plain/{n}" for n in range(4)]
    names += [f"stems/train/{n}/{stem}" for n in range(3) for stem in ("lead", "beat")]
    for name in names:
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * generator.standard_normal((14 * RATE, 2)), RATE)
    options = {
        **{"work-dir": tmp_path, "unlabelled-dir": tmp_path / "plain", "sample-rate": RATE},
        **{"labelled-dir": tmp_path / "stems", "stems": "lead,beat", "stage": 1, "stop-stage": 1},
        **{"nj": 1, "store": "flac", "executor": "slurm", "partition": "test", "num-jobs": 2},
    }
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [ROOT / "egs/own_music/run.sh", *words]
    done = subprocess.run(command, env=cluster, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    states = in_queue(cluster)
    assert sum("_" in job for job in states) == 4
    assert all(len(list((tmp_path / "exp/jobs").glob(f"*/{job}_0.status"))) == 1 for job in states)
    for kind, source in (("unlabelled", "plain"), ("labelled", "stems")):
        place = ["--input", str(tmp_path / source), "--out", str(tmp_path / "alone" / kind)]
        form = ["--sample-rate", str(RATE), "--store", "flac", "--stems", "lead,beat"]
        segment.main(["--kind", kind, *place, *form])
        for table in ("tracks.csv", "segments.csv", "rejected.csv"):
            ours = (tmp_path / "data" / kind / table).read_bytes()
            assert ours == (tmp_path / "alone" / kind / table).read_bytes()
            assert len(ours) > 30


def test_a_training_is_preempted_left_found_again_and_finished(cluster, corpus):
    """With the weights of a run that nobody disturbed, bit for bit."""
    process = dispatch(cluster, corpus, *training("exp"))
    job = job_of(read_until(process, "logs in"))
    wait_until(lambda: "epoch 1/30" in logs(corpus, job))
    process.send_signal(signal.SIGINT)  # first: the cluster may take a second to pass a signal on
    subprocess.run(["scancel", "--signal=USR2", job], env=cluster, check=True)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert f"job {job} goes on; 'scancel {job}' ends it" in said

    process = dispatch(cluster, corpus, *training("exp"))
    said = read_until(process, "logs in")
    assert f"job {job} is at it since before" in said
    whole = load_model(run_pretrain(corpus, out="whole") / "model").state_dict()
    said = process.communicate(timeout=150)[0]
    assert process.returncode == 0, said + logs(corpus, job)
    log = logs(corpus, job)
    assert f"job {job} goes back into the queue (SIGUSR2)" in log
    assert "going on from" in log
    ours = load_model(corpus / "exp/model").state_dict()
    assert all(torch.equal(ours[name], whole[name]) for name in whole)


def test_two_processes_train_as_one(cluster, corpus):
    options = ("--slurm-options", "cpus-per-task=2", "--ngpu", "2")
    process = dispatch(
        cluster, corpus, *options, *training("two", "--ngpu", "2", config="short.yaml")
    )
    # meanwhile another one is cancelled, and must not come back
    other = dispatch(cluster, corpus, *training("cancelled"))
    job = job_of(read_until(other, "logs in"))
    wait_until(lambda: "epoch 1/30" in logs(corpus, job))
    subprocess.run(["scancel", job], env=cluster, check=True)
    said = other.communicate(timeout=150)[0]
    assert "ended by the cluster (CANCELLED)" in said
    assert other.returncode == 1
    assert in_queue(cluster)[job] == "CANCELLED"
    log = logs(corpus, job)
    assert "does not ask to come back (SIGTERM)" in log, log
    said = process.communicate(timeout=150)[0]
    assert process.returncode == 0, said + logs(corpus, job_of(said))
    assert "exp/model" not in said and "two/model: 12 steps" in said
    shutil.copy(corpus / "short.yaml", corpus / "pretrain.yaml")
    run_pretrain(corpus, out="one")
    columns = ["epoch", "step", "lr", "train_loss", "val_loss"]
    ours, whole = (pd.read_csv(corpus / out / "history.csv")[columns] for out in ("two", "one"))
    pd.testing.assert_frame_equal(ours, whole, rtol=0, atol=1e-3)
