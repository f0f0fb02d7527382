"""Eq. 4 and its extension to silence, one sample at a time, in Python's own floats."""

import math


def energy(signal):
    return math.fsum(float(sample) ** 2 for channel in signal for sample in channel)


def difference(first, second):
    return [
        [float(a) - float(b) for a, b in zip(*pair, strict=True)]
        for pair in zip(first, second, strict=True)
    ]


def thresholded_snr(estimate, reference, threshold):
    """(channel, sample) nested lists or arrays -> dB, norms over the whole signal."""
    signal = energy(reference)
    return -10 * math.log10(signal / (energy(difference(reference, estimate)) + threshold * signal))


def per_channel(estimate, reference, threshold):
    losses = [
        thresholded_snr([one], [other], threshold)
        for one, other in zip(estimate, reference, strict=True)
    ]
    return sum(losses) / len(losses)


def zero_reference_snr(estimate, reference, mixture, threshold, below, leak_threshold, weight):
    """Norms over the whole signal; `below` in dB relative to the mixture."""
    signal, whole = energy(reference), energy(mixture)
    if signal > 0 and 10 * math.log10(signal / whole) >= below:
        return thresholded_snr(estimate, reference, threshold)
    return weight * 10 * math.log10(energy(estimate) + leak_threshold * whole)
