"""Where the stages run their heavy commands: here, or as jobs of a cluster."""

import os
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "egs/own_music/run.sh"
HEAVY = ("segment", "pretrain", "select-channels", "finetune", "separate", "score")


def run(tmp_path, *options):
    """Call the recipe; give its end and the ``mixit-mss`` commands, none of which is carried out."""
    log = tmp_path / "commands.txt"
    selected = tmp_path / "exp/pretrain_small_seed1/selected_4/config.json"
    selected.parent.mkdir(parents=True, exist_ok=True)
    selected.touch()
    stub = "() { printf '%s|' \"$@\" >>" + f"'{log}'; echo >>'{log}'; }}"
    done = subprocess.run(
        [
            RUN,
            *(f"--{name}-dir={tmp_path}" for name in ("work", "unlabelled", "labelled")),
            *options,
        ],
        env={**os.environ, "BASH_FUNC_mixit-mss%%": stub},
        capture_output=True,
        text=True,
    )
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return done, [line.split("|")[:-1] for line in lines]


def test_a_cluster_gets_what_would_run_here(tmp_path):
    done, here = run(tmp_path)
    assert done.returncode == 0
    assert {command[0] for command in here} == {*HEAVY, "make-manifests", "check", "report"}
    options = ["--executor", "slurm", "--partition", "big", "--time", "3-0", "--num-jobs", "5"]
    options += ["--num-nodes", "2", "--ngpu", "4", "--nj", "3", "--slurm-options", "mem=8G qos=x"]
    _, there = run(tmp_path, *options)
    _, here = run(tmp_path, "--ngpu", "4", "--nj", "3")
    own = ["dispatch", "--jobs-folder", f"{tmp_path}/exp/jobs", "--partition", "big"]
    own += ["--time", "3-0", "--num-jobs", "5", "--num-nodes", "2", "--ngpu", "4", "--cpus", "3"]
    own += ["--slurm-options", "mem=8G qos=x", "--"]
    checks = [command for command in there if command[0] == "check"]
    assert len(checks) == 2
    for check in checks:
        assert "--elsewhere" in check and check[-4:] == ["--ngpu", "4", "--num-nodes", "2"]
    there, here = ([c for c in commands if c[0] != "check"] for commands in (there, here))
    assert there == [[*(own if command[0] in HEAVY else []), *command] for command in here]


def test_the_environment_has_no_say(tmp_path, monkeypatch):
    _, wanted = run(tmp_path)
    for name in ("variant", "unlabelled_corpus", "labelled_corpus", "network", "paper_tables"):
        monkeypatch.setenv(name, "1")
    for name in ("stage", "stop_stage", "seed", "init"):
        monkeypatch.setenv(name, "3")
    done, commands = run(tmp_path)
    assert (done.returncode, commands) == (0, wanted)


def test_a_shell_of_a_cluster_is_no_job(tmp_path, monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_JOB_ID", "SLURM_JOB_NAME"):
        monkeypatch.setenv(name, "4")
    log = tmp_path / "environment.txt"
    monkeypatch.setenv("BASH_FUNC_mixit-mss%%", f"() {{ env >>'{log}'; }}")
    options = [f"--{name}-dir={tmp_path}" for name in ("work", "unlabelled", "labelled")]
    subprocess.run([RUN, *options], check=True, capture_output=True)
    assert "PATH=" in log.read_text() and "SLURM_" not in log.read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--num-nodes", "2"], "--num-nodes 2 needs --executor slurm"),
        (["--executor", "lsf"], "--executor must be out of local|slurm, not 'lsf'"),
    ],
)
def test_what_cannot_be(tmp_path, options, sentence):
    done, commands = run(tmp_path, *options)
    assert (done.returncode, commands) == (1, [])
    assert done.stderr.count("\n") == 1 and sentence in done.stderr
