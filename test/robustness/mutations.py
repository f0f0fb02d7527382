"""Ways to break bytes, texts and tables; every choice is drawn from the generator that is passed."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence

import numpy as np

Generator = np.random.Generator

NUMBERS = (
    *("0", "-1", "1", "2", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "1e9", "1e5", "4000"),
    *("2147483647", "2147483648", "4294967295", "18446744073709551616", "0.5", "1e20", "-0.0"),
    *("9" * 5000, "0x10", "1_000", "١٢", "²", "1,5", "", " ", "true", "None", "1e", "--5"),
)
"""For where a number belongs; those that are none are here too."""
PATHS = (
    *(
        "",
        ".",
        "..",
        "{root}/secret/album",
        "../../precious",
        "../../../thesis",
        "../../../../secret/album",
    ),
    *("/dev/null", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/environ"),
    *("in/fifo", "in/notes.txt", "in/notes.txt/x", "out", "out/photos", "out/notes.txt", "x" * 255),
    *(
        "x" * 5000,
        "a/" * 2000,
        "nowhere/at/all",
        "\0",
        "a\0b",
        "a\nb",
        "~",
        "$HOME",
        "-",
        "--",
        "*",
    ),
    *("in/*", "[", "**/*", "caf\udce9", "hf:", "hf:../../x", "official:", "official:in/notes.txt"),
    *("file:///etc/passwd", "https://127.0.0.1:9/x", "concat:a|b", "link"),
)
"""For where a path belongs; the sandbox has a FIFO, and a link to itself."""
NAMES = (
    *(
        "..",
        ".",
        "",
        " ",
        "...",
        "../../x",
        "../../../thesis",
        "../../precious/vocals",
        "a/b",
        "a/../..",
    ),
    *(
        "{root}/secret/album",
        "-x",
        "--help",
        ".hidden",
        "~",
        "$HOME",
        "Ke$ha - 100% $wag",
        "`id`",
        "a\nb",
        "a\r\nb",
    ),
    *(
        "a\tb",
        "caf\u00e9",
        "cafe\u0301",
        "caf\udce9",
        "n" * 251,
        "\u00e9" * 127,
        "x" * 5000,
        "a\0b",
        "CON",
        "nul.wav",
    ),
    *(
        "a,b",
        '"',
        "'",
        "=1+1",
        "<img src=x onerror=alert(1)>",
        "|",
        "[x](javascript:1)",
        "\u202egnp",
        "\ufeff",
    ),
    *(
        "mixture",
        "notes.txt",
        "photos",
        "*",
        "[a]",
        "?",
        "%s%n",
        "{}",
        "{0.__class__}",
        "\\",
        "C:\\x",
        "𝄞",
    ),
)
"""For songs, stems, labels and splits; none leads out of a sandbox, whatever is done with it."""
OUTPUTS = (
    *(
        "",
        ".",
        "..",
        "out/photos",
        "out/notes.txt",
        "in/notes.txt/x",
        "in/fifo",
        "link",
        "x" * 255,
        "x" * 5000,
    ),
    *(
        "out/\0",
        "out/a\nb",
        "out/caf\udce9",
        "out/~",
        "-",
        "out/new/deep",
        "out",
        "in",
        "in/notes.txt",
        "out/.x",
    ),
)
"""For where a path to write to belongs: all within a sandbox, since nothing else protects this machine."""
BOUNDARIES = (
    0,
    1,
    2,
    0x7F,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    67_108_864 + 8000,
)


def pick(generator: Generator, choices: Sequence):
    """One of them."""
    return choices[int(generator.integers(len(choices)))]


# bytes


def flip(content: bytes, generator: Generator) -> bytes:
    """One to twenty bits the other way round, half of the time near the beginning."""
    data = bytearray(content)
    reach = min(len(data), 100) if generator.random() < 0.5 else len(data)
    for _ in range(int(pick(generator, (1, 1, 1, 3, 20))) if reach else 0):
        data[int(generator.integers(reach))] ^= 1 << int(generator.integers(8))
    return bytes(data)


def cut(content: bytes, generator: Generator) -> bytes:
    """Only a beginning, or all but the beginning."""
    place = int(generator.integers(len(content) + 1))
    return content[:place] if generator.random() < 0.7 else content[place:]


def empty(content: bytes, generator: Generator) -> bytes:
    """Nothing, zeros, or noise."""
    size = len(content)
    return pick(generator, (b"", b"\0", bytes(size), generator.bytes(size), b"\xff" * size))


def twice(content: bytes, generator: Generator) -> bytes:
    """The same two or three times."""
    return content * int(generator.integers(2, 4))


def field(content: bytes, generator: Generator) -> bytes:
    """A number of the header, of two, four or eight bytes, at a boundary."""
    if len(content) < 8:
        return content
    place = 2 * int(generator.integers(min(len(content), 128) // 2 - 3))
    size, code = pick(generator, ((2, "H"), (4, "I"), (8, "Q")))
    value = int(pick(generator, BOUNDARIES)) % 2 ** (8 * size)
    number = struct.pack(pick(generator, "<>") + code, value)
    return content[:place] + number + content[place + size :]


def splice(content: bytes, generator: Generator) -> bytes:
    """A stretch of it removed, zeroed, repeated, or put elsewhere."""
    start, end = sorted(int(place) for place in generator.integers(0, len(content) + 1, 2))
    end = min(end, start + 2000)
    part = content[start:end]
    place = int(generator.integers(len(content) + 1))
    rest = content[:start] + content[end:]
    return pick(
        generator,
        (
            rest,
            content[:start] + bytes(len(part)) + content[end:],
            content[:end] + part + content[end:],
            rest[:place] + part + rest[place:],
        ),
    )


BYTES: tuple[Callable[[bytes, Generator], bytes], ...] = (
    flip,
    flip,
    cut,
    twice,
    field,
    field,
    splice,
    empty,
)


def break_bytes(content: bytes, generator: Generator) -> tuple[bytes, str]:
    """Break it in one or two ways; and their names."""
    names = []
    for _ in range(int(pick(generator, (1, 1, 2)))):
        way = pick(generator, BYTES)
        content = way(content, generator)
        names.append(way.__name__)
    return content, "+".join(names)


# texts


def encode(text: str, generator: Generator) -> bytes:
    """UTF-8 as a rule, at times something else; surrogates become the bytes that they stand for."""
    other = ("latin-1", "utf-16", "utf-8-sig", "utf-32", "cp500")
    name = pick(generator, other) if generator.random() < 0.08 else "utf-8"
    if name == "utf-8":
        return text.encode("utf-8", "surrogateescape")
    return (text + "# \u00e9\n").encode(name, "replace")


def hostile(generator: Generator) -> str:
    """A value of any sort."""
    return pick(generator, pick(generator, (NUMBERS, PATHS, NAMES)))


def break_table(text: str, generator: Generator) -> tuple[str, str]:
    """Break a CSV table in one way; and its name."""
    rows = [line.split(",") for line in text.splitlines()]
    row, column = int(generator.integers(len(rows))), int(generator.integers(len(rows[0])))
    way = pick(
        generator,
        ("cell", "cell", "cell", "cell", "cell", "drop", "double", "swap", "quote", "long", "head"),
    )
    if way == "cell":
        row = max(row, 1) if len(rows) > 1 else 0
        title = rows[0][column % len(rows[0])]
        pool = NUMBERS if re.fullmatch(r"-?[\d.]+", rows[row][column % len(rows[row])]) else NAMES
        if title == "path":
            pool = PATHS
        value = pick(generator, pool) if generator.random() < 0.8 else hostile(generator)
        rows[row][column % len(rows[row])] = quoted(value) if generator.random() < 0.7 else value
        return _joined(rows), f"{title}={value[:40]!r}"
    if way == "drop":
        if generator.random() < 0.5:
            return _joined(
                [r[:column] + r[column + 1 :] for r in rows]
            ), f"without {rows[0][column]}"
        return _joined(rows[:row] + rows[row + 1 :]), f"without line {row + 1}"
    if way == "double":
        if generator.random() < 0.5:
            return _joined(
                [[*r, *r[column : column + 1]] for r in rows]
            ), f"{rows[0][column]} twice"
        return _joined([*rows[: row + 1], rows[row], *rows[row + 1 :]]), f"line {row + 1} twice"
    if way == "swap":
        return _joined([r[::-1] for r in rows[1:]]), "columns backwards, no title"
    if way == "quote":
        place = int(generator.integers(len(text) + 1))
        return text[:place] + pick(generator, '",;\0\r\n\t') + text[place:], "stray character"
    if way == "long":
        return text + "1," * int(pick(generator, (1, 50, 200_000))) + "\n", "a long line"
    return _joined(rows[:1]), "only titles"


def quoted(value: str) -> str:
    """As a CSV cell."""
    return '"' + value.replace('"', '""') + '"'


def _joined(rows: list[list[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in rows)
