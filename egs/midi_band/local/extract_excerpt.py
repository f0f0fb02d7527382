"""Unpack the real recording that the installed stempeg package carries.

It is 6 s of "Falcon 69" by The Easton Ellises, a test song of MUSDB18, as one MP4 file with five
stereo streams.  They become OUT/<song>/{mixture,drums,bass,other,vocals}.wav, 44.1 kHz.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from mixit_mss.audio.ffmpeg import find_ffmpeg
from mixit_mss.bin.main import run
from mixit_mss.errors import UserError
from mixit_mss.stamps import Fingerprint, replaced_folder

SONG = "The Easton Ellises - Falcon 69"
STREAMS = ("mixture", "drums", "bass", "other", "vocals")


def build_parser() -> argparse.ArgumentParser:
    """One option: where the song's folder goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("downloads/real_excerpt"))
    return parser


def find_excerpt() -> Path:
    """The MP4 in stempeg's folder; importing stempeg would fail without ffmpeg on the PATH."""
    package = importlib.util.find_spec("stempeg")
    for folder in package.submodule_search_locations if package else ():
        path = Path(folder) / "data" / f"{SONG}.stem.mp4"
        if path.exists():
            return path
    raise UserError("stempeg and its example recording are not installed; run tools/setup_env.sh")


def extract(stems: Path, folder: Path) -> None:
    """Decode every stream of the MP4 ``stems`` into ``folder``, unless that was done before."""
    wanted = Fingerprint("extract_excerpt", {"streams": STREAMS}, {"stems": stems})
    if wanted.is_done(folder):
        print(f"{folder}: unchanged")
        return
    with replaced_folder(folder) as partial:
        for number, name in enumerate(STREAMS):
            command = [find_ffmpeg(), "-nostdin", "-v", "error", "-i", str(stems)]
            command += ["-map", f"0:a:{number}", "-c:a", "pcm_f32le", str(partial / f"{name}.wav")]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
                raise UserError(f"{stems}: ffmpeg cannot decode stream {number} ({reason[0]})")
        wanted.mark_done(partial, [partial / f"{name}.wav" for name in STREAMS])
    print(f"{folder}: {', '.join(STREAMS)}")


def main(argv: list[str] | None = None) -> None:
    """Extract the recording into OUT/<song>."""
    args = build_parser().parse_args(argv)
    extract(find_excerpt(), args.out / SONG)


if __name__ == "__main__":
    sys.exit(run(main, "extract_excerpt"))
