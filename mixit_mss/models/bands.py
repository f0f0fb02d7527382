"""Band split and band-wise mask estimation (paper section 4.2; BSRNN, arXiv 2209.15174).

Neighbouring bands of one width are computed together: a group of ``g`` bands is one batched matrix
product instead of ``g`` small layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise

import torch
from torch import Tensor, nn

from mixit_mss.limits import shown
from mixit_mss.models.channels import keep_outputs
from mixit_mss.models.checks import MAX_BANDS
from mixit_mss.models.gated_masks import BandGroup, MaskLayout, gated_masks

BANDS_44100_2048 = (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129)
"""The 62 band widths, in bins, of BS-RoFormer at 44.1 kHz and 1025 bins (arXiv 2309.02612)."""


def band_groups(widths: Sequence[int]) -> list[BandGroup]:
    """Runs of equal ``widths`` (bins per band, lowest band first)."""
    runs = [(width, len(list(run))) for width, run in groupby(widths)]
    band = [0, *accumulate(count for _, count in runs)]
    start = [0, *accumulate(width * count for width, count in runs)]
    return [
        BandGroup(slice(band[i], band[i + 1]), slice(start[i], start[i + 1]), count, width)
        for i, (width, count) in enumerate(runs)
    ]


def mel_bands(num_bands: int, n_fft: int, sample_rate: int) -> tuple[int, ...]:
    """Widths of ``num_bands`` bands over ``n_fft // 2 + 1`` bins, about equal on the mel scale.

    For networks at other rates than the paper's; every band has at least one bin.
    """
    num_bins = n_fft // 2 + 1
    if not 0 < num_bands <= num_bins:
        raise ValueError(f"num_bands must be between 1 and {num_bins} bins, got {num_bands}")
    top = math.log1p(sample_rate / 2 / 700)
    hertz = [700 * math.expm1(top * band / num_bands) for band in range(num_bands + 1)]
    edges = [round(frequency * n_fft / sample_rate) for frequency in hertz]
    edges[0], edges[-1] = 0, num_bins
    for i in range(1, num_bands):  # at least one bin here, and one for each band above
        edges[i] = min(max(edges[i], edges[i - 1] + 1), num_bins - (num_bands - i))
    return tuple(b - a for a, b in pairwise(edges))


def band_widths(bands: Sequence[int] | int | None, n_fft: int, sample_rate: int) -> tuple[int, ...]:
    """Widths in bins, lowest band first, from the ``bands`` of a config.

    Args:
        bands: the widths; or a number of bands, spaced on the mel scale; or None for
            :data:`BANDS_44100_2048`.
        n_fft: STFT window in samples.
        sample_rate: in Hz.

    Raises:
        ValueError: the bands do not add up to the ``n_fft // 2 + 1`` bins, or one is empty.
    """
    if bands is None:
        bands = BANDS_44100_2048
    elif isinstance(bands, int) and not isinstance(bands, bool):
        if bands > MAX_BANDS:
            raise ValueError(f"bands must be at most {MAX_BANDS}, got {shown(bands)}")
        bands = mel_bands(bands, n_fft, sample_rate)
    if not isinstance(bands, (list, tuple)) or not all(type(width) is int for width in bands):
        raise ValueError(f"bands must be a whole number, or a list of them, got {shown(bands)}")
    if not 0 < len(bands) <= MAX_BANDS:
        raise ValueError(f"there must be 1 to {MAX_BANDS} bands, got {len(bands)}")
    if sum(bands) != n_fft // 2 + 1 or min(bands) < 1:
        raise ValueError(
            f"bands hold {sum(bands)} bins, but n_fft {n_fft} gives {n_fft // 2 + 1}: choose "
            "widths of at least 1 that add up to it"
        )
    return tuple(bands)


class BandLinear(nn.Module):
    """One linear layer per band: (batch, frame, band, in) -> (batch, frame, band, out)."""

    def __init__(self, num_bands: int, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_bands, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(num_bands, 1, out_features))
        # PyTorch's default for linear and convolution layers
        bound = in_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, bands, features = x.shape
        rows = x.permute(2, 0, 1, 3).reshape(bands, batch * frames, features)
        out = torch.baddbmm(self.bias, rows, self.weight)
        return out.view(bands, batch, frames, -1).permute(1, 2, 0, 3)


class BandNorm(nn.Module):
    """Normalise each band over its frames and features, as GroupNorm with one group per band."""

    eps = 1e-5

    def __init__(self, num_bands: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_bands, features))
        self.bias = nn.Parameter(torch.zeros(num_bands, features))

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, frame, band, feature), any precision -> the same shape."""
        variance, mean = torch.var_mean(_precise(x), (1, 3), correction=0)
        scale = (variance + self.eps).rsqrt()[:, None, :, None] * self.weight
        return torch.addcmul(self.bias - mean[:, None, :, None] * scale, x, scale)


class BandSplit(nn.Module):
    """Encoder: each band of the spectrum is normalised and mapped to ``dim`` features.

    Args:
        widths: bins per band, lowest band first.
        num_channels: audio channels.
        dim: features per band.
    """

    def __init__(self, widths: Sequence[int], num_channels: int, dim: int):
        super().__init__()
        self.groups = band_groups(widths)
        inputs = [2 * num_channels * group.width for group in self.groups]
        self.norms = nn.ModuleList(
            BandNorm(g.num_bands, n) for g, n in zip(self.groups, inputs, strict=True)
        )
        self.linears = nn.ModuleList(
            BandLinear(g.num_bands, n, dim) for g, n in zip(self.groups, inputs, strict=True)
        )

    def forward(self, spectrum: Tensor) -> Tensor:
        """Complex spectrum (batch, channel, frame, bin) -> (batch, frame, band, feature)."""
        # the published order of a band's inputs: bin, then real before imaginary, then channel
        parts = torch.view_as_real(spectrum).permute(0, 2, 3, 4, 1)
        features = []
        for group, norm, linear in zip(self.groups, self.norms, self.linears, strict=True):
            band = parts[:, :, group.bins].unflatten(2, (group.num_bands, group.width)).flatten(3)
            features.append(linear(norm(band)))
        return torch.cat(features, dim=2)


class BandMask(nn.Module):
    """Decoder: a small MLP maps each band's features to complex masks for its bins.

    The last layer's outputs are kept in the published order (GLU half, real/imaginary, source,
    channel, bin).

    Args:
        widths: bins per band.
        num_channels: audio channels.
        num_sources: masks per channel.
        dim: features per band; the hidden layers have ``4 * dim``.
    """

    def __init__(self, widths: Sequence[int], num_channels: int, num_sources: int, dim: int):
        super().__init__()
        self.groups = band_groups(widths)
        self.num_channels, self.num_sources = num_channels, num_sources
        self.norm = BandNorm(len(widths), dim)
        self.hidden1 = BandLinear(len(widths), dim, 4 * dim)
        self.hidden2 = BandLinear(len(widths), 4 * dim, 4 * dim)
        self.outputs = nn.ModuleList(
            BandLinear(g.num_bands, 4 * dim, 4 * num_sources * num_channels * g.width)
            for g in self.groups
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, frame, band, feature) -> mask (batch, source, channel, frame, bin)."""
        hidden = self.hidden2(self.hidden1(self.norm(features))).tanh()
        batch, frames = features.shape[:2]
        layout = MaskLayout(self.groups, batch, frames, self.num_sources, self.num_channels)
        weights = [parameter for output in self.outputs for parameter in output.parameters()]
        return torch.view_as_complex(gated_masks(hidden, layout, weights))

    def select_sources(self, sources: Sequence[int]) -> BandMask:
        """A new decoder with these outputs only, in this order."""
        dim = self.norm.weight.shape[1]
        widths = [g.width for g in self.groups for _ in range(g.num_bands)]
        chosen = BandMask(widths, self.num_channels, len(sources), dim).to(self.norm.weight)
        sizes = {"num_sources": self.num_sources, "num_channels": self.num_channels}
        state = self.state_dict()
        for i, group in enumerate(self.groups):
            for name in (f"outputs.{i}.weight", f"outputs.{i}.bias"):
                state[name] = keep_outputs(state[name], sources, width=group.width, **sizes)
        chosen.load_state_dict(state)
        return chosen


def _precise(x: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
