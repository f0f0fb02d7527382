"""A share of a list of songs, so that the jobs of an array do all of them and none twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from mixit_mss.errors import UserError

Item = TypeVar("Item")


class Shard(NamedTuple):
    """Share ``number`` (from 1) of ``total``; written ``3/8``."""

    number: int
    total: int

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every ``total``-th item from ``number`` on: neighbours, often alike in length, part."""
        return list(items[self.number - 1 :: self.total])

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


def parse_shard(text: str) -> Shard:
    """Read ``3/8``.

    Raises:
        UserError: it is no such share.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: write it as 3/8 for the third of eight shares")
    return Shard(int(match[1]), int(match[2]))
