"""Render a composed song: one FluidSynth process per stem, then mixing and rounding to 16 bits.

With a process per stem, every stem depends only on its own notes (no reverb or chorus is shared),
and its level can be set from measurements.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from mixit_mss.band.compose import SPARE_SECONDS, Song
from mixit_mss.errors import UserError

SAMPLE_RATE = 44100
FADE_SECONDS = 0.05
HIGHEST_PEAK = 0.97
LIMIT_DB = 18  # above a stem's RMS: peaks of unlimited drums would make everything else quieter
LOW_CUT_HZ = 20  # some instruments in common sound fonts have a DC offset
BYTES_PER_FRAME = 8
PATIENCE_SECONDS = 240
SOUNDFONTS = (
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/soundfonts/default.sf2",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
)


class RenderError(Exception):
    """FluidSynth produced no usable audio for a song."""


@dataclass(frozen=True)
class Synthesiser:
    """The FluidSynth program, its version, and the sound font."""

    program: str
    version: str
    soundfont: Path


def find_synthesiser(soundfont: str | Path | None = None) -> Synthesiser:
    """Find FluidSynth and a General MIDI sound font; ``soundfont`` overrides the usual places.

    Raises UserError, with installation instructions, if one is missing.
    """
    if importlib.util.find_spec("mido") is None:
        raise UserError(
            "mido is not installed, which writes MIDI files: `pip install 'mixit_mss[band]'`."
        )
    program = shutil.which("fluidsynth")
    if program is None:
        raise UserError(
            "fluidsynth is not installed: `apt-get install fluidsynth fluid-soundfont-gm` "
            "(Debian, Ubuntu), `dnf install fluidsynth fluid-soundfont-gm` (Fedora) or "
            "`brew install fluid-synth` (macOS)."
        )
    candidates = SOUNDFONTS if soundfont is None else (soundfont,)
    found = next((Path(path) for path in candidates if Path(path).is_file()), None)
    if found is None:
        where = f"{soundfont} is not there" if soundfont else "none in the usual places"
        raise UserError(
            f"no General MIDI sound font ({where}): `apt-get install fluid-soundfont-gm`, "
            "`dnf install fluid-soundfont-gm`, or give any General MIDI .sf2 with --soundfont."
        )
    with found.open("rb") as stream:
        header = stream.read(12)
    if header[:4] != b"RIFF" or header[8:] != b"sfbk":
        raise UserError(f"{found} is not a sound font: give a General MIDI .sf2 with --soundfont.")
    with tempfile.TemporaryDirectory() as scratch:
        answer = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            check=False,
            env=_leaving_nothing(scratch),
        )
    version = (answer.stdout + answer.stderr).strip().splitlines() or ["unknown"]
    return Synthesiser(program, version[0], found)


def render_stem(song: Song, stem: str, synthesiser: Synthesiser, scratch: Path) -> np.ndarray:
    """Render one stem; returns float32 (channel, sample), SPARE_SECONDS longer than the song.

    The MIDI file is written to the folder ``scratch`` and left there.  Raises RenderError if
    FluidSynth fails twice or renders silence.
    """
    from mixit_mss.band.midi import midi_file

    seconds = song.seconds + SPARE_SECONDS
    tracks = [track for track in song.tracks if track.stem == stem]
    size, damping, level = song.room
    settings = {
        "synth.cpu-cores": 1,
        "synth.dynamic-sample-loading": 1,
        "synth.sample-rate": SAMPLE_RATE,
        "synth.gain": 0.4,
        "synth.chorus.active": int(any(track.chorus > 0 for track in tracks)),
        "audio.period-size": 64,  # note onsets are multiples of it
        "synth.reverb.room-size": size,
        "synth.reverb.damp": damping,
        "synth.reverb.level": level,
    }
    wanted = round(seconds * SAMPLE_RATE)
    midi, empty = scratch / f"{song.kind}_{song.number}_{stem}.mid", scratch / "empty.conf"
    midi_file(song.plans[stem], tracks, seconds).save(midi)
    empty.touch()  # instead of the user's ~/.fluidsynth
    command = [synthesiser.program, "-n", "-i", "-q", "-f", str(empty)]
    for name, value in settings.items():
        command += ["-o", f"{name}={value}"]
    command += ["-T", "raw", "-O", "float", "-E", "little", "-F", "-"]
    command += [str(synthesiser.soundfont), str(midi)]
    log = midi.with_suffix(".log")
    sound = _play(command, wanted, log) or _play(command, wanted, log)
    if sound is None:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise RenderError(f"fluidsynth failed twice on {stem}: {(said or ['it said nothing'])[-1]}")
    played = np.frombuffer(sound, dtype="<f4").reshape(-1, 2).T
    samples = np.pad(played, ((0, 0), (0, wanted - played.shape[1])))
    if not np.isfinite(samples).all() or np.abs(samples).max() < 1e-4:
        raise RenderError(f"fluidsynth played silence for {stem}")
    return without_offset(samples)


def _play(command: Sequence[str], frames: int, log: Path) -> bytes | None:
    """Read up to ``frames`` stereo float frames from FluidSynth's output.

    The output is a pipe: audio after the song is never rendered, and FluidSynth ends if its reader
    is killed.  Returns None if it fails or takes more than a few minutes; its messages go to
    ``log``.
    """
    with (
        log.open("wb") as messages,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=messages, env=_leaving_nothing(log.parent)
        ) as process,
    ):
        watch = threading.Timer(PATIENCE_SECONDS, process.kill)
        watch.start()
        assert process.stdout is not None
        sound = process.stdout.read(frames * BYTES_PER_FRAME)
        watch.cancel()
        if len(sound) == frames * BYTES_PER_FRAME:
            process.kill()
            return sound
    if process.returncode != 0 or not sound:
        return None
    return sound[: len(sound) // BYTES_PER_FRAME * BYTES_PER_FRAME]


def _leaving_nothing(scratch: str | Path) -> dict[str, str]:
    """Environment in which FluidSynth's libraries put their temporary folder in ``scratch``."""
    return {**os.environ, "TMPDIR": os.path.abspath(scratch)}


def active_rms(sound: np.ndarray, window_seconds: float = 0.25) -> float:
    """RMS of ``sound`` (channel, sample) over windows less than 30 dB below the loud ones."""
    window = round(window_seconds * SAMPLE_RATE)
    whole = sound[:, : sound.shape[1] // window * window]
    energy = np.asarray(
        np.mean(whole.reshape(sound.shape[0], -1, window) ** 2, axis=(0, 2), dtype=np.float64)
    )
    active = energy >= 1e-3 * np.quantile(energy, 0.95)
    return float(np.sqrt(energy[active].mean()))


def without_offset(sound: np.ndarray) -> np.ndarray:
    """Remove frequencies below LOW_CUT_HZ with a one-pole DC blocker, along the sample axis."""
    pole = np.exp(-2 * np.pi * LOW_CUT_HZ / SAMPLE_RATE)
    return lfilter([1.0, -1.0], [1.0, -pole], sound, axis=-1).astype(np.float32)


def limit(sound: np.ndarray, ceiling: float) -> np.ndarray:
    """Soft-limit samples to ``ceiling``; those up to half of it stay unchanged."""
    knee = ceiling / 2
    size = np.abs(sound)
    high = size > knee
    limited = sound.copy()
    limited[high] = np.sign(sound[high]) * (knee + knee * np.tanh(size[high] / knee - 1))
    return limited


def level(sound: np.ndarray, decibels: float) -> np.ndarray:
    """Scale a stem to an active RMS of ``decibels`` (0 dB is 1), with limited peaks."""
    rms = active_rms(sound)
    limited = limit(sound, rms * 10 ** (LIMIT_DB / 20))
    return limited * np.float32(10 ** (decibels / 20) / active_rms(limited))


def mix(song: Song, sounds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Level the stems, start at the first sound, fade out at the end, and round to 16 bits.

    ``sounds``: stem -> float (channel, sample).  Returns stem -> int16 (channel, sample), plus
    ``mixture``, which is exactly their sum.  One gain applies to the whole song.
    """
    length = round(song.seconds * SAMPLE_RATE)
    levelled = {stem: level(sound, song.levels[stem]) for stem, sound in sounds.items()}
    together = reduce(np.add, levelled.values())
    envelope = np.abs(together).max(axis=0)
    first = int(np.argmax(envelope > 10 ** (-50 / 20) * envelope.max()))
    first = min(first, round(SPARE_SECONDS * SAMPLE_RATE))
    cut = {stem: sound[:, first : first + length] for stem, sound in levelled.items()}
    together = together[:, first : first + length]
    peak = max(float(np.abs(sound).max()) for sound in (together, *cut.values()))
    gain = min(10 ** (song.loudness / 20) / active_rms(together), HIGHEST_PEAK / peak)
    fade = np.ones(length, dtype=np.float32)
    tail = min(round(FADE_SECONDS * SAMPLE_RATE), length)
    fade[length - tail :] = np.linspace(1, 0, tail, dtype=np.float32)
    rounded = {
        stem: np.rint(sound * (fade * np.float32(gain * 32767))).astype(np.int16)
        for stem, sound in cut.items()
    }
    total = sum(sound.astype(np.int32) for sound in rounded.values())
    if np.abs(total).max() > 32767:
        raise RenderError("the mixture does not fit into 16 bits")
    return {"mixture": total.astype(np.int16), **rounded}


def render_song(song: Song, synthesiser: Synthesiser, scratch: Path) -> dict[str, np.ndarray]:
    """Render a song: ``mixture`` and each of its stems, int16 (channel, sample)."""
    return mix(song, {stem: render_stem(song, stem, synthesiser, scratch) for stem in song.stems})
