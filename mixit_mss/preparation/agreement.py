"""Whether a song's mixture is the sum of its stems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixit_mss.names import printable

SUM_DB = 20.0
"""Below this, a tenth or more of the mixture's amplitude is in no stem: a level change, an effect
or an extra instrument.  Estimates from such a mixture cannot come closer to the stems."""
MOST_DB = 120.0  # of an exact sum
NAMED = 3


class Agreement:
    """SNR of a mixture relative to its difference from the sum of its stems, block by block."""

    def __init__(self) -> None:
        self._mixture = self._rest = 0.0
        self._comparable = True

    def add(self, blocks: Mapping[str, np.ndarray | None]) -> None:
        """Add a block (channel, sample) of ``mixture`` and each stem; None after a file's end."""
        arrays = {stem: block for stem, block in blocks.items() if block is not None}
        if len(arrays) < len(blocks) or len({array.shape for array in arrays.values()}) > 1:
            self._comparable = False
        if not self._comparable:
            return
        mixture = arrays.pop("mixture")
        self._mixture += _energy(mixture)
        self._rest += _energy(mixture - np.sum(list(arrays.values()), axis=0))

    @property
    def decibels(self) -> float | None:
        """At most 120; None if the files differ in shape or the mixture is silent."""
        if not self._comparable or not 0 < self._mixture < np.inf:
            return None
        ratio = max(self._rest / self._mixture, 10 ** (-MOST_DB / 10))
        return float(-10 * np.log10(ratio))


def agreement_text(of_songs: Sequence[tuple[str, float]]) -> str:
    """One line with the range of the songs' SNRs, and a note about songs below ``SUM_DB``."""
    if not of_songs:
        return ""
    values = [value for _, value in of_songs]
    lines = [
        f"  mixture files against the sums of their stems: {min(values):.1f} to {max(values):.1f} dB"
    ]
    far = sorted((value, name) for name, value in of_songs if value < SUM_DB)
    if far:
        named = ", ".join(f"'{printable(name)}' {value:.1f} dB" for value, name in far[:NAMED])
        more = f" and {len(far) - NAMED} more" if len(far) > NAMED else ""
        lines.append(
            f"  note: the mixture is not the sum of the stems in {named}{more}: below {SUM_DB:g} dB "
            "no estimate can come near to the stems; look for one that is missing, louder or changed"
        )
    return "\n".join(lines)


def _energy(block: np.ndarray) -> float:
    return float(np.square(block, dtype=np.float64).sum())
