"""Short-time Fourier transform in the geometry of the published network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class STFT(nn.Module):
    """Centred STFT with a periodic Hann window, and its inverse.

    A centred transform of ``n`` samples has ``1 + n // hop`` frames.  The published network drops
    the last of them, so its spectra have ``n // hop``.  That cut leaves the final samples to the
    skirt of the last frame's window, and the inverse divides by that window: harmless at 6, 8 and
    12 s of 44.1 kHz, explosive where the skirt reaches zero (half-overlapping frames, or a signal
    one sample short of a whole hop).  So the frame is dropped only while the window at the last
    sample is at least :attr:`min_window`; otherwise the signal is zero-padded to a whole hop and
    all frames stay.

    Args:
        n_fft: window and transform length in samples, even.
        hop: step between frames in samples, at most half the window.
    """

    min_window = 0.01
    window: Tensor

    def __init__(self, n_fft: int, hop: int):
        super().__init__()
        if n_fft < 2 or n_fft % 2:
            raise ValueError(f"n_fft must be a positive even number of samples, got {n_fft}")
        if not 0 < hop <= n_fft // 2:
            raise ValueError(f"hop must be between 1 and n_fft / 2 = {n_fft // 2}, got {hop}")
        self.n_fft, self.hop = n_fft, hop
        self.num_bins = n_fft // 2 + 1
        # float32 values, as in the published network, even in a float64 network
        window = torch.hann_window(n_fft, periodic=True, dtype=torch.float32)
        self.register_buffer("window", window, persistent=False)

    def layout(self, length: int) -> tuple[int, int]:
        """Samples after zero-padding, and frames to keep, for a signal of ``length`` samples."""
        padded = max(length, self.n_fft)
        frames = padded // self.hop
        last = padded - 1 - (frames - 1) * self.hop  # last sample, seen from the last frame
        skirt = math.cos(math.pi * last / self.n_fft) ** 2
        if 2 * last < self.n_fft and skirt >= self.min_window:
            return padded, frames
        padded += -padded % self.hop
        return padded, padded // self.hop + 1

    def forward(self, signal: Tensor) -> Tensor:
        """Signal (..., sample), float32 or float64 -> complex spectrum (..., all frames, bin)."""
        length = signal.shape[-1]
        padded, _ = self.layout(length)
        flat = nn.functional.pad(signal.reshape(-1, length), (0, padded - length))
        window = self.window.to(signal.dtype)
        spectrum = torch.stft(flat, self.n_fft, self.hop, window=window, return_complex=True)
        return spectrum.transpose(-1, -2).unflatten(0, signal.shape[:-1])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Complex spectrum (..., frame, bin) of ``length`` samples -> signal (..., sample).

        The spectrum has either all frames or those that :meth:`layout` keeps.
        """
        window = self.window.to(spectrum.real.dtype)
        flat = spectrum.flatten(0, -3).transpose(-1, -2)
        signal = torch.istft(flat, self.n_fft, self.hop, window=window, length=length)
        return signal.unflatten(0, spectrum.shape[:-2])
