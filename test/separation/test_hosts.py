"""A server answers to its own names, and to no other that somebody lets point here."""

import socket

import pytest

from mixit_mss.separation.hosts import is_known, names_of


@pytest.mark.parametrize(
    ("host", "called"),
    [
        *(
            ("127.0.0.1", name)
            for name in ("localhost", "LOCALHOST:7860", "127.0.0.1:1", "[::1]:80")
        ),
        *(("0.0.0.0", name) for name in ("192.168.1.5:7860", "[fe80::1]", socket.gethostname())),
        *(
            ("::", name)
            for name in ("[2001:db8::1]:7860", "10.0.0.1", f"{socket.gethostname()}.local")
        ),
        *(("music.example.org", name) for name in ("music.example.org:80", "Music.Example.Org.")),
        ("10.0.0.5", "10.0.0.5:7860"),
    ],
)
def test_names_of_its_own(host, called):
    assert is_known(called, names_of(host))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "music.example.org", "10.0.0.5"])
@pytest.mark.parametrize(
    "called",
    [
        *("evil.org", "evil.org:7860", "localhost.evil.org", "127.0.0.1.evil.org", "", ":7860"),
        *("localhost:x", "localhost@evil.org", "a b", "[::1", "xlocalhost", "localhost,evil.org"),
        "[evil]",
    ],
)
def test_other_names(host, called):
    assert not is_known(called, names_of(host))


def test_an_address_of_elsewhere_where_only_one_was_asked_for():
    assert not is_known("10.0.0.6", names_of("10.0.0.5"))
    assert not is_known("10.0.0.6", names_of("127.0.0.1"))
