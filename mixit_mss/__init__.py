"""Mixture-invariant training (MixIT) for music source separation, from raw songs to scored stems.

Axis names are the same everywhere: ``batch, source, mixture, channel, sample, frame, bin, band,
feature``.  Audio is float, full scale 1, with axes ``(..., channel, sample)``.
"""

__version__ = "0.1.0"
