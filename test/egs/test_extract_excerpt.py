"""The recipe's real recording: five streams of one MP4, whole, in order, and once only."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mixit_mss.errors import UserError

SCRIPT = Path(__file__).parents[2] / "egs/midi_band/local/extract_excerpt.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("extract_excerpt", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def centre(signal):
    power = np.abs(np.fft.rfft(signal.mean(axis=1))) ** 2
    return np.average(np.arange(len(power)), weights=power)


def test_the_stems_are_whole_and_add_up_to_the_mixture(script, tmp_path, capsys):
    script.main(["--out", str(tmp_path)])
    folder = tmp_path / script.SONG
    signals = {path.stem: soundfile.read(path)[0] for path in folder.glob("*.wav")}
    assert set(signals) == {"mixture", "drums", "bass", "other", "vocals"}
    for name, signal in signals.items():
        assert signal.shape == (268288, 2), name  # 6.08 s of 44.1 kHz
    mixture = signals.pop("mixture")
    # AAC coded each stream by itself, and the mixture was mastered: near, not equal
    error = mixture - sum(signals.values())
    assert 10 * np.log10((mixture**2).sum() / (error**2).sum()) > 12
    # which stream is which: seen in the centres of their spectra (308 to 940 Hz)
    assert sorted(signals, key=lambda name: centre(signals[name])) == [
        "bass",
        "drums",
        "other",
        "vocals",
    ]
    capsys.readouterr()
    script.main(["--out", str(tmp_path)])
    assert "unchanged" in capsys.readouterr().out


def test_a_broken_recording_leaves_nothing(script, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no streams")
    with pytest.raises(UserError, match="cannot decode stream 0"):
        script.extract(tmp_path / "broken.mp4", tmp_path / "out" / "song")
    assert list((tmp_path / "out").iterdir()) == []
