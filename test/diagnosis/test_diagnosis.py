"""Planted outputs: one stem each, a stem in two, the mixture in one; and the same over songs."""

import json

import numpy as np
import pytest
import soundfile
import torch

from mixit_mss.data.manifest import make_manifest
from mixit_mss.diagnosis.chunk import diagnose_chunk, effective_number, stem_shares
from mixit_mss.diagnosis.songs import describe, diagnose, summarise
from mixit_mss.errors import UserError
from mixit_mss.losses.gram import gram_matrix

RATE = 8000


def stems(number=3, samples=8000):
    """White noise of equal power."""
    return torch.randn(number, 2, samples, dtype=torch.float64)


def judge(outputs, references, **options):
    gram = gram_matrix([outputs.flatten(1), references.flatten(1)]).numpy()
    return diagnose_chunk(gram, len(outputs), **options)


def test_a_stem_on_each_output():
    references = stems()
    found = judge(references[[2, 0, 1]], references)
    assert found.output.tolist() == [1, 2, 0] and found.group.tolist() == [2, 0, 1]
    assert (found.snr > 90).all() and (found.grouped_snr > 90).all()
    np.testing.assert_allclose(found.share, np.eye(3)[[2, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(found.content, np.eye(3)[[2, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(found.outputs_per_stem, 1, atol=1e-6)
    np.testing.assert_allclose(found.stems_per_output, 1, atol=1e-6)
    # of three equal stems one third is right: the error is two thirds
    np.testing.assert_allclose(found.mixture_snr, 10 * np.log10(3 / 2), atol=0.2)
    np.testing.assert_allclose(found.mixture_as_estimate, -10 * np.log10(2), atol=0.3)
    assert found.active.all() and found.loudest_stem_snr < 3


def test_drums_split_over_two_outputs():
    """Bass drum and hi-hat, a quarter and three quarters of the stem's energy, and a silent output."""
    pieces = stems(3) * torch.tensor([1.0, 3.0**0.5, 2.0])[:, None, None]
    references = torch.stack([pieces[0] + pieces[1], pieces[2]])
    outputs = torch.stack([pieces[0], pieces[2], torch.zeros_like(pieces[0]), pieces[1]])
    found = judge(outputs, references)
    assert found.output.tolist() == [3, 1] and found.group.tolist() == [0, 1, -1, 0]
    assert found.snr[0] == pytest.approx(10 * np.log10(4), abs=0.2)
    assert (found.grouped_snr > 90).all()
    np.testing.assert_allclose(found.share[:, 0], [0.25, 0, 0, 0.75], atol=0.03)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert found.outputs_per_stem[0] == pytest.approx(np.exp(entropy), abs=0.15)
    assert found.outputs_per_stem[1] == pytest.approx(1, abs=0.1)
    assert found.active.tolist() == [True, True, False, True]
    assert np.isnan(found.stems_per_output[2]) and found.level[2] == -100


def test_halves_of_a_stem_are_half_of_it():
    references = stems(2)
    found = judge(torch.stack([references[0] / 2, references[0] / 2, references[1]]), references)
    np.testing.assert_allclose(found.share, [[0.5, 0], [0.5, 0], [0, 1]], atol=1e-9)
    np.testing.assert_allclose(found.outputs_per_stem, [2, 1], atol=1e-6)


def test_the_mixture_on_one_output():
    references = stems()
    outputs = torch.zeros(3, 2, 8000, dtype=torch.float64)
    outputs[2] = references.sum(0)
    found = judge(outputs, references)
    assert found.mixture_snr.argmax() == 2 and found.mixture_snr.max() > 90
    assert found.active.sum() == 1
    assert found.stems_per_output[2] == pytest.approx(3, abs=0.02)
    np.testing.assert_allclose(found.outputs_per_stem, 1)
    # one stem has to take it: the other two stems are its error; silence is nearer to the rest
    assert sorted(found.snr) == pytest.approx([-3, 0, 0], abs=0.3)
    assert found.grouped_snr.tolist() == [0, 0, 0] and (found.group == -1).all()


def test_stems_that_do_not_sound():
    """One digitally silent, one 40 dB below the others."""
    references = stems(4) * torch.tensor([1, 0, 1, 0.01])[:, None, None]
    found = judge(references, references)
    assert found.sounding.tolist() == [True, False, True, False]
    for values in (found.snr, found.grouped_snr, found.mixture_as_estimate, found.outputs_per_stem):
        assert np.isnan(values).tolist() == [False, True, False, True]
    assert found.output.tolist() == [0, -1, 2, -1]
    assert judge(references, references, active_db=60).sounding.tolist() == [
        True,
        False,
        True,
        True,
    ]


def test_fewer_outputs_than_stems_leave_silence():
    references = stems(3)
    found = judge(references[:1], references)
    assert found.output.tolist() == [0, -1, -1]
    assert found.snr.tolist()[1:] == found.grouped_snr.tolist()[1:] == [0, 0]


def test_shares_know_correlated_stems_apart():
    """An output that is one of two alike stems holds nothing of the other."""
    common = torch.randn(8000, dtype=torch.float64)
    pair = torch.stack([common + 0.3 * torch.randn_like(common) for _ in range(2)])
    share = stem_shares((pair[:1] @ pair.T).numpy(), (pair @ pair.T).numpy())
    np.testing.assert_allclose(share, [[1, 0]], atol=1e-9)
    twins = pair[[0, 0]]
    share = stem_shares((twins[:1] @ twins.T).numpy(), (twins @ twins.T).numpy())
    np.testing.assert_allclose(share, [[0.5, 0.5]], atol=1e-9)


def test_effective_number():
    shares = np.array([[1, 0.5, 0, 2], [1, 0.5, 0, -3], [1, 0, 0, 0]])
    np.testing.assert_allclose(effective_number(shares), [3, 2, np.nan, 1])


@pytest.mark.parametrize(
    ("gram", "what"),
    [
        (np.zeros((3, 3)), "no energy"),
        (np.ones((2, 3)), r"\(2, 3\)"),
        (np.ones((2, 2)), r"no outputs and stems"),
        (np.full((3, 3), np.nan), "NaN"),
    ],
)
def test_bad_gram(gram, what):
    with pytest.raises(ValueError, match=what):
        diagnose_chunk(gram, 2)


class Sides:
    """Left on output 0; of the right, low sounds on output 1 and high ones on output 2."""

    sample_rate, num_channels = RATE, 2

    def __call__(self, mixture):
        left, right = mixture.clone(), mixture.clone()
        left[:, 1] = right[:, 0] = 0
        spectrum = torch.fft.rfft(right)
        edge = spectrum.shape[-1] // 2
        low, high = spectrum.clone(), spectrum.clone()
        low[..., edge:] = high[..., :edge] = 0
        parts = (torch.fft.irfft(part, n=mixture.shape[-1]) for part in (low, high))
        return torch.stack([left, *parts, torch.zeros_like(left)], dim=1)


class Copy(Sides):
    """The mixture on output 1 and nothing elsewhere."""

    def __call__(self, mixture):
        outputs = mixture.new_zeros(len(mixture), 3, *mixture.shape[1:])
        outputs[:, 1] = mixture
        return outputs


@pytest.fixture
def songs(tmp_path):
    """Bass on the left, drums (white) on the right, keys silent; 2 songs, 2 s and 3 s.

    In the last second of the second song all is silent, in the one before it only the bass sounds.
    """
    generator, rows = np.random.default_rng(0), []
    for song, seconds in (("a", 2), ("b", 3)):
        for channel, stem in enumerate(("bass", "drums", "keys")):
            signal = np.zeros((seconds * RATE, 2), np.float32)
            if stem != "keys":
                signal[:, channel] = 0.1 * generator.standard_normal(len(signal))
            if song == "b":
                signal[(2 if stem == "bass" else 1) * RATE :] = 0
            path = tmp_path / f"{song}_{stem}.wav"
            soundfile.write(path, signal, RATE, subtype="FLOAT")
            row = {"song": song, "stem": stem, "split": "test", "path": str(path), "license": ""}
            rows.append({**row, "frames": len(signal), "sample_rate": RATE, "channels": 2})
    return make_manifest(rows, [(np.array([0]), RATE)] * len(rows), "songs")


def test_over_songs(songs):
    names = ["bass", "drums", "keys"]
    table = diagnose(Sides(), songs, names, chunk_seconds=1.0)
    assert table.song.tolist() == ["a", "a", "b", "b"]
    assert table.start_seconds.tolist() == [0, 1, 0, 1]
    assert table["group:drums"].tolist() == ["1+2"] * 3 + [""]
    assert table["snr:drums"].isna().tolist() == [False] * 3 + [True]
    summary = summarise(table, names)
    json.dumps(summary, allow_nan=False)
    assert (summary["num_outputs"], summary["songs"], summary["chunks"]) == (4, 2, 4)
    assert summary["active_outputs"] == (3 + 3 + 3 + 1) / 4
    assert summary["activity"] == [1, 0.75, 0.75, 0]
    assert (summary["mixed_chunks"], summary["degenerate_share"]) == (3, 0)
    assert summary["snr_per_stem"]["keys"] is summary["outputs_of_each_stem"]["keys"] is None
    assert summary["outputs_of_each_stem"]["bass"] == pytest.approx(1, abs=0.01)
    assert summary["outputs_of_each_stem"]["drums"] == pytest.approx(2, abs=0.01)
    assert summary["shares"]["drums"] == pytest.approx([0, 0.5, 0.5, 0], abs=0.03)
    assert summary["contents"]["drums"][1:] == [pytest.approx(1), pytest.approx(1), None]
    assert summary["stems_per_output"] == pytest.approx(1, abs=0.01)
    assert summary["snr_per_stem"]["drums"] == pytest.approx(3, abs=0.3)
    assert summary["grouped_snr_per_stem"]["drums"] > 60
    assert summary["grouping_gain"] == pytest.approx(summary["grouped_snr"] - summary["snr"])
    assert summary["snr_improvement_per_stem"]["drums"] == pytest.approx(3, abs=0.3)
    # where the bass is alone, mixture and output are both exact: no chunk to measure it in
    assert summary["snr_improvement_per_stem"]["bass"] > 99
    assert summary["waveform_correlation"] < 1e-3
    assert summary["spectral_overlap_per_pair"]["bass, drums"] == pytest.approx(0.5, abs=0.05)
    words = describe(summary)
    assert "outputs 1 and 2 share drums (" in words and "share bass" not in words
    assert "keys never sounds" in words and "in 0 % of 3 chunks" in words


def test_the_degenerate_solution_over_songs(songs):
    """One stem alone is the mixture, so the last chunk is no sign of it."""
    summary = summarise(diagnose(Copy(), songs, ["bass", "drums"], 1.0), ["bass", "drums"])
    assert summary["degenerate_share"] == 1 and summary["mixed_chunks"] == 3
    assert summary["active_outputs"] == 1 and summary["grouping_gain"] == pytest.approx(0, abs=1e-6)
    assert summary["stems_per_output"] == pytest.approx((2 * 3 + 1) / 4, abs=0.01)
    words = describe(summary)
    assert "output 1 mixes bass and drums" in words and "in 100 % of 3 chunks" in words


def test_what_a_user_can_mend(songs):
    with pytest.raises(UserError, match="no stem 'flute' of song 'a'"):
        diagnose(Sides(), songs, ["bass", "flute"], 1.0)
    with pytest.raises(UserError, match="silent in all 5 chunks"):
        diagnose(Sides(), songs, ["keys"], 1.0)

    class Broken(Sides):
        def __call__(self, mixture):
            return super().__call__(mixture) * torch.nan

    with pytest.raises(UserError, match="song 'a' from 0 s on holds NaN"):
        diagnose(Broken(), songs, ["bass", "drums"], 1.0)
