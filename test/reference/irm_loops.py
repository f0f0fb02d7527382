"""The ideal ratio mask frame by frame, with overlap-add written out."""

import numpy as np


def ideal_ratio_mask(mixture, references, size=2048):
    """(sample,) and (stem, sample) -> (stem, sample): Hann window, half overlap."""
    hop, length = size // 2, mixture.shape[-1]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = -(-length // hop) + 1
    padded = np.zeros((1 + len(references), (frames + 1) * hop))
    padded[0, hop : hop + length] = mixture
    padded[1:, hop : hop + length] = references
    estimates = np.zeros((len(references), padded.shape[1]))
    weight = np.zeros(padded.shape[1])
    for frame in range(frames):
        place = slice(frame * hop, frame * hop + size)
        spectra = [np.fft.rfft(window * signal[place]) for signal in padded]
        magnitudes = [np.abs(spectrum) for spectrum in spectra[1:]]
        weight[place] += window**2
        for stem, magnitude in enumerate(magnitudes):
            mask = magnitude / np.maximum(sum(magnitudes), 1e-300)
            estimates[stem, place] += window * np.fft.irfft(mask * spectra[0], size)
    inside = slice(hop, hop + length)
    return estimates[:, inside] / weight[inside]
