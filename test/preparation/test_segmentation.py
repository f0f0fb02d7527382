import itertools

import numpy as np
import pytest
from reference.data_loops import segments_with_sound

from mixit_mss.audio import to_samples
from mixit_mss.preparation.segmentation import (
    SILENCE_RULES,
    PowerMeter,
    SilenceRule,
    segment_table,
)

RATE = 100


def pattern(seconds: str, loud: float = 0.1) -> np.ndarray:
    """Stereo noise where the pattern has x, zeros where it has a dot; one character per second."""
    generator = np.random.default_rng(0)
    waveform = generator.uniform(-loud, loud, (2, len(seconds) * RATE)).astype(np.float32)
    gate = np.repeat([float(character == "x") for character in seconds], RATE)
    return waveform * gate.astype(np.float32)


def metered(waveform: np.ndarray, interval: float, *cuts: int) -> PowerMeter:
    meter = PowerMeter(RATE, interval)
    for block in np.split(waveform, cuts, axis=1):
        meter.add(block)
    return meter


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        ("xxxxx.....", [True]),  # 5 s of silence is not more than 5 s
        ("xxxx......", [False]),
        (".x.x.x.x.x", [True]),
        ("xxxxxxxxxx.....xxxxx", [True, True, True]),
        ("xxxxx..........xxxxx", [True, False, True]),
        ("xxxxxxxxxxxxxx", [True]),  # no room for a second segment
        ("xxxxxxxxx", []),
    ],
)
def test_planted_silence(seconds, kept):
    table = segment_table(metered(pattern(seconds), 1.0).power, RATE)
    assert table.kept.tolist() == kept
    assert table.starts.tolist() == [5 * RATE * index for index in range(len(kept))]
    assert table.frames == 10 * RATE


def test_threshold_is_a_power_in_db_of_full_scale():
    waveform = np.full((2, 10 * RATE), 1e-2, dtype=np.float32)  # -40 dB
    power = metered(waveform, 1.0).power
    assert 10 * np.log10(power) == pytest.approx(-40)
    assert segment_table(power, RATE, rule=SilenceRule(threshold_db=-41)).kept.all()
    assert not segment_table(power, RATE, rule=SilenceRule(threshold_db=-39)).kept.any()


def test_release_rule_needs_exact_zeros_and_drops_the_whole_track():
    rule = SILENCE_RULES["release"]

    def kept(waveform):
        power = metered(waveform, rule.interval_seconds).power
        return segment_table(power, RATE, rule=rule).kept.tolist()

    gap = pattern(10 * "x" + 10 * "." + 10 * "x")
    assert kept(gap + 1e-6) == 5 * [True]
    assert kept(gap) == 5 * [False]
    assert kept(pattern(13 * "x" + 4 * "." + 13 * "x")) == 5 * [True]
    # five seconds of zeros are too much there, unlike in the paper
    assert kept(pattern("xxxxx.....")) == [False]


@pytest.mark.parametrize("threshold_db", [-60.0, -27.0, None])
def test_against_loops(threshold_db):
    generator = np.random.default_rng(1)
    level = 10 ** generator.uniform(-3.5, 0, (1, 27))
    level[0, 8:16] = 0
    gate = np.repeat(level, RATE, axis=1)
    waveform = (generator.uniform(-1, 1, gate.shape) * gate).astype(np.float32)
    rule = SilenceRule(0.5, threshold_db, 0.5)
    table = segment_table(metered(waveform, 0.5).power, RATE, 6.0, 2.0, rule)
    expected = segments_with_sound(waveform.tolist(), RATE, 6.0, 2.0, 0.5, threshold_db, 3.0)
    assert list(zip(table.starts.tolist(), table.kept.tolist(), strict=True)) == expected
    assert len(set(table.kept)) == 2 or threshold_db is None


@pytest.mark.parametrize("interval", [1.0, 0.6, 0.123])
def test_blocks_do_not_matter(interval):
    waveform = pattern("xxx.xx..xxxxxx")
    whole = metered(waveform, interval)
    for cuts in ([1, 2, 99, 100, 101, 700], [100, 200], range(7, 1400, 7), [0, 0, 1400]):
        parts = metered(waveform, interval, *cuts)
        assert np.allclose(parts.energy, whole.energy, rtol=1e-6, atol=0)
        assert parts.frames == whole.frames == waveform.shape[1]
    bounds = [to_samples(index * interval, RATE) for index in range(len(whole.energy) + 1)]
    squares = np.square(waveform.astype(np.float64)).sum(axis=0)
    expected = [squares[a:b].sum() for a, b in itertools.pairwise(bounds)]
    assert np.allclose(whole.energy, expected, rtol=1e-6)
    assert bounds[-1] <= waveform.shape[1] < to_samples((len(bounds)) * interval, RATE)


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000])
def test_segments_never_pass_the_end(rate):
    for seconds in (0.6, 3.3, 10.0):
        interval = seconds / 3
        count = 50
        total = to_samples(count * interval, rate)
        table = segment_table(np.ones(count), rate, seconds, interval, SilenceRule(interval))
        assert table.starts[-1] + table.frames <= total
        assert len(table.starts) == count - 2


def test_hop_must_be_whole_intervals():
    with pytest.raises(ValueError, match=r"hop of 0.7 s"):
        segment_table(np.ones(30), RATE, 10.0, 0.7)
    with pytest.raises(ValueError, match=r"segment of 0.5 s"):
        segment_table(np.ones(30), RATE, 0.5, 1.0)
