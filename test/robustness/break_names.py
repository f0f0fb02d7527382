"""Hostile names: of songs and folders on disk, in tables and models, and in options."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from test.robustness import calls
from test.robustness.mutations import NAMES, Generator, pick, quoted
from test.robustness.sandbox import Call, Sandbox


def names(box: Sandbox, generator: Generator) -> Call:
    """A hostile name in one of the places that names come from."""
    name = pick(generator, NAMES).replace("{root}", str(box.root))
    make = pick(generator, PLACES)
    call = make(box, name, generator)
    call.note = f"{make.__name__.strip('_')}: {name[:60]!r}"
    return call


def _rename(path: Path, name: str) -> Path | None:
    """Give a file that name below its folder, if a file system can."""
    target = os.path.join(path.parent, name.lstrip("/"))
    below = os.path.normpath(target).startswith(f"{path.parent}/")
    try:
        if below:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(path, target)
            return Path(target)
    except (OSError, ValueError):
        return None
    return None


def _song(box: Sandbox, name: str, generator: Generator) -> Call:
    call = calls.separate(box)
    path = _rename(box.inputs / "song.wav", name + pick(generator, ("", ".wav", ".wav", ".WAV")))
    call.argv[1] = str(path) if path else name
    if path and generator.random() < 0.5:
        call.argv[1] = os.path.relpath(path, box.work)
    return call


def _song_from_above(box: Sandbox, name: str, generator: Generator) -> Call:
    """Called in a folder below, as in ``separate ../song.wav --out out``."""
    call = calls.separate(box)
    path = _rename(box.inputs / "song.wav", name + ".wav") or box.inputs / "song.wav"
    below = box.inputs / "below"
    below.mkdir()
    (below / "thesis.txt").write_text("only copy")
    call.argv[1] = "/".join((str(below), "..", os.path.relpath(path, box.inputs)))
    return call


def _song_of_folder(box: Sandbox, name: str, generator: Generator) -> Call:
    make = pick(generator, (calls.separate_folder, calls.segment))
    call = make(box)
    folder = box.inputs / "album"
    _rename(folder / "2.wav", name + ".wav")
    if generator.random() < 0.4:
        _rename(folder, name)
    if not folder.exists():
        moved = next(
            (p for p in box.inputs.iterdir() if p.is_dir() and p.name not in ("model",)), box.inputs
        )
        call.argv = [str(moved) if word == str(folder) else word for word in call.argv]
    return call


def _labelled_song(box: Sandbox, name: str, generator: Generator) -> Call:
    call = calls.segment_labelled(box)
    part = pick(generator, ("train/song0", "test/song4", "train/song0/low.wav"))
    _rename(box.inputs / "labelled" / part, name + Path(part).suffix)
    return call


def _in_table(box: Sandbox, name: str, generator: Generator) -> Call:
    makes = ("separate_manifest", "segment_table", "score", "report", "diagnose", "make_manifests")
    makes += ("select_channels", "finetune", "separate_manifest")
    call = calls.CALLS[pick(generator, makes)](box)
    tables = [path for path in call.aims["tables"] if "track" in path.name or "songs" in path.name]
    tables += [path for path in call.aims["tables"] if path.name in ("scores.csv", "votes.csv")]
    path = pick(generator, tables)
    known = pick(generator, ("song4", "song0", "low", "high", "test", "valid", "mixture"))
    text = path.read_text()
    for before, after in ((",", ","), (",", "\n"), ("\n", ",")):
        text = text.replace(f"{before}{known}{after}", f"{before}{quoted(name)}{after}")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return call


def _stem_of_model(box: Sandbox, name: str, generator: Generator) -> Call:
    makes = ("separate", "separate", "separate_manifest", "plan_init", "finetune", "load_model")
    call = calls.CALLS[pick(generator, makes)](box)
    path = box.inputs / "model/config.json"
    content = json.loads(path.read_text())
    content["stems"] = content["model"]["stems"] = [name, pick(generator, ("high", name, ""))]
    path.write_text(json.dumps(content))
    return call


def _facts(box: Sandbox, name: str, generator: Generator) -> Call:
    call = calls.report(box)
    path = box.inputs / "exp/experiment.json"
    key = pick(generator, ("label", "commit", "command", "config"))
    path.write_text(json.dumps({**json.loads(path.read_text()), key: name}))
    return call


def _option(box: Sandbox, name: str, generator: Generator) -> Call:
    make, option = pick(
        generator,
        (
            *(
                ("separate", "--stems"),
                ("separate", "--two-stems"),
                ("separate_manifest", "--split"),
            ),
            *(("select_channels", "--stems"), ("segment_table", "--stems"), ("score", "--label")),
            *(
                ("score", "--split"),
                ("report", "--recipe"),
                ("diagnose", "--stems"),
                ("diagnose", "--split"),
            ),
            *(("plan", "--stems"), ("select_channels", "--split"), ("separate", "--model")),
        ),
    )
    call = calls.CALLS[make](box)
    value = f"{name},high" if option == "--stems" and generator.random() < 0.7 else name
    call.argv += [f"{option}={value}"]
    return call


PLACES: tuple[Callable[[Sandbox, str, Generator], Call], ...] = (
    *(
        _song,
        _song,
        _song_from_above,
        _song_of_folder,
        _labelled_song,
        _in_table,
        _in_table,
        _in_table,
    ),
    *(_stem_of_model, _facts, _option, _option),
)
