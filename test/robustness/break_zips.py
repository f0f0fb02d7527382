"""Archives that lie about what is in them, or mean harm; and downloads that stopped half-way."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from pathlib import Path

from test.robustness import calls
from test.robustness.break_texts import VALUES
from test.robustness.mutations import NAMES, Generator, break_bytes, encode, pick
from test.robustness.sandbox import Call, Sandbox

SONG = "train/A - B/vocals.wav"


def zips(box: Sandbox, generator: Generator) -> Call:
    """A broken archive on a server, listed as it is so that it is looked into."""
    call = (calls.download if generator.random() < 0.6 else calls.download_fma)(box)
    path = pick(generator, call.aims["zips"])
    draw = generator.random()
    if draw < 0.35:
        content, way = break_bytes(path.read_bytes(), generator)
    elif draw < 0.5:
        content, way = _break_directory(path.read_bytes(), generator)
    elif draw < 0.9:
        content, way = _with_member(path.read_bytes(), generator)
    else:
        content, way = (
            path.read_bytes(),
            _half_way(box.out / path.name, path.stat().st_size, generator),
        )
        call.own = tuple(box.out / f"{path.name}.partial{suffix}" for suffix in ("", ".json"))
    path.write_bytes(content)
    extracted = pick(generator, (10**6, 10**6, 10**9, 0, 1))
    calls.note_archives(box.inputs / "archives.csv", call.aims["zips"], extracted)
    call.note = f"{path.name}: {way}"
    return call


def _with_member(content: bytes, generator: Generator) -> tuple[bytes, str]:
    """One member more: a bad name, a bomb, a link, a device, one that is there already."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    top = f"{members[0][0].filename.split('/')[0]}/"
    way = pick(
        generator,
        (
            "name",
            "name",
            "name",
            "bomb",
            "link",
            "pipe",
            "twice",
            "case",
            "folder",
            "many",
            "below",
        ),
    )
    first = members[-1][0].filename
    name, data, mode = f"{top}more", b"more", stat.S_IFREG | 0o644
    if way == "name":
        name = pick(generator, NAMES)
        name = (top if generator.random() < 0.6 else "") + name.encode("utf-8", "replace").decode()[
            :60_000
        ]
    elif way == "bomb":
        data = bytes(int(pick(generator, (10**7, 10**8))))
    elif way == "link":
        data, mode = (
            pick(generator, (b"../../../../secret", b"/etc/passwd", b"more")),
            stat.S_IFLNK | 0o777,
        )
    elif way == "pipe":
        mode = pick(generator, (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK)) | 0o644
    elif way in ("twice", "case"):
        name = first if way == "twice" else first.upper()
    elif way == "folder":
        name = f"{first}/"
    elif way == "below":
        name = f"{first}/x"
    extra = [(_info(name, mode), data)] * (3000 if way == "many" else 1)
    if way == "many":
        extra = [(_info(f"{top}{n}", mode), b"") for n in range(3000)]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for info, part in (*members, *extra):
            archive.writestr(info, part, zipfile.ZIP_DEFLATED)
    return file.getvalue(), f"{way} {name[:40]!r}"


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename, info.external_attr = name, mode << 16
    return info


def _break_directory(content: bytes, generator: Generator) -> tuple[bytes, str]:
    """A field of one entry of the directory at the end, or of that directory's own record."""
    places = [n for n in range(len(content) - 46) if content[n : n + 4] == b"PK\x01\x02"]
    end = content.rindex(b"PK\x05\x06")
    place = pick(generator, (*places, end))
    fields = (8, 10, 12, 16) if place == end else (6, 8, 10, 16, 20, 24, 28, 30, 32, 38, 42)
    place += pick(generator, fields)
    value = struct.pack(
        "<I", pick(generator, (0, 1, 2**16 - 1, 2**31, 2**32 - 1, len(content), 99))
    )
    size = pick(generator, (2, 4))
    return content[:place] + value[:size] + content[place + size :], f"directory at {place}"


def _half_way(path: Path, size: int, generator: Generator) -> str:
    """What a former call might have left."""
    path.with_name(f"{path.name}.partial").write_bytes(bytes(pick(generator, (0, 1, size, size))))
    values = (size, 10**6, 10**15, -1, 0, 1, *VALUES)
    state = {name: pick(generator, values) for name in ("size", "piece_bytes", "received")}
    state["received"] = pick(
        generator, ([0], [size], [size + 1], [-1], ["x"], [0.5], state["received"])
    )
    if generator.random() < 0.5:
        state["size"] = size
    text = json.dumps(state) if generator.random() < 0.9 else "[" * 100_000
    path.with_name(f"{path.name}.partial.json").write_bytes(encode(text, generator))
    return f"half-way with {text[:80]}"
