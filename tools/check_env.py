#!/usr/bin/env python3
"""What is there and what will be used: Python, packages, device, programs, room; one line each.

Runs in any Python 3 with the standard library alone, so also before ``tools/setup_env.sh``; once
``.venv`` exists, it reports on that.  A line that starts with ``MISSING`` stands for something that
nothing runs without, and makes the exit status 1; ``no`` for something that only a part needs.
"""

from __future__ import annotations

import argparse
import configparser
import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETUP = "run tools/setup_env.sh"
GIB = 2**30

NAMED_PACKAGES = ("mixit-mss", "torch", "torchaudio", "asteroid", "pytorch-lightning", "museval")
BUILD_TOOLS = {"pip", "setuptools", "wheel", "cython"}
# the large one first: what the songs sound like depends on it
SOUND_FONTS = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/default.sf2",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
)


def find_sound_font() -> str | None:
    """The path of the General MIDI sound font: ``$SOUND_FONT``, or the first in the usual places."""
    named = os.environ.get("SOUND_FONT")
    return next(filter(os.path.isfile, (named,) if named else SOUND_FONTS), None)


def missing_programs() -> list[str]:
    """What the system lacks, by the names of ``tools/system_programs.sh``."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    has_compiler = shutil.which(compiler.split()[0]) or shutil.which("cc")
    has_header = os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h"))
    is_there = {
        "compiler": version_of("pesq") or (has_compiler and has_header),
        "ffmpeg": shutil.which("ffmpeg") and shutil.which("ffprobe"),
        "fluidsynth": shutil.which("fluidsynth"),
        "sound-font": find_sound_font(),
    }
    return [name for name, there in is_there.items() if not there]


def version_of(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned_versions() -> dict[str, str]:
    """Package -> version of ``tools/constraints.txt``."""
    lines = (ROOT / "tools" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {normalised(name): version.strip() for name, version in pins}


def required_packages(section: str, key: str) -> list[str]:
    """The names in one list of ``setup.cfg``, e.g. ``options``, ``install_requires``."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = (line.strip() for line in setup[section][key].splitlines())
    return [re.split(r"[^\w.-]", line)[0] for line in lines if line and not line.startswith("#")]


class Report:
    """Prints one line per fact, and remembers whether something required is missing."""

    def __init__(self) -> None:
        self.is_complete = True

    def ok(self, what: str, text: str) -> None:
        """Something that is there."""
        print(f"ok       {what:<18} {text}")

    def no(self, what: str, text: str) -> None:
        """Something that only a part of the work needs, or that is not as it should be."""
        print(f"no       {what:<18} {text}")

    def missing(self, what: str, text: str) -> None:
        """Something that nothing runs without."""
        self.is_complete = False
        print(f"MISSING  {what:<18} {text}")


def check_python(report: Report) -> None:
    """The interpreter, and whether ``.venv`` is there and complete."""
    text = f"{sys.version.split()[0]}, {sys.executable}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        report.ok("Python", text)
    else:
        report.missing("Python", f"{text} is not 3.10 to 3.13: {SETUP} with PYTHON=python3.12")
    state = ROOT / ".venv" / ".setup_env"
    if not (ROOT / ".venv").exists():
        report.no(".venv", f"not made yet: {SETUP}")
    elif state.exists() and state.read_text(encoding="utf-8").startswith("unfinished"):
        report.no(".venv", f"its setup did not end: {SETUP}")


def check_packages(report: Report) -> None:
    """The installed versions against the pinned ones; the most important by name."""
    pins = pinned_versions()
    listed = required_packages("options", "install_requires")
    required = {"mixit-mss", *map(normalised, listed)}
    as_pinned, differing, absent = 0, [], []
    for package in sorted({*required, *pins} - BUILD_TOOLS):
        version, pinned = version_of(package), pins.get(package)
        # torch 2.1+cpu is torch 2.1
        is_as_pinned = bool(version) and pinned in (None, version, version.split("+")[0])
        if package in NAMED_PACKAGES and is_as_pinned:
            report.ok(package, version)
        elif is_as_pinned:
            as_pinned += 1
        elif version:
            differing.append(f"{package} {version} (pinned: {pinned})")
        elif package in required:
            absent.append(package)
    if as_pinned:
        report.ok("other packages", f"{as_pinned} as in tools/constraints.txt")
    if absent:
        report.missing("packages", f"{', '.join(absent)} not installed: {SETUP}")
    if differing:
        report.no("same versions", f"{', '.join(differing)}: {SETUP}")
    for extra in ("band", "dev"):
        listed = required_packages("options.extras_require", extra)
        absent = [package for package in listed if not version_of(package)]
        if absent and as_pinned:
            report.no(f"extra {extra}", f"{', '.join(absent)} not installed: {SETUP}")


def check_device(report: Report) -> None:
    """Where networks will run, and how many cores and threads there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = os.environ.get("OMP_NUM_THREADS")
    threads = f"OMP_NUM_THREADS={wanted}" if wanted else "OMP_NUM_THREADS not set"
    if not version_of("torch"):
        report.ok("cores", f"{cores}, {threads}")
        return
    try:
        import torch

        used = torch.get_num_threads()
    except Exception as error:
        report.missing("device", f"torch cannot be imported ({error}): remove .venv and {SETUP}")
        return
    report.ok("cores", f"{cores}; torch uses {used} threads ({threads})")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            report.ok("device", f"cuda:{index}, {card.name}, {card.total_memory / GIB:.0f} GiB")
    elif torch.backends.mps.is_available():
        report.ok("device", "mps (Apple)")
    else:
        report.ok("device", "cpu (torch sees no CUDA card and no Apple GPU)")


def first_line(*command: str) -> str:
    """The first line that a program prints, or why it does not run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ((done.stdout or done.stderr).splitlines() or [""])[0]


def bundled_ffmpeg() -> str | None:
    """The ffmpeg inside the package imageio-ffmpeg, or None."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def check_programs(report: Report) -> None:
    """ffmpeg and ffprobe, FluidSynth and its sound font."""
    absent = missing_programs()
    mend = f"bash tools/system_programs.sh {' '.join(absent)}"
    system, bundled = shutil.which("ffmpeg"), bundled_ffmpeg()
    if system:
        version = re.sub(r"^ffmpeg version (\S+).*", r"\1", first_line(system, "-version"))
        report.ok("ffmpeg", f"{version}, {system}")
    elif bundled:
        report.ok("ffmpeg", f"{bundled}, of imageio-ffmpeg")
    else:
        report.missing("ffmpeg", f"neither the system's nor imageio-ffmpeg's: {SETUP}")
    if "ffmpeg" in absent:
        report.no("ffprobe", f"museval needs it, and the system's ffmpeg: {mend}")
    else:
        report.ok("ffprobe", shutil.which("ffprobe"))
    if "fluidsynth" in absent:
        report.no("fluidsynth", f"egs/midi_band cannot play its songs: {mend}")
    else:
        version = re.sub(r".*?(\d+(\.\d+)+).*", r"\1", first_line("fluidsynth", "--version"))
        report.ok("fluidsynth", f"{version}, {shutil.which('fluidsynth')}")
    if "sound-font" in absent:
        named = os.environ.get("SOUND_FONT")
        why = f"SOUND_FONT={named} is not a file" if named else mend
        report.no("sound font", f"egs/midi_band cannot play its songs: {why}")
    else:
        font = find_sound_font()
        report.ok("sound font", f"{font}, {os.path.getsize(font) / 2**20:.0f} MiB")


def check_room(report: Report) -> None:
    """Free disk space here, and memory."""
    report.ok("free disk", f"{shutil.disk_usage(ROOT).free / GIB:.0f} GiB at {ROOT}")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        free, total = kib["MemAvailable"] / 2**20, kib["MemTotal"] / 2**20
        report.ok("free memory", f"{free:.0f} of {total:.0f} GiB")
    except OSError:  # not Linux
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
        report.ok("memory", f"{total:.0f} GiB in all")


def continue_in_environment() -> None:
    """Go on in the Python of ``.venv``, where there is one and it is not this one."""
    python = ROOT / ".venv" / "bin" / "python"
    if python.exists() and Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        os.execv(python, [str(python), __file__, *sys.argv[1:]])


def main() -> int:
    """Print the report; 0, or 1 if the package cannot run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--missing",
        action="store_true",
        help="print only the names of the system's missing programs, as tools/setup_env.sh asks",
    )
    if parser.parse_args().missing:
        print(*missing_programs())
        return 0
    continue_in_environment()
    report = Report()
    for check in (check_python, check_packages, check_device, check_programs, check_room):
        check(report)
    return 0 if report.is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
