"""MixIT by trying every assignment on the waveforms; numpy, one example at a time."""

import itertools

import numpy as np


def negative_snr(estimate, reference, threshold, joint_channels=True):
    axis = None if joint_channels else -1
    noise = np.sum((reference - estimate) ** 2, axis=axis)
    signal = np.sum(reference**2, axis=axis)
    return np.mean(10 * np.log10((noise + threshold * signal) / signal))


def loss_of(owner, estimates, mixtures, threshold, joint_channels=True):
    """Summed loss of one assignment: source n goes to mixture owner[n]."""
    total = 0.0
    for index, mixture in enumerate(mixtures):
        remixed = np.zeros_like(mixture)
        for source, estimate in enumerate(estimates):
            if owner[source] == index:
                remixed = remixed + estimate
        total += negative_snr(remixed, mixture, threshold, joint_channels)
    return total


def best_assignment(estimates, mixtures, threshold, joint_channels=True):
    """(loss, owner) of the best of all assignments; (source, channel, sample) float64 arrays."""
    owners = itertools.product(range(len(mixtures)), repeat=len(estimates))
    scored = ((loss_of(o, estimates, mixtures, threshold, joint_channels), o) for o in owners)
    return min(scored)


def least_squares_owner(estimates, mixtures):
    """Eq. 3 on waveforms with numpy's least squares."""
    tall = estimates.reshape(len(estimates), -1).T
    weights, *_ = np.linalg.lstsq(tall, mixtures.reshape(len(mixtures), -1).T, rcond=None)
    return tuple(weights.argmax(axis=1))
