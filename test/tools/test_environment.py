"""tools/setup_env.sh and tools/check_env.py, in a copy of the repository with a Python that installs nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `-m venv FOLDER` makes a .venv with this very script as its Python; `-m pip install` is only noted, and
# does what $PIP_DOES says; everything else is done by the real Python, which takes this for its own path.
STUB = """#!/bin/bash
case "$1 $2 $4" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo venv >>"{calls}" ;;
  "-m pip install") echo "${{*:4}}" >>"{calls}"; eval "${{PIP_DOES:-true}}" ;;
  "-m pip "*) ;;
  -c*) exec "{python}" -c "import sys; sys._base_executable = '$0'; {before}
$2" ;;
  *) exec "{python}" "$@" ;;
esac
"""
SHELL_TOOLS = ("bash", "cat", "cp", "cut", "dirname", "find", "id", "mkdir", "mktemp", "mv", "rm")
SHELL_TOOLS += ("sed", "sleep", "tail")
PROGRAMS = ("cc", "ffmpeg", "ffprobe", "fluidsynth")


@pytest.fixture
def copy(tmp_path):
    """A copy of what setup_env.sh reads, a PATH of its own, and a function that runs it there."""
    return Copy(tmp_path)


class Copy:
    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.calls_file = folder / "root", folder / "bin", folder / "calls"
        self.bin.mkdir()
        shutil.copytree(ROOT / "tools", self.root / "tools")
        for name in ("setup.cfg", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root)
        for tool in SHELL_TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.python("python3")
        for name in PROGRAMS:
            self.program(name)
        font = folder / "font.sf2"
        font.touch()
        self.environment = {"PATH": str(self.bin), "HOME": str(folder), "SOUND_FONT": str(font)}
        self.environment["CC"] = "cc"

    def python(self, name: str, before: str = "") -> None:
        """Put a stub of Python on the PATH of the copy, which first does what ``before`` says."""
        real = getattr(sys, "_base_executable", sys.executable)
        self.program(name, STUB.format(calls=self.calls_file, python=real, before=before))

    def program(self, name: str, text: str = "#!/bin/bash\n") -> None:
        """Put an executable on the PATH of the copy."""
        path = self.bin / name
        path.unlink(missing_ok=True)  # or one would write through a link to the system's program
        path.write_text(text)
        path.chmod(0o755)

    def start(self, **environment: str) -> subprocess.Popen:
        """Start setup_env.sh with nothing in the environment but what a test says."""
        return subprocess.Popen(
            [shutil.which("bash"), "tools/setup_env.sh"],
            cwd=self.root,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def setup(self, status: int = 0, **environment: str) -> str:
        """Run setup_env.sh to its end, and return what it printed."""
        process = self.start(**environment)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == status, output
        return output

    def calls(self) -> list[str]:
        """What was asked of venv and pip since the last time this was asked."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return lines

    def wait_for(self, text: str) -> None:
        """Wait until a call with this text was noted."""
        for _ in range(600):
            if self.calls_file.exists() and text in self.calls_file.read_text():
                return
            time.sleep(0.05)
        raise AssertionError(f"no call with {text}")


INSTALL = "-c tools/constraints.txt --build-constraint tools/constraints.txt -e .[band,dev]"


def test_a_second_call_has_nothing_to_do(copy):
    assert "done in" in copy.setup()
    calls = copy.calls()
    assert calls[0] == "venv"
    assert calls[-1] == f"install {INSTALL}"
    assert copy.setup() == "setup_env: up to date\n"
    assert copy.calls() == []


@pytest.mark.parametrize("file", ["tools/constraints.txt", "setup.cfg", "pyproject.toml"])
def test_a_change_of_what_is_wanted_updates_in_place(copy, file):
    copy.setup()
    copy.calls()
    with (copy.root / file).open("a") as changed:
        changed.write("# changed\n")
    copy.setup()
    calls = copy.calls()
    assert "venv" not in calls
    assert calls[-1] == f"install {INSTALL}"


def test_what_was_killed_is_made_anew(copy):
    process = copy.start(PIP_DOES="sleep 60")
    copy.wait_for("install")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (copy.root / ".venv" / "half").touch()
    copy.calls()
    copy.setup()
    assert copy.calls()[0] == "venv"
    assert not (copy.root / ".venv" / "half").exists()
    assert copy.setup() == "setup_env: up to date\n"


def test_waits_for_the_pip_of_a_killed_call(copy):
    process = copy.start(PIP_DOES=f"sleep 4; echo pip ended >>'{copy.calls_file}'")
    copy.wait_for("install")
    process.kill()
    assert "waiting for it to end" in copy.setup()
    calls = copy.calls()
    assert calls.index("pip ended") < calls.index("venv", 1)
    process.communicate()


def test_two_at_once_install_once(copy):
    processes = [copy.start(PIP_DOES="sleep 0.4") for _ in range(2)]
    outputs = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert copy.calls().count("venv") == 1
    assert sum("up to date" in output for output in outputs) == 1
    assert sum("done in" in output for output in outputs) == 1


def test_a_failure_shows_the_end_of_the_log_and_where_it_is(copy):
    output = copy.setup(status=1, PIP_DOES="echo no such version; false")
    assert "failed\nno such version\n" in output.replace("setup_env: ", "")
    log = re.search(r"(/\S+/setup_env\.log)", output).group(1)
    assert "no such version" in Path(log).read_text()
    assert "done in" in copy.setup()


def test_a_moved_copy_is_made_anew(copy):
    copy.setup()
    copy.calls()
    copy.root = copy.root.rename(copy.root.with_name("moved"))
    copy.setup()
    assert "venv" in copy.calls()


def test_an_environment_that_somebody_made_by_hand_is_kept(copy):
    folder = copy.root / ".venv" / "bin"
    folder.mkdir(parents=True)
    shutil.copy(copy.bin / "python3", folder / "python")
    copy.setup()
    assert "venv" not in copy.calls()
    assert copy.setup() == "setup_env: up to date\n"


def test_torch_comes_from_the_index_that_was_named_once(copy):
    copy.setup(TORCH_INDEX="https://wheels.example/cpu")
    calls = copy.calls()
    torch = next(call for call in calls if call.endswith("torch torchaudio"))
    assert "--no-deps --index-url https://wheels.example/cpu" in torch
    assert calls.index(torch) < calls.index(f"install {INSTALL}")
    assert copy.setup() == "setup_env: up to date\n"
    copy.calls()
    copy.setup(TORCH_INDEX="https://wheels.example/other")
    assert any("https://wheels.example/other torch torchaudio" in call for call in copy.calls())


def test_another_python_can_be_named(copy):
    copy.setup()
    copy.calls()
    assert "not a Python 3.10 to 3.13" in copy.setup(status=1, PYTHON="no-such-python")
    copy.python("python-old", "sys.version_info = (3, 9, 1)")
    assert "not a Python 3.10 to 3.13" in copy.setup(status=1, PYTHON="python-old")
    assert copy.calls() == []
    copy.python("python-new", "sys.version_info = (3, 13, 99)")
    copy.setup(PYTHON="python-new")
    assert copy.calls()[0] == "venv"


def test_no_suitable_python_is_said(copy):
    copy.python("python3", "sys.version_info = (3, 14, 0)")
    output = copy.setup(status=1)
    assert "no Python 3.10 to 3.13 with its venv module" in output
    copy.python("python3.12", "sys.version_info = (3, 12, 3)")
    assert "done in" in copy.setup()


def absent(copy: Copy) -> None:
    """Take the programs and the sound font out of the copy's world."""
    for name in ("ffmpeg", "ffprobe", "fluidsynth"):
        (copy.bin / name).unlink()
    copy.environment["SOUND_FONT"] = "/no/such/font"


def test_a_missing_program_gets_one_sentence_and_does_not_stop(copy):
    absent(copy)
    copy.program("id", "#!/bin/bash\necho 1000\n")
    copy.program("apt-get", "#!/bin/bash\nexit 1\n")
    output = copy.setup()
    for thing, package in [
        ("ffmpeg", "ffmpeg"),
        ("fluidsynth", "fluidsynth"),
        ("sound-font", "fluid-soundfont-gm"),
    ]:
        lines = [line for line in output.splitlines() if f"without {thing}" in line]
        assert len(lines) == 1
        assert lines[0].endswith(f"as an administrator, apt-get install {package}")
    again = copy.setup().splitlines()
    assert len(again) == 2
    assert "still without ffmpeg fluidsynth sound-font" in again[0]


@pytest.mark.parametrize("user", ["0", "1000"])
def test_missing_programs_are_installed_where_that_is_allowed(copy, user):
    absent(copy)
    calls = f"'{copy.calls_file}'"
    copy.program("id", f"#!/bin/bash\necho {user}\n")
    copy.program("sudo", f'#!/bin/bash\n[ $1 = -n ] || exit 1\necho sudo >>{calls}\n"${{@:2}}"\n')
    copy.program("env", '#!/bin/bash\n"${@:2}"\n')
    copy.program("apt-get", f'#!/bin/bash\necho "apt-get $*" >>{calls}\n')
    output = copy.setup()
    calls = copy.calls()
    for package in ("ffmpeg", "fluidsynth", "fluid-soundfont-gm"):
        assert f"apt-get install -y --no-install-recommends {package}" in calls
        assert re.search(rf"apt-get install {package} \.\.\. \d+ s\n", output)
    assert calls.index("apt-get update") < calls.index(
        "apt-get install -y --no-install-recommends ffmpeg"
    )
    assert ("sudo" in calls) == (user != "0")


def test_check_env_names_what_is_there():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "check_env.py")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    marks = {line[9:28].strip(): line[:9].strip() for line in done.stdout.splitlines()}
    for thing in ["Python", "torch", "torchaudio", "asteroid", "pytorch-lightning", "museval"]:
        assert marks[thing] == "ok", done.stdout
    assert {"cores", "device", "ffmpeg", "ffprobe", "fluidsynth", "sound font"} <= marks.keys()


def test_check_env_says_what_stands_in_for_ffmpeg_and_how_to_mend(tmp_path, monkeypatch, capsys):
    place = importlib.util.spec_from_file_location("check_env", ROOT / "tools" / "check_env.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SOUND_FONT", "/no/such/font")
    report = module.Report()
    module.check_programs(report)
    printed = capsys.readouterr().out
    assert report.is_complete
    assert re.search(r"^ok +ffmpeg .*imageio", printed, re.MULTILINE)
    assert re.search(r"^no +ffprobe .*museval.*system_programs\.sh.* ffmpeg", printed, re.MULTILINE)
    assert re.search(r"^no +fluidsynth .*system_programs\.sh", printed, re.MULTILINE)
    assert "SOUND_FONT=/no/such/font is not a file" in printed
    monkeypatch.setattr(module, "bundled_ffmpeg", lambda: None)
    module.check_programs(report)
    assert not report.is_complete


def test_check_env_runs_before_the_environment_exists(copy):
    real = getattr(sys, "_base_executable", sys.executable)
    # an isolated Python has the standard library alone
    done = subprocess.run(
        [real, "-I", "-S", str(copy.root / "tools" / "check_env.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"^no +\.venv +not made yet: run tools/setup_env\.sh", done.stdout, re.MULTILINE
    )
    assert re.search(
        r"^MISSING +packages .*torch.*run tools/setup_env\.sh", done.stdout, re.MULTILINE
    )


def test_every_requirement_has_one_exact_version():
    lines = (ROOT / "tools" / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values())
    assert pins["pytorch-lightning"] not in ("2.6.2", "2.6.3")
    listed = re.findall(r"^    ([A-Za-z][\w.-]*)", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    wanted = {re.sub(r"[-_.]+", "-", name).lower() for name in listed} - {"mixit-mss"}
    assert {"torch", "mido", "pytest"} <= wanted
    assert wanted <= pins.keys()
