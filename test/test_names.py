"""Names that others gave never lead out of the folder that was asked for, and stay apart."""

import os
import unicodedata

import pytest

from mixit_mss.errors import UserError
from mixit_mss.names import MAX_PART_BYTES, file_name, inside, place, printable, relative_path

HOSTILE = [
    *("..", ".", "...wav", ".hidden", "../../precious", "../thesis", "/etc/passwd", "a/../../b"),
    *("~", "~root", "-rf", "a\nb", "a\rb", "\x00", "\x1b[2J", "a\\..\\b", "C:\\x", "caf\udce9"),
    *(
        "x" * 255,
        "é" * 200,
        "Ke$ha - 100% $wag",
        "100%25",
        "100%",
        "%2E.",
        "a//b",
        "a/./b",
        "\ud800",
    ),
    *(unicodedata.normalize(form, "Beyoncé") for form in ("NFC", "NFD")),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_every_name_gives_a_file_inside_the_folder(name, tmp_path):
    folder = tmp_path / "asked" / "for"
    path = place(folder, name, ".wav")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"sound")
    assert folder.resolve() in path.resolve().parents
    assert [p.name for p in tmp_path.iterdir()] == ["asked"]
    assert not any(part.startswith(".") for part in path.relative_to(folder).parts)
    assert all(len(os.fsencode(part)) <= MAX_PART_BYTES + 4 for part in path.parts[-2:])
    str(path.relative_to(folder)).encode()  # valid UTF-8


def test_different_names_stay_different():
    names = [*HOSTILE, "..%2E", "%2e.", "%252E.", "a%5Cb", "x" * 254, "x" * 256, "é" * 199]
    names = {name for name in names if "//" not in name}
    assert len({relative_path(name) for name in names}) == len(names)
    cut = [file_name("x" * 400), file_name("y" * 400), file_name("é" * 300)]
    assert len({*cut, *map(file_name, cut)}) == 6


def test_what_prints_alike_is_one_name():
    for name in (*HOSTILE, "a%0Ab", "caf%E9", "My%20Song"):
        assert relative_path(printable(name)) == relative_path(name)
    assert file_name("caf\udce9") == printable("caf\udce9") == file_name("caf%E9") == "caf%E9"
    assert file_name("My%20Song") == "My%20Song"


def test_ordinary_names_stay_as_they_are():
    for name in (
        "Ke$ha - 100% $wag",
        "What? (live) [remix]: no. 5*",
        "01 - Señor Ünïcode…",
        "日本",
    ):
        assert file_name(name) == name
    assert place("out", "album/01 One", ".wav").as_posix() == "out/album/01 One.wav"


def test_an_empty_name_is_an_error():
    for name in ("", "/", "//"):
        with pytest.raises(UserError, match="empty name"):
            relative_path(name)


def test_the_last_check(tmp_path):
    assert inside(tmp_path, tmp_path / "a" / "b") == tmp_path / "a" / "b"
    for path in (tmp_path, tmp_path / "..", tmp_path / "a/../..", "/etc", f"{tmp_path}2/a"):
        with pytest.raises(UserError, match="does not lie in"):
            inside(tmp_path, path)


def test_printable_text_is_one_line_of_utf8():
    assert printable("caf\udce9\n\x1b[2J ok é") == "caf%E9%0A%1B[2J ok é"
