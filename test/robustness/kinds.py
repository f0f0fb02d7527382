"""The kinds of inputs: each takes a sound call and breaks it, by draws from one generator.

``KINDS[kind](box, generator)`` is the whole input; with the generator of :func:`generator_of` it
depends on (seed, kind, number) and nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import soundfile

from test.robustness import calls
from test.robustness.break_arguments import arguments
from test.robustness.break_models import checkpoints
from test.robustness.break_names import names
from test.robustness.break_texts import json_files, yaml_files
from test.robustness.break_zips import zips
from test.robustness.campaign import Job
from test.robustness.mutations import Generator, break_bytes, break_table, encode, pick
from test.robustness.sandbox import SECRET, Call, Sandbox

ROUND_TRIPS = (*("separate",) * 4, "separate_folder", "separate_pipe", *("segment",) * 3)
OTHERS = (*("segment_labelled", "segment_table", "segment_fma", "separate_manifest", "score"),)
OTHERS += ("score_folder", "select_channels", "diagnose", "report")
FORMATS = ("wav", "wav", "wav", "flac", "mp3", "mp3", "ogg", "opus", "m4a", "aiff", "w64", "wv")
FORMATS += ("aac", "mkv", "avi", "au")
TABLES = ("separate_manifest", "segment_table", "segment_fma", "make_manifests", "finetune")
TABLES += ("segment_again", "select_channels", "diagnose", "score", "report", "curves", "download")
TABLES += ("check", "download_nothing", "pretrain", "read_manifest", "read_manifest")
PLAYLISTS = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile '{secret}'\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    "<?xml version='1.0'?><MPD type='static'><BaseURL>file://{root}/secret/</BaseURL></MPD>",
    "[playlist]\nFile1=http://127.0.0.1:9/x\n",
)


def audio(box: Sandbox, generator: Generator) -> Call:
    """Broken sounds, in every command that hears some."""
    name = pick(generator, ROUND_TRIPS if generator.random() < 0.75 else OTHERS)
    if name not in ROUND_TRIPS:
        call = calls.CALLS[name](box)
        path, source = pick(generator, call.aims["audio"]), None
    else:
        source = pick(
            generator, ("float.wav", "many.wav", *(f"song.{suffix}" for suffix in FORMATS))
        )
        call = getattr(calls, name)(box, source)
        path = call.aims["audio"][0]
    draw = generator.random()
    if draw < 0.05:
        content, way = (
            pick(generator, PLAYLISTS).format(root=box.root, secret=box.root / SECRET).encode(),
            "playlist",
        )
        call.forbidden = "what a playlist names was read" if call.argv[0] == "separate" else ""
    elif draw < 0.12:
        wave = np.tile(np.float32(pick(generator, (np.nan, np.inf, 1e38, 1e-42))), (2000, 2))
        content, way = floating_wav(wave), "samples that are no numbers"
    elif draw < 0.2:
        other = (box.seeds / f"sounds/song.{pick(generator, FORMATS)}").read_bytes()
        content, way = pick(generator, (other, path.read_bytes() + other)), "another file"
    else:
        content, way = break_bytes(path.read_bytes(), generator)
    path.write_bytes(content)
    call.note = f"{path.name}: {way}"
    return call


def floating_wav(wave: np.ndarray) -> bytes:
    """A WAV file of 32-bit floats, whatever they are."""
    file = io.BytesIO()
    soundfile.write(file, wave, 8000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def tables(box: Sandbox, generator: Generator) -> Call:
    """Broken CSV tables."""
    call = calls.CALLS[pick(generator, TABLES)](box)
    path = pick(generator, call.aims["tables"])
    way = "another encoding"
    if generator.random() < 0.85:
        text, way = break_table(path.read_text(), generator)
        path.write_bytes(encode(text.replace("{root}", str(box.root)), generator))
    else:
        content, way = break_bytes(path.read_bytes(), generator)
        path.write_bytes(content)
    call.note = f"{path.name}: {way}"
    return call


KINDS: dict[str, Callable[[Sandbox, Generator], Call]] = {
    "audio": audio,
    "tables": tables,
    "yaml": yaml_files,
    "json": json_files,
    "checkpoints": checkpoints,
    "zips": zips,
    "names": names,
    "arguments": arguments,
}


def generator_of(seed: int, kind: str, number: int) -> Generator:
    """The draws of one input."""
    return np.random.default_rng([seed, sum(kind.encode()), number])


def job(seed: int, kind: str, number: int) -> Job:
    """One input of a campaign."""
    return Job(kind, number, partial(_make, seed, kind, number))


def _make(seed: int, kind: str, number: int, box: Sandbox) -> Call:
    return KINDS[kind](box, generator_of(seed, kind, number))
