"""cSDR against museval itself: every window, the NaN pattern, and what it makes of many songs."""

import shutil

import museval
import numpy as np
import pytest
import stempeg
from museval.aggregate import EvalStore, TrackStore

from mixit_mss.scoring.metrics import csdr, framewise_sdr

RATE = 1000  # museval counts samples: a second of 1000 keeps its filters of 512 taps affordable
TOLERANCE = 1e-9  # dB


def museval_sdr(estimates, references, rate=RATE):
    """(stem, channel, sample) -> (stem, window), by museval.evaluate."""
    stems = [list(signals.transpose(0, 2, 1)) for signals in (references, estimates)]
    return museval.evaluate(*stems, win=rate, hop=rate)[0]


def song(samples, stems=2, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    references = rng.standard_normal((stems, channels, samples))
    leakage = 0.3 * references[::-1]
    return references + leakage + 0.1 * rng.standard_normal(references.shape), references


def assert_same(estimates, references, rate=RATE, silent=0):
    """Equal in every window; `silent` is the number of windows that must be NaN."""
    expected = museval_sdr(estimates, references, rate)
    found = framewise_sdr(estimates, references, rate)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.isnan(found).all(axis=0).sum() == np.isnan(found).any(axis=0).sum() == silent
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("samples", [400, 1000, 1001, 1999, 2000, 4321])
def test_windows(samples):
    """Less than one, exactly one, a partial tail."""
    assert_same(*song(samples))


@pytest.mark.parametrize(("stems", "channels"), [(1, 2), (2, 1), (3, 2)])
def test_stems_and_channels(stems, channels):
    assert_same(*song(2500, stems, channels))


@pytest.mark.parametrize("which", ["estimate", "reference"])
@pytest.mark.parametrize("stretch", [slice(1000, 2000), slice(900, 2100), slice(1001, 2000)])
def test_silent_stretches(which, stretch):
    estimates, references = song(4321)
    (estimates if which == "estimate" else references)[1, :, stretch] = 0
    assert_same(estimates, references, silent=int(stretch.start <= 1000))


@pytest.mark.parametrize("which", ["estimate", "reference"])
def test_opposite_channels_count_as_silence(which):
    estimates, references = song(4321)
    signal = estimates if which == "estimate" else references
    signal[0, 1, 1000:2000] = -signal[0, 0, 1000:2000]
    signal[1, 1, 2000:2999] = -signal[1, 0, 2000:2999]  # but not where one sample differs
    assert_same(estimates, references, silent=1)


def test_sound_in_the_dropped_tail_only():
    """museval accepts the song, as its stems are not all zeros, and every window is NaN."""
    estimates, references = song(3400)
    references[0, :, :3000] = 0
    assert_same(estimates, references, silent=3)


@pytest.mark.parametrize("samples", [1900, 3999, 4000, 4400, 7000])
def test_shorter_and_longer_estimates(samples):
    estimates, references = song(4321)
    longer = np.concatenate([estimates, estimates[::-1]], axis=-1)
    assert_same(longer[..., :samples], references, silent=max(0, 4 - -(-samples // 1000)))


def test_songs_that_museval_refuses_are_scored_without_the_silent_stem():
    estimates, references = song(3000, stems=3)
    references[1] = 0
    with pytest.raises(ValueError, match="non-silent"):
        museval_sdr(estimates, references)
    found = framewise_sdr(estimates, references, RATE)
    expected = museval_sdr(estimates[[0, 2]], references[[0, 2]])
    np.testing.assert_allclose(found[[0, 2]], expected, rtol=0, atol=TOLERANCE)
    assert np.isnan(found[1]).all()


def test_perfect_windows():
    _, references = song(2000)
    assert (museval_sdr(references, references) > 250).all()
    assert (framewise_sdr(references, references, RATE) == np.inf).all()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="reading the excerpt needs ffmpeg")
def test_real_music():
    stems, rate = stempeg.read_stems(stempeg.example_stem_path())
    mixture, drums, _, _, vocals = stems.transpose(0, 2, 1)
    references = np.stack([drums, vocals])
    estimates = references + 0.2 * (mixture - references)
    assert_same(estimates, references, rate)


class Unrounded(TrackStore):
    """museval's store of a song's windows, less its rounding to five decimals."""

    def _q(self, number, precision=".00000000000001"):
        return super()._q(number, precision)


def test_aggregation_equals_evalstore():
    names = ["vocals", "drums"]
    store, ours = EvalStore(frames_agg="median", tracks_agg="median"), []
    for seed, seconds in enumerate([3, 4, 6, 5]):
        estimates, references = song(seconds * RATE + 100, channels=1, seed=seed)
        references[0, :, :1500] = 0  # one window of each song, and half of another
        if seed == 3:
            references[1, :, 1000:] = 0  # a song without any window
        ours.append(csdr(estimates, references, RATE))
        track = Unrounded(track_name=f"song {seed}")
        for name, sdr in zip(names, museval_sdr(estimates, references), strict=True):
            track.add_target(name, dict.fromkeys(("SDR", "SIR", "ISR", "SAR"), sdr))
        store.add_track(track)

    per_song = store.agg_frames_scores()
    for index, scores in enumerate(ours):
        expected = [per_song[f"song {index}", name, "SDR"] for name in names]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)
    assert np.isnan(ours[3]).all()
    over_songs = store.agg_frames_tracks_scores()
    expected = [over_songs[name, "SDR"] for name in names]
    np.testing.assert_allclose(np.nanmedian(ours, axis=0), expected, rtol=0, atol=TOLERANCE)
