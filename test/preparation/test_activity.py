import numpy as np
import pytest
from reference.data_loops import active_segments as loop_active_segments

from mixit_mss.preparation.activity import (
    ACTIVITY_RULES,
    ActivityRule,
    active_segments,
    active_table,
)
from mixit_mss.preparation.segmentation import PowerMeter

RATE = 1000


def phrases(levels, seconds=0.6, channels=2, seed=0):
    """Noise in stretches of the given levels (RMS)."""
    generator = np.random.default_rng(seed)
    frames = int(seconds * RATE)
    parts = [level * generator.standard_normal((channels, frames)) for level in levels]
    return np.concatenate(parts, axis=1).astype(np.float32)


def test_planted_phrases():
    # one level, so that the threshold (15 % quantile) lies in the silence's 1e-3
    loud, rest = [0.1] * 10, [0.0] * 10
    table = active_segments(phrases(loud + rest + loud), RATE)
    assert table.frames == 6 * RATE
    assert table.starts.tolist() == [0, 3000, 6000, 9000, 12000]
    # half of the chunks is not more than half
    assert table.kept.tolist() == [True, False, False, False, True]
    release = ActivityRule(min_active=5)
    assert active_segments(phrases(loud + rest + loud), RATE, release).kept.tolist() == [
        *(True, True, False, True, True)
    ]


def test_silent_stem_has_no_segment():
    assert not active_segments(np.zeros((2, 20 * RATE), np.float32), RATE).kept.any()
    # a faint stem: 600 samples x 2 channels at 1e-4 RMS are an energy of 1.2e-5 per chunk
    assert not active_segments(phrases([1e-4] * 40), RATE).kept.any()


def test_short_stem_has_no_windows():
    assert len(active_segments(phrases([0.1] * 9), RATE).starts) == 0


def swelling(seed):
    """A stem that always plays, ever louder: the quantile is the threshold."""
    return np.sort(10 ** np.random.default_rng(seed).uniform(-2, -1, 40 + seed))


def pausing(seed):
    """A stem with pauses: the bound of 1e-3 is the threshold."""
    generator = np.random.default_rng(seed)
    return 10 ** generator.uniform(-4, -1, 60) * (generator.random(60) > 0.4)


@pytest.mark.parametrize("rule", ["paper", "release"])
@pytest.mark.parametrize("levels", [swelling, pausing])
@pytest.mark.parametrize("seed", range(6))
def test_against_loops(rule, levels, seed):
    rule = ACTIVITY_RULES[rule]
    waveform = phrases(levels(seed), rule.chunk_seconds, seed=seed)
    table = active_segments(waveform, RATE, rule)
    expected = loop_active_segments(
        waveform.tolist(),
        int(rule.segment_seconds * RATE),
        int(rule.hop_seconds * RATE),
        rule.num_chunks,
        rule.min_active,
    )
    assert list(zip(table.starts.tolist(), table.kept.tolist(), strict=True)) == expected
    assert 0 < table.kept.sum() < len(table.kept)


def test_streamed_equals_whole():
    waveform = phrases([0.1] * 12 + [0.0] * 9 + [0.01] * 12)
    rule = ACTIVITY_RULES["paper"]
    meter = PowerMeter(RATE, rule.chunk_seconds)
    for block in np.array_split(waveform, 17, axis=1):
        meter.add(block)
    whole, parts = active_segments(waveform, RATE), active_table(meter, RATE, rule)
    assert parts.kept.tolist() == whole.kept.tolist()
    assert parts.starts.tolist() == whole.starts.tolist()


def test_energy_as_mean_square_gates_30_db_higher():
    soft = phrases([0.02, 0.021, 0.019, 0.02, 0.018, 0.0] * 6)  # about -34 dB
    assert active_segments(soft, RATE).kept.any()
    assert not active_segments(soft, RATE, ActivityRule(energy="mean")).kept.any()


def test_hop_must_be_whole_chunks():
    with pytest.raises(ValueError, match="hop"):
        active_segments(phrases([0.1] * 20), RATE, ActivityRule(hop_seconds=1.0))
