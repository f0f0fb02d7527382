"""Stages as jobs: which jobs, what is refused, and arrays through submitit's local executor."""

import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import submitit

from mixit_mss.bin import dispatch, score, segment, separate
from mixit_mss.bin.main import main
from mixit_mss.cluster import jobs
from mixit_mss.data.manifest import make_manifest, write_manifest
from mixit_mss.errors import UserError
from mixit_mss.files import HOST
from mixit_mss.models import BSLocoformer
from mixit_mss.models.hub import save_model
from mixit_mss.scoring import songs as scoring
from test.tones import make_corpus, run_finetune, run_pretrain

RATE = 4000


def plan(*words):
    at = words.index("--")
    own = ["--jobs-folder", "jobs", *words[:at]]
    return dispatch.plan(dispatch.build_parser().parse_args([*own, "--", *words[at + 1 :]]))


def test_a_training_is_one_job_of_many_processes():
    shape = ("--num-nodes", "2", "--ngpu", "4", "--cpus", "6", "--partition", "a100")
    commands, options = plan(*shape, "--", "pretrain", "--config", "c.yaml", "--ngpu", "4")
    assert commands == [["pretrain", "--config", "c.yaml", "--ngpu", "4", "--num-nodes", "2"]]
    assert options == {
        **{"nodes": 2, "ntasks_per_node": 4, "gpus_per_node": 4, "cpus_per_task": 6},
        **{"partition": "a100", "time": "24:00:00", "requeue": True},
    }
    _, options = plan(*shape, "--", "finetune", "--device", "cpu")
    assert (options["ntasks_per_node"], options.get("gpus_per_node")) == (4, None)


@pytest.mark.parametrize(
    ("command", "jobs_made", "gpus"),
    [
        (["segment", "--input", "x"], 3, None),
        (["score", "--manifest", "m", "--out", "s.csv"], 3, None),
        (["score", "--references", "x"], 1, None),
        (["separate", "--manifest", "m"], 3, 1),
        (["separate", "a.wav", "--model", "m"], 1, 1),
        (["select-channels", "--model", "m"], 1, 1),
        (["report", "--out", "r"], 1, None),
    ],
)
def test_songs_are_shared_out(command, jobs_made, gpus):
    shape = ("--num-nodes", "5", "--ngpu", "4", "--num-jobs", "3")
    commands, options = plan(*shape, "--", *command)
    assert (options["nodes"], options["ntasks_per_node"]) == (1, 1)
    assert options.get("gpus_per_node") == gpus
    shards = [["--shard", f"{k}/3"] for k in (1, 2, 3)] if jobs_made == 3 else [[]]
    assert commands == [[*command, *shard] for shard in shards]
    assert plan("--num-jobs", "1", "--", *command)[0] == [command]


def test_options_of_the_cluster_are_added_changed_and_taken_away():
    _, options = plan(
        *("--slurm-options", "account=music --mem=0 cpus-per-task=12 gpus-per-node= time=5"),
        *("--", "pretrain"),
    )
    assert options == {
        **{"account": "music", "mem": "0", "cpus_per_task": "12", "time": "5"},
        **{"nodes": 1, "ntasks_per_node": 1, "requeue": True},
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--slurm-options", "account", "--", "segment"], "must be written KEY=VALUE"),
        (["--slurm-options", "nodes=3", "--", "segment"], "nodes cannot be set; it follows"),
        (["--", "sing"], "no command 'sing' after --"),
        (["--", "dispatch"], "no command 'dispatch' after --"),
        (["--num-jobs", "0", "--", "segment"], "--num-jobs 0 must be a whole number from 1"),
    ],
)
def test_what_cannot_be(tmp_path, words, sentence):
    with pytest.raises(UserError, match=sentence):
        dispatch.main(["--jobs-folder", str(tmp_path), *words])


def test_without_slurm_or_submitit(tmp_path, monkeypatch):
    words = ["--jobs-folder", str(tmp_path), "--", "segment"]
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(UserError, match="needs SLURM's sbatch, which is not here"):
        dispatch.main(words)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="needs submitit: pip install submitit"):
        dispatch.main(words)


def test_a_folder_that_the_nodes_do_not_share(tmp_path, monkeypatch, capsys):
    """A job that ended and left no trace where we look."""
    monkeypatch.setattr(jobs, "GRACE_SECONDS", 0)
    monkeypatch.setattr(jobs, "queue_states", lambda: {"7": "FAILED"})
    assert jobs.wait(jobs.Submission(tmp_path, ("7",)), "segment") == {"7": 1}
    assert "all nodes share" in capsys.readouterr().err
    (tmp_path / "7_0_log.out").write_text("something")
    assert jobs.wait(jobs.Submission(tmp_path, ("7",)), "segment") == {"7": 1}
    assert "ended by the cluster (FAILED)" in capsys.readouterr().err


def test_a_silent_cluster_is_waited_for(tmp_path, monkeypatch):
    """Neither no answer nor a job back in the queue is an end."""
    clock = [0.0]
    states = [None, "RUNNING", "PREEMPTED", "PENDING", None, "COMPLETED", None, "RUNNING"]
    answers = [state and {"7": state} for state in states]

    def pause(seconds):
        clock[0] += 100
        if not answers:
            for task, status in enumerate((0, 3)):
                (tmp_path / f"7_{task}.status").write_text(f"{status}\n")

    monkeypatch.setattr(jobs.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(jobs.time, "sleep", pause)
    monkeypatch.setattr(jobs, "queue_states", lambda: answers.pop(0) if answers else None)
    assert jobs.wait(jobs.Submission(tmp_path, ("7",), tasks=2), "x") == {"7": 3}
    assert answers == []


@pytest.fixture
def local_jobs(monkeypatch, tmp_path):
    """Jobs are processes of this machine."""

    def executor(folder):
        return submitit.AutoExecutor(folder, cluster="local")

    monkeypatch.setattr(dispatch, "_executor", executor)
    monkeypatch.setattr(jobs, "queue_states", lambda: None)
    return ["dispatch", "--jobs-folder", str(tmp_path / "jobs"), "--num-jobs", "2", "--"]


def noise(seed, seconds=12):
    return 0.1 * np.random.default_rng(seed).standard_normal((seconds * RATE, 2))


def test_an_array_of_segmentation(local_jobs, tmp_path, monkeypatch, capfd):
    (tmp_path / "songs").mkdir()
    for number in range(5):
        soundfile.write(tmp_path / f"songs/{number}.wav", noise(number), RATE)
    command = ["--kind", "unlabelled", "--input", str(tmp_path / "songs")]
    command += ["--sample-rate", str(RATE)]
    segment.main([*command, "--out", str(tmp_path / "whole")])
    assert main([*local_jobs, "segment", *command, "--out", str(tmp_path / "out")]) == 0
    logs = "".join(path.read_text() for path in (tmp_path / "jobs").glob("*/*_log.out"))
    assert "shard 1/2, 3 songs done" in logs
    assert "shard 2/2, 2 songs done" in logs
    assert "5 of 5 songs kept" in capfd.readouterr().out
    for name in ("tracks.csv", "segments.csv", "rejected.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    monkeypatch.setattr(dispatch, "_submit", None)  # what is done waits in no queue
    assert main([*local_jobs, "segment", *command, "--out", str(tmp_path / "out")]) == 0
    assert "nothing to do, all 5 songs" in capfd.readouterr().out


def test_a_finished_training_waits_in_no_queue(local_jobs, tmp_path, monkeypatch, capfd):
    corpus = make_corpus(tmp_path)
    run_pretrain(corpus)
    run_finetune(corpus, corpus / "tuned", model=str(corpus / "model.yaml"))
    words = ["--manifest", "labelled", "--config", "finetune.yaml", "--out", "tuned"]
    finetune = ["finetune", *words, "--model", "model.yaml"]
    words = ["--manifest", "unlabelled", "--config", "pretrain.yaml", "--out", "exp"]
    pretrain = ["pretrain", *words, "--model", "model.yaml", "--monitor-stems", "labelled"]
    monkeypatch.chdir(corpus)
    monkeypatch.setattr(dispatch, "_submit", None)
    capfd.readouterr()
    for command in (pretrain, finetune):
        assert main([*local_jobs, *command]) == 0
        assert "nothing changed" in capfd.readouterr().out
        assert main([*local_jobs, *command, "--seed", "5"]) == 1  # is another run
        assert "'NoneType' object is not callable" in capfd.readouterr().err


def test_a_job_that_fails_is_shown_and_nothing_is_merged(local_jobs, tmp_path, capfd):
    command = ["segment", "--kind", "unlabelled", "--input", str(tmp_path / "nowhere")]
    with pytest.raises(SystemExit, match="1"):
        main([*local_jobs, *command, "--out", str(tmp_path / "out")])
    said = capfd.readouterr().err
    assert "failed with status 1" in said
    assert "mixit-mss segment: " in said and "nowhere" in said
    assert "2 of 2 jobs failed" in said
    assert "Traceback" not in said


def test_an_array_of_scores(local_jobs, tmp_path, monkeypatch, capfd):
    rows = []
    for number in range(3):
        reference = tmp_path / f"song{number}/vocals.wav"
        estimate = tmp_path / f"estimates/song{number}/vocals.wav"
        for path in (reference, estimate):
            path.parent.mkdir(parents=True)
        wave = noise(number) * (number < 2)  # the last one is silent
        soundfile.write(reference, wave, RATE, subtype="FLOAT")
        soundfile.write(estimate, (0.5 + number / 7) * wave, RATE, subtype="FLOAT")
        row = {"song": f"song{number}", "stem": "vocals", "split": "test", "path": str(reference)}
        shape = {"license": "", "frames": 12 * RATE, "sample_rate": RATE, "channels": 2}
        rows.append(row | shape)
    write_manifest(tmp_path / "m", make_manifest(rows, [(np.zeros(0, np.int64), 1)] * 3, "m"))
    options = ["--manifest", str(tmp_path / "m"), "--estimates", str(tmp_path / "estimates")]
    score.main([*options, "--out", str(tmp_path / "whole.csv")])
    whole = capfd.readouterr().out
    # whatever is scored in this process is wrong: the merge finds all of it done
    monkeypatch.setattr(scoring, "score_song", None)
    out = tmp_path / "exp/scores.csv"
    assert main([*local_jobs, "score", *options, "--out", str(out)]) == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert whole.splitlines()[:-1][-4:] == capfd.readouterr().out.splitlines()[:-1][-4:]
    assert len(os.listdir(tmp_path / "exp/.scores")) == 3  # what is known of each song
    monkeypatch.setattr(dispatch, "_submit", None)  # what is done waits in no queue
    assert main([*local_jobs, "score", *options, "--out", str(out)]) == 0
    assert "nothing changed" in capfd.readouterr().out


def test_an_array_of_separation(local_jobs, tmp_path, monkeypatch, capfd):
    sizes = {"num_blocks": 1, "dim": 8, "ffn_dim": 8, "num_heads": 2, "num_groups": 2}
    stft = {"n_fft": 256, "hop": 64, "bands": 6, "sample_rate": RATE}
    save_model(BSLocoformer(2, stems=["vocals", "rest"], **sizes, **stft), tmp_path / "model")
    rows = []
    for number in range(3):
        path = tmp_path / f"song{number}.wav"
        soundfile.write(path, noise(number, 1), RATE)
        row = {"song": f"song{number}", "stem": "mixture", "split": "test", "path": str(path)}
        shape = {"license": "", "frames": RATE, "sample_rate": RATE, "channels": 2}
        rows.append(row | shape)
    write_manifest(tmp_path / "m", make_manifest(rows, [(np.zeros(0, np.int64), 1)] * 3, "m"))
    options = ["--manifest", str(tmp_path / "m"), "--model", str(tmp_path / "model")]
    # what another machine began may still be at work there; a process of this machine was killed
    foreign = tmp_path / "whole/.song1.9999999-00000000.partial"
    killed = tmp_path / f"whole/.song0.9999999-{HOST}.partial"
    for folder in (foreign, killed):
        folder.mkdir(parents=True)
    separate.main([*options, "--out", str(tmp_path / "whole"), "--shard", "1/2"])
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        *(foreign.name, "song0", "song2")
    ]
    separate.main([*options, "--out", str(tmp_path / "whole")])
    assert "1 separated, 2 unchanged" in capfd.readouterr().out
    assert main([*local_jobs, "separate", *options, "--out", str(tmp_path / "out")]) == 0
    assert "3 unchanged" in capfd.readouterr().out
    for path in (tmp_path / "whole").rglob("*.wav"):
        there = tmp_path / "out" / path.relative_to(tmp_path / "whole")
        # the header of a float WAV has the time at which it was written
        assert np.array_equal(soundfile.read(path)[0], soundfile.read(there)[0])
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 6
    monkeypatch.setattr(dispatch, "_submit", None)  # what is done waits in no queue
    assert main([*local_jobs, "separate", *options, "--out", str(tmp_path / "out")]) == 0


def test_a_share_of_scores_needs_a_table(tmp_path):
    with pytest.raises(UserError, match="--shard needs --manifest"):
        score.main(["--references", "x", "--estimates", "y", "--out", "z.csv", "--shard", "1/2"])


def test_a_signal_waits_for_the_end_of_an_import(tmp_path):
    """torch's libraries abort the process if an exception meets them half loaded."""
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(0.1)\n"
        "print('loaded', flush=True)\n"
    )
    code = "from mixit_mss.cluster import jobs; jobs._install_handlers(); import slow, time; time.sleep(60)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "loaded\n"), done.stderr


def test_a_job_whose_limit_is_too_short_to_start_does_not_come_back_for_ever(
    tmp_path, monkeypatch, capsys
):
    job = SimpleNamespace(job_id="7", global_rank=0, paths=SimpleNamespace(folder=tmp_path))
    clock, requeued = [0.0], []

    def stopped_after(seconds):
        def status_of(main, argv, place):
            clock[0] += seconds
            return 128 + signal.SIGUSR2

        monkeypatch.setattr(jobs, "_status_of", status_of)
        with pytest.raises(SystemExit) as end:
            jobs.run_in_job(None, ("pretrain",), ".")
        return end.value.code

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: job)
    monkeypatch.setattr(jobs.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(jobs, "_requeue", lambda *words: requeued.append(words))
    for name in ("_install_handlers", "_ignore_signals"):
        monkeypatch.setattr(jobs, name, lambda: None)
    soon, late = jobs.SHORT_SECONDS - 1, jobs.SHORT_SECONDS + 1
    for seconds in [soon] * 4 + [late] + [soon] * 4:
        assert stopped_after(seconds) == 0
    assert len(requeued) == 9 and not list(tmp_path.glob("*.status"))
    assert stopped_after(soon) == 128 + signal.SIGUSR2
    assert len(requeued) == 9
    assert (tmp_path / "7_0.status").read_text() == f"{128 + signal.SIGUSR2}\n"
    assert "5 times in a row within 5 minutes of its start" in capsys.readouterr().err
