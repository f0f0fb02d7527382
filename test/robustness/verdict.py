"""What became of an input, and which of it counts as a fault."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

STATUSES = (0, 1, 2, 130)
TRACEBACK = "Traceback (most recent call last)"
FRAME = re.compile(
    r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)', re.MULTILINE
)
RAISED = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<what>.*))?$", re.MULTILINE)


@dataclass
class Verdict:
    """The end of one input.

    Attributes:
        kind, number: which.
        status: of the command; None if it had none, because it was killed or raised.
        seconds: that it took, with the making of the input.
        megabytes: at its peak, with its child processes.
        faults: by class (such as ``traceback``) and place (such as ``ValueError in audio.py:read``).
        argv: that it was called with.
        note: what was broken.
        said: the end of standard error.
    """

    kind: str
    number: int
    status: int | None = None
    seconds: float = 0.0
    megabytes: float = 0.0
    faults: list[tuple[str, str]] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)
    note: str = ""
    said: str = ""

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The verdict of :meth:`as_json`."""
        content = json.loads(text)
        return cls(**{**content, "faults": [tuple(fault) for fault in content["faults"]]})


def spoken_faults(status: int | None, out: str, err: str, state: Path) -> list[tuple[str, str]]:
    """Tracebacks printed or saved, statuses that mean nothing, and failures without a word."""
    texts = [err, *(path.read_text(errors="replace") for path in sorted(state.rglob("*.txt")))]
    texts += [out] if TRACEBACK in out else []
    faults = [("traceback", place_of(text)) for text in texts if TRACEBACK in text]
    if status is not None and status not in STATUSES:
        faults.append(("status", f"a status of {status}"))
    if status and not faults and not err.strip():
        faults.append(("silence", f"status {status} without a word"))
    return faults


def place_of(text: str) -> str:
    """Type of the last exception of a traceback, and the innermost line of ours that it came from.

    A repeated fault has one place, whatever its words were.
    """
    last = text.rsplit(TRACEBACK, 1)[1]
    frames = list(FRAME.finditer(last))
    ours = [frame for frame in frames if "/mixit_mss/" in frame["file"]] or frames
    after = last[frames[-1].end() :] if frames else last
    raised = next((m for m in RAISED.finditer(after) if not m[0].startswith(" ")), None)
    kind = raised["type"] if raised else "an exception"
    what = (raised["what"] or "")[:120] if raised else ""
    place = ours[-1] if ours else None
    where = (
        f"{place['file'].rpartition('/mixit_mss/')[2] or place['file']}:{place['line']} {place['name']}"
        if place
        else "an unknown place"
    )
    return f"{kind} in {where} ({what})"


def same_fault(fault: tuple[str, str]) -> tuple[str, str]:
    """What two findings of one cause have in common: no words of the message, no names of files."""
    group, place = fault
    if group == "traceback":
        return group, place.split(" (")[0]
    return group, re.sub(r"\d+", "N", place.split(":")[0])
