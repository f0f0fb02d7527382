"""Cut a song into overlapping segments and drop those with too much silence (paper, section 4.1).

Only the power of short intervals is stored, so a song of any length can be streamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixit_mss.audio import to_samples


@dataclass(frozen=True)
class SilenceRule:
    """When a segment counts as too silent.

    Attributes:
        interval_seconds: the power is measured over intervals of this length.
        threshold_db: an interval is silent below this power, in dB of full scale (a constant signal
            of 1 has 0 dB); None means silent only if every sample is exactly zero.
        max_silence: a segment is dropped if more than this share of it is silent (paper: 5 s of
            10 s).
        whole_track: a single dropped segment drops the whole track.
    """

    interval_seconds: float = 1.0
    threshold_db: float | None = -60.0
    max_silence: float = 0.5
    whole_track: bool = False


SILENCE_RULES = {
    # The paper gives no threshold: -60 dB is below fades and hiss but above dither (-96 dB).
    "paper": SilenceRule(),
    # The authors' code drops at 10 of 20 silent half seconds: from 5 s on, not only above 5 s.
    "release": SilenceRule(0.5, None, 9.5 / 20, whole_track=True),
}


class SegmentTable(NamedTuple):
    """Every segment that fits into a track.

    Attributes:
        starts: (segment,) int64, first sample of each segment.
        frames: samples per channel of every segment.
        kept: (segment,) bool, False for dropped segments.
    """

    starts: np.ndarray
    frames: int
    kept: np.ndarray


class PowerMeter:
    """Energy and power of consecutive intervals of a waveform that arrives block by block.

    Args:
        sample_rate: Hz.
        interval_seconds: length of an interval; its bounds are rounded down to whole samples.

    Attributes:
        frames: samples per channel seen so far.
    """

    def __init__(self, sample_rate: int, interval_seconds: float):
        self.frames = 0
        self._rate, self._interval = sample_rate, interval_seconds
        self._energies: list[np.ndarray] = []
        self._pending, self._complete, self._channels = 0.0, 0, 1

    def add(self, block: np.ndarray) -> None:
        """Add the next (channel, sample) block."""
        self._channels, samples = block.shape
        if not samples:
            return
        end = self.frames + samples
        last = int((end + 1e-6) / self._rate / self._interval) + 1
        bounds = np.array(
            [
                bound
                for index in range(self._complete + 1, last + 1)
                if (bound := to_samples(index * self._interval, self._rate)) <= end
            ],
            dtype=np.int64,
        )
        inside = bounds[bounds < end] - self.frames
        squares = np.einsum("cs,cs->s", block, block)
        sums = np.add.reduceat(squares, np.concatenate([[0], inside]), dtype=np.float64)
        sums[0] += self._pending
        if len(bounds) > len(inside):  # the block ends with an interval
            self._pending = 0.0
        else:
            self._pending, sums = sums[-1], sums[:-1]
        self._energies.append(sums)
        self._complete += len(sums)
        self.frames = end

    @property
    def energy(self) -> np.ndarray:
        """(interval,) sum of squares over samples and channels, complete intervals only."""
        return np.concatenate([np.zeros(0), *self._energies])

    @property
    def power(self) -> np.ndarray:
        """(interval,) mean square over samples and channels, complete intervals only."""
        return self.energy / (self._interval * self._rate * self._channels)


def segment_table(
    power: np.ndarray,
    sample_rate: int,
    segment_seconds: float = 10.0,
    hop_seconds: float = 5.0,
    rule: SilenceRule = SILENCE_RULES["paper"],
) -> SegmentTable:
    """Segments of a track, and which of them the silence rule keeps.

    Args:
        power: (interval,) mean square per ``rule.interval_seconds``, from :class:`PowerMeter`.
        sample_rate: Hz, of the starts to return.
        segment_seconds: length of a segment (paper: 10).
        hop_seconds: step between segments (paper: 5).
        rule: what counts as silent.

    Raises:
        ValueError: segment or hop is not a whole number of intervals.
    """
    length = whole_ratio(segment_seconds, rule.interval_seconds, "segment")
    hop = whole_ratio(hop_seconds, rule.interval_seconds, "hop")
    quietest = 0.0 if rule.threshold_db is None else 10 ** (rule.threshold_db / 10)
    silent = power <= quietest if rule.threshold_db is None else power < quietest
    kept = sliding(silent, length, hop).sum(axis=1) <= rule.max_silence * length
    if rule.whole_track and not kept.all():
        kept[:] = False
    return table(kept, sample_rate, segment_seconds, hop_seconds)


def table(
    kept: np.ndarray, sample_rate: int, segment_seconds: float, hop_seconds: float
) -> SegmentTable:
    """The :class:`SegmentTable` of segments at multiples of the hop."""
    starts = [to_samples(index * hop_seconds, sample_rate) for index in range(len(kept))]
    frames = to_samples(segment_seconds, sample_rate)
    return SegmentTable(np.array(starts, dtype=np.int64), frames, kept)


def sliding(values: np.ndarray, length: int, hop: int) -> np.ndarray:
    """View (segment, interval): windows of ``length`` values, one per ``hop``; whole ones only."""
    if len(values) < length:
        return np.zeros((0, length), dtype=values.dtype)
    return np.lib.stride_tricks.sliding_window_view(values, length)[::hop]


def whole_ratio(seconds: float, interval_seconds: float, name: str) -> int:
    """Number of intervals in ``seconds``; raises ValueError if that is not a whole number."""
    count = round(seconds / interval_seconds) if interval_seconds > 0 else 0
    if count < 1 or abs(count * interval_seconds - seconds) > 1e-6:
        raise ValueError(
            f"the {name} of {seconds:g} s is not a positive multiple of {interval_seconds:g} s, "
            "the interval in which its loudness is measured"
        )
    return count
