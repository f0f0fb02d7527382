"""Training losses: pure functions of tensors, in decibels, to be minimised."""

from mixit_mss.losses.mixit import mixit_loss
from mixit_mss.losses.snr import thresholded_snr, zero_reference_snr

__all__ = ["mixit_loss", "thresholded_snr", "zero_reference_snr"]
