"""Faults that are known and accepted, each with its reason; there is no other list of them."""

from __future__ import annotations

KNOWN: dict[tuple[str, str], str] = {
    ("time", "training/dry_run.py"): "--find-batch makes real training steps until memory ends, "
    "which on a busy CPU takes longer than an input may",
}
"""Reason by class and beginning of the place, as a campaign's summary prints them."""


def reason(fault: tuple[str, str]) -> str:
    """Why a fault is accepted; empty if it is not."""
    group, place = fault
    return next(
        (
            why
            for (known, start), why in KNOWN.items()
            if group == known and place.startswith(start)
        ),
        "",
    )
