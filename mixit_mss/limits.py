"""Limits of all numeric options: one table for the command line, configs and Python calls.

A limit is wide enough for any real use, and narrow enough that a typing error is reported before
anything is built.
"""

from __future__ import annotations

import math
import reprlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

MAX_NAME = 100
"""Bytes in a stem's name, which leaves room in a file name for what is added to it."""


def shown(value: object, length: int = 60) -> str:
    """Quote a value in an error message: on one line, and short."""
    text = ascii(value) if _unprintable(value) else _REPR.repr(value)
    return text if len(text) <= length else f"{text[: length - 20]}...{text[-15:]}"


def told(text: str) -> str:
    """The user's input, in quotes only where it would be misread without them."""
    plain = text.isascii() and text.isprintable() and text and " " not in text
    return text if plain and len(text) <= 20 else shown(text)


@dataclass(frozen=True)
class Whole:
    """Integers from ``lowest`` to ``highest``; ``what`` names the unit, ``why`` the reason."""

    lowest: int
    highest: int
    what: str = ""
    why: str = ""

    def __str__(self) -> str:
        what, why = f" {self.what}" if self.what else "", f" ({self.why})" if self.why else ""
        return f"a whole number{what} from {self.lowest} to {self.highest}{why}"

    def check(self, value: object) -> int:
        """Return the value if it is within the limit.

        Raises:
            ValueError: it is not; the message quotes it.
        """
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{shown(value)} must be {self}")
        if not self.lowest <= value <= self.highest:
            raise ValueError(f"{_digits(value)} must be {self}")
        return value

    def parse(self, text: str) -> int:
        """Read plain digits.

        Raises:
            ValueError: as :meth:`check`.
        """
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
            raise ValueError(f"{told(text)} must be {self}")
        return self.check(int(text))


@dataclass(frozen=True)
class Number:
    """Finite numbers from ``lowest`` to ``highest``, both included by default.

    Attributes:
        lowest: the smallest.
        highest: the largest.
        what: the unit, such as ``of seconds``.
        above: exclude ``lowest``.
        below: exclude ``highest``.
    """

    lowest: float
    highest: float
    what: str = ""
    above: bool = False
    below: bool = False

    def __str__(self) -> str:
        what = f" {self.what}" if self.what else ""
        start = f"above {self.lowest:g}" if self.above else f"from {self.lowest:g}"
        end = f"to below {self.highest:g}" if self.below else f"to {self.highest:g}"
        return f"a number{what} {start} {end}"

    def check(self, value: object) -> float:
        """Return the value if it is within the limit.

        Raises:
            ValueError: it is not; the message quotes it.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{shown(value)} must be {self}")
        high_enough = self.lowest < value if self.above else self.lowest <= value
        low_enough = value < self.highest if self.below else value <= self.highest
        if not (high_enough and low_enough):  # also rejects NaN and infinity
            quoted = f"{value:g}" if isinstance(value, float) else _digits(value)
            raise ValueError(f"{quoted} must be {self}")
        return value

    def parse(self, text: str) -> float:
        """Read a number in plain digits, with or without an exponent.

        Raises:
            ValueError: as :meth:`check`.
        """
        try:
            if len(text) > 40 or not text.isascii() or "_" in text:
                raise ValueError
            value = float(text)
        except ValueError:
            raise ValueError(f"{told(text)} must be {self}") from None
        if not math.isfinite(value):
            raise ValueError(f"{told(text)} must be {self}")
        return self.check(value)


CHUNK_SECONDS = Number(0.01, 600, "of seconds")
SEGMENT_SECONDS = Number(0.01, 3600, "of seconds")
BATCH_SIZE = Whole(1, 65536, why="more examples fit no machine")
CHUNKS_AT_ONCE = Whole(1, 1024, "of chunks", "more fit no device's memory")
AUDIO_STREAM = Whole(1, 99, "of an audio stream")
SHIFTS = Whole(1, 100, "of delays", "each takes as long as the whole song")
SEED = Whole(0, 2**32 - 1, why="what every generator of random numbers takes")
PROCESSES = Whole(1, 256, "of processes", "each takes a core and its memory")
WORKERS = Whole(0, 128, "of processes for each device", "each takes a core and its memory")
DEVICES = Whole(1, 4096)
NODES = Whole(1, 10000)
SAMPLE_RATE = Whole(1000, 768000, "of Hz")
CHANNELS = Whole(1, 64, "of channels")
EXACT_OUTPUTS = 20
"""Most outputs for which the exact MixIT solver tries all assignments."""

SHARE = Number(0, 1, below=True)

NETWORK: dict[str, Whole | Number] = {
    "num_sources": Whole(1, 256, "of outputs"),
    "sample_rate": Whole(100, 768000, "of Hz"),
    "num_channels": Whole(1, 64, "of channels"),
    "n_fft": Whole(2, 65536, "of samples"),
    "hop": Whole(1, 32768, "of samples"),
    "num_blocks": Whole(1, 128),
    "dim": Whole(1, 2048, "of features", "the paper's largest network has 192"),
    "ffn_dim": Whole(1, 8192, "of features"),
    "num_heads": Whole(1, 256),
    "num_groups": Whole(1, 2048),
    "kernel_size": Whole(1, 128, "of taps"),
    "dropout": SHARE,
    "depth": Whole(1, 128),
    "heads": Whole(1, 256),
    "dim_head": Whole(1, 1024),
    "time_transformer_depth": Whole(1, 16),
    "freq_transformer_depth": Whole(1, 16),
    "mask_estimator_depth": Whole(1, 16),
    "num_residual_streams": Whole(1, 16),
}
"""Limits of network arguments, by name."""


def check_names(names: Iterable[object], what: str = "stem") -> tuple[str, ...]:
    """Return the names if all can be file names and no two are the same.

    Raises:
        ValueError: a name is not a string, is empty, is a path, is too long, holds control
            characters, or is given twice.
    """
    checked: list[str] = []
    for name in names:
        if check_name(name, what) in checked:
            raise ValueError(f"the name of {what} {shown(name)} is given twice")
        checked.append(str(name))
    return tuple(checked)


def check_name(name: object, what: str = "stem") -> str:
    """Return the name if it can be a file name.

    Raises:
        ValueError: as :func:`check_names`.
    """
    if not isinstance(name, str):
        raise ValueError(f"the name of a {what} must be text, got {shown(name)}")
    if problem := _problem(name):
        raise ValueError(f"{shown(name)} cannot be the name of a {what}: it {problem}")
    return name


def _problem(name: str) -> str:
    if not name.strip():
        return "is empty"
    if name in (".", "..") or "/" in name or "\\" in name:
        return "is a path"
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return "holds control characters"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        return f"has more than {MAX_NAME} bytes"
    return ""


def _unprintable(value: object) -> bool:
    return isinstance(value, str) and not value.isprintable()


def _digits(number: int) -> str:
    """An integer as text; for a very long one, only its number of digits."""
    return (
        str(number)
        if abs(number) < 10**20
        else f"one of about {number.bit_length() * 3 // 10} digits"
    )


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60
