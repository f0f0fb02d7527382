"""BS-Locoformer as one writes it first: what a user would run instead of ``BSLocoformer``.

A module per band, ``Conv1d`` and ``ConvTranspose1d`` on transposed copies, and the parameter names
of the published weights, so that both networks can be given the same ones.  It is here to be
compared with, in speed and in numbers, and shares no code with the package.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTHS = [2] * 24 + [4] * 12 + [12] * 8 + [24] * 8 + [48] * 8 + [128, 129]


class RMSGroupNorm(nn.Module):
    def __init__(self, groups, dim):
        super().__init__()
        self.groups = groups
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x):  # (..., dim)
        grouped = x.unflatten(-1, (self.groups, -1))
        rms = grouped.square().mean(-1, keepdim=True).sqrt()
        return (grouped / (rms + 1e-5)).flatten(-2) * self.gamma


class ConvFFN(nn.Module):
    def __init__(self, dim, hidden, kernel):
        super().__init__()
        self.kernel = kernel
        self.conv1d = nn.Conv1d(dim, 2 * hidden, kernel)
        self.deconv1d = nn.ConvTranspose1d(hidden, dim, kernel)

    def forward(self, x):  # (rows, length, dim)
        length, pad = x.shape[1], self.kernel - 1
        y = self.conv1d(functional.pad(x.transpose(1, 2), (pad, pad)))
        value, gate = y.chunk(2, dim=1)
        y = self.deconv1d(value * functional.silu(gate))
        return y[..., pad : pad + length].transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.aggregate_heads = nn.Sequential(nn.Linear(dim, dim, bias=False))

    def forward(self, x):  # (rows, length, dim)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.aggregate_heads(y.transpose(1, 2).flatten(2))


class Path(nn.Module):
    def __init__(self, dim, hidden, heads, groups, kernel):
        super().__init__()
        self.ffn_norm = nn.ModuleList(RMSGroupNorm(groups, dim) for _ in range(2))
        self.ffn = nn.ModuleList(ConvFFN(dim, hidden, kernel) for _ in range(2))
        self.attn_norm = RMSGroupNorm(groups, dim)
        self.attn = Attention(dim, heads)

    def forward(self, x):  # (rows, length, dim)
        x = x + self.ffn[1](self.ffn_norm[1](x))
        x = x + self.attn(self.attn_norm(x))
        return x + self.ffn[0](self.ffn_norm[0](x))


class Block(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.freq_path, self.frame_path = Path(*sizes), Path(*sizes)

    def forward(self, x):  # (batch, dim, frame, band)
        batch, dim, frames, bands = x.shape
        x = x.permute(0, 2, 3, 1).reshape(batch * frames, bands, dim)
        x = self.freq_path(x).view(batch, frames, bands, dim)
        x = x.transpose(1, 2).reshape(batch * bands, frames, dim)
        x = self.frame_path(x).view(batch, bands, frames, dim)
        return x.permute(0, 3, 2, 1)


class Bands(nn.Module):
    def __init__(self, dim, sources, channels):
        super().__init__()
        self.sources, self.channels = sources, channels
        self.band_split_module = nn.ModuleList()
        self.bandwise_decoding_module = nn.ModuleList()
        for width in WIDTHS:
            inputs = 2 * channels * width
            self.band_split_module.append(
                nn.Sequential(nn.GroupNorm(1, inputs), nn.Conv1d(inputs, dim, 1))
            )
            self.bandwise_decoding_module.append(
                nn.Sequential(
                    nn.GroupNorm(1, dim),
                    nn.Conv1d(dim, 4 * dim, 1),
                    nn.Conv1d(4 * dim, 4 * dim, 1),
                    nn.Tanh(),
                    nn.Conv1d(4 * dim, 2 * inputs * sources, 1),
                    nn.GLU(dim=1),
                )
            )

    def encode(self, spectrum):  # (batch, channel, bin, frame), complex
        parts = torch.view_as_real(spectrum).permute(0, 2, 4, 1, 3)
        bands = parts.split(WIDTHS, dim=1)
        features = [m(b.flatten(1, 3)) for m, b in zip(self.band_split_module, bands, strict=True)]
        return torch.stack(features, dim=-1)

    def decode(self, x):  # (batch, dim, frame, band)
        masks = []
        for i, module in enumerate(self.bandwise_decoding_module):
            mask = module(x[..., i])
            masks.append(mask.unflatten(1, (2, self.sources, self.channels, WIDTHS[i])))
        mask = torch.cat(masks, dim=4).float()
        return torch.complex(mask[:, 0], mask[:, 1])


class PlainBSLocoformer(nn.Module):
    """mixture (batch, channel, sample) -> estimates (batch, source, channel, sample)."""

    def __init__(self, num_sources, num_blocks, dim, ffn_dim, num_heads, num_groups, kernel=8):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, ffn_dim, num_heads, num_groups, kernel) for _ in range(num_blocks)
        )
        self.band_split_module = Bands(dim, num_sources, channels=2)
        self.register_buffer("window", torch.hann_window(2048), persistent=False)

    def forward(self, mixture):
        batch, channels, length = mixture.shape
        with torch.autocast(mixture.device.type, enabled=False):
            flat = mixture.reshape(-1, length).float()
            spectrum = torch.stft(flat, 2048, 512, window=self.window, return_complex=True)
            spectrum = spectrum.unflatten(0, (batch, channels))
            scale = spectrum.abs().square().mean((2, 3), keepdim=True).sqrt()
            spectrum = spectrum[..., : length // 512] / scale
        x = self.band_split_module.encode(spectrum)
        for block in self.blocks:
            x = block(x)
        mask = self.band_split_module.decode(x)
        with torch.autocast(mixture.device.type, enabled=False):
            masked = (mask * spectrum[:, None] * scale[:, None]).flatten(0, 2)
            estimates = torch.istft(masked, 2048, 512, window=self.window, length=length)
        return estimates.view(batch, -1, channels, length)
