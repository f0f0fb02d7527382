"""Where a stem is active: the source activity detection of BSRNN (arXiv 2209.15174, section IV-A).

A stem is cut into overlapping segments of ten chunks each.  A chunk is active if its energy exceeds
a threshold that adapts to the stem's level, and a segment is kept if enough of its chunks are
active.

Neither paper defines "energy".  Here it is the sum of squares over samples and channels, as in the
authors' code, because only then does the lower bound of the threshold, 1e-3, make sense: over 0.6 s
of 44.1 kHz stereo it is 77 dB below full scale, which gates out only what is inaudible, and above
it the quantile decides.  As a mean square, 1e-3 would be 30 dB below full scale and discard soft
vocals and most bass lines.  ``energy="mean"`` selects that reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixit_mss.preparation.segmentation import PowerMeter, SegmentTable, sliding, table, whole_ratio


@dataclass(frozen=True)
class ActivityRule:
    """Constants of the detection.

    Attributes:
        segment_seconds: length of a segment.
        hop_seconds: step between segments, a multiple of the chunk length.
        num_chunks: chunks per segment.
        quantile: this quantile of all chunk energies of the track is the threshold ...
        min_threshold: ... but at least this.
        silent_energy: energy assigned to silent chunks.
        min_active: a segment with at least this many active chunks is kept.
        energy: "sum" of squares, or "mean" square.
    """

    segment_seconds: float = 6.0
    hop_seconds: float = 3.0
    num_chunks: int = 10
    quantile: float = 0.15
    min_threshold: float = 1e-3
    silent_energy: float = 1e-5
    min_active: int = 6
    energy: str = "sum"

    @property
    def chunk_seconds(self) -> float:
        return self.segment_seconds / self.num_chunks


ACTIVITY_RULES = {
    "paper": ActivityRule(),  # "more than half" of ten
    "release": ActivityRule(segment_seconds=8.0, hop_seconds=4.0, min_active=5),
}


def active_segments(
    waveform: np.ndarray, sample_rate: int, rule: ActivityRule = ACTIVITY_RULES["paper"]
) -> SegmentTable:
    """Segments of a whole stem (channel, sample), with ``kept`` where the stem is active."""
    meter = PowerMeter(sample_rate, rule.chunk_seconds)
    meter.add(waveform)
    return active_table(meter, sample_rate, rule)


def active_table(
    meter: PowerMeter, sample_rate: int, rule: ActivityRule = ACTIVITY_RULES["paper"]
) -> SegmentTable:
    """Like :func:`active_segments`, for a stem that was streamed through a meter.

    Args:
        meter: has measured the stem, with intervals of ``rule.chunk_seconds``.
        sample_rate: Hz, of the starts to return.
        rule: the constants.

    Raises:
        ValueError: the hop is not a whole number of chunks.
    """
    hop = whole_ratio(rule.hop_seconds, rule.chunk_seconds, "hop")
    energy = meter.energy if rule.energy == "sum" else meter.power
    energy = np.where(energy == 0, rule.silent_energy, energy)
    segments = sliding(energy, rule.num_chunks, hop)
    if not len(segments):
        return table(np.zeros(0, bool), sample_rate, rule.segment_seconds, rule.hop_seconds)
    threshold = max(np.quantile(segments, rule.quantile), rule.min_threshold)
    kept = (segments > threshold).sum(axis=1) >= rule.min_active
    return table(kept, sample_rate, rule.segment_seconds, rule.hop_seconds)
