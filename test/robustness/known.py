"""Faults that are known and accepted, each with its reason; there is no other list of them."""

from __future__ import annotations

KNOWN: dict[tuple[str, str], str] = {}
"""Reason by class and beginning of the place, as a campaign's summary prints them."""

LEFT_OUT = {
    "--help": "its text is no input",
    "--debug": "prints a traceback, as it is asked to",
    "--find-batch": "takes steps in fresh processes, which are slow to start",
    "--wandb": "asks a server on the internet",
    "--num-nodes": "waits for other machines, as it has to",
    **dict.fromkeys(
        (f"render-songs --{name}" for name in ("unlabelled", "train", "valid", "test", "seconds")),
        "a million songs of ten minutes take their time",
    ),
}
"""Options that no input is given, and why; neither are ``demo``, which serves until it is ended, and
jobs that ``dispatch`` could submit."""


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
