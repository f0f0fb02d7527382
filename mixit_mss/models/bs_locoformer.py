"""BS-Locoformer: band split, TF-Locoformer blocks, band-wise complex masks (paper section 4.2)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mixit_mss.models.bands import BandMask, BandSplit
from mixit_mss.models.checks import check_mixture
from mixit_mss.models.locoformer import LocoformerBlock
from mixit_mss.models.network import BandArguments, BandNetwork
from mixit_mss.models.stft import STFT

if TYPE_CHECKING:  # in the standard library as of Python 3.11
    from typing_extensions import Unpack

SIZES = {
    "small": {"num_blocks": 4, "dim": 96, "ffn_dim": 128, "num_heads": 4, "num_groups": 4},
    "medium": {"num_blocks": 6, "dim": 128, "ffn_dim": 192, "num_heads": 8, "num_groups": 8},
    "large": {"num_blocks": 9, "dim": 192, "ffn_dim": 256, "num_heads": 8, "num_groups": 8},
}
"""The arguments in which the paper's three sizes differ (section 4.2)."""

SCALE_FLOOR = 1e-8
"""Smallest RMS that a channel's spectrum is divided by, so that silence stays silence."""


class BSLocoformer(BandNetwork):
    """Separate a mixture into ``num_sources`` estimates by complex masks on its spectrum.

    Every channel's spectrum is divided by its RMS over frames and bins before the encoder; masks
    are applied to the unscaled spectrum, which scales the estimates back.

    Args:
        num_sources: outputs N.
        num_blocks: TF-Locoformer blocks B.
        dim: features D per band.
        ffn_dim: hidden features C of the convolutional feed-forward parts.
        num_heads: attention heads H.
        num_groups: normalisation groups G.
        kernel_size: convolution taps K.
        dropout: probability of dropping a feature of a residual branch while training.
        audio: rate, channels, STFT, bands and stems, as
            :class:`~mixit_mss.models.network.BandNetwork` takes them.
    """

    def __init__(
        self,
        num_sources: int,
        *,
        num_blocks: int,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        num_groups: int,
        kernel_size: int = 8,
        dropout: float = 0.0,
        **audio: Unpack[BandArguments],
    ):
        sizes = {
            "num_blocks": num_blocks,
            "dim": dim,
            "ffn_dim": ffn_dim,
            "num_heads": num_heads,
            "num_groups": num_groups,
            "kernel_size": kernel_size,
            "dropout": dropout,
        }
        super().__init__(num_sources, sizes, **audio)
        self.stft = STFT(self.n_fft, self.hop)
        self.encoder = BandSplit(self.widths, self.num_channels, dim)
        self.separator = nn.Sequential(
            *(
                LocoformerBlock(dim, ffn_dim, num_heads, num_groups, kernel_size, dropout)
                for _ in range(num_blocks)
            )
        )
        self.decoder = BandMask(self.widths, self.num_channels, num_sources, dim)

    @classmethod
    def from_size(cls, size: str, num_sources: int = 12, **changes) -> BSLocoformer:
        """The paper's ``"small"``, ``"medium"`` or ``"large"`` network, with any ``changes``."""
        if size not in SIZES:
            raise ValueError(f"no size {size!r}; choose one of {', '.join(SIZES)}")
        return cls(num_sources, **{**SIZES[size], **changes})

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate a batch; see :meth:`mixit_mss.models.network.Network.forward`."""
        masks, spectrum = self.masks(mixture)
        return self.apply_masks(masks, spectrum, mixture.shape[-1])

    def masks(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """The first half of :meth:`forward`: complex masks and what they are applied to.

        Returns:
            Masks (batch, source, channel, frame, bin) and the mixture's spectrum
            (batch, channel, frame, bin).
        """
        check_mixture(mixture, self.num_channels, finite=not self.training)
        precise = torch.promote_types(mixture.dtype, torch.float32)
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture.to(precise))
            power = torch.view_as_real(spectrum).square().sum(-1).mean((-2, -1), keepdim=True)
            # the published network takes this mean before it drops the last frame
            spectrum = spectrum[:, :, : self.stft.layout(mixture.shape[-1])[1]]
            scaled = spectrum / power.clamp_min(SCALE_FLOOR**2).sqrt()
        return self.decoder(self._separate(self.encoder(scaled))), spectrum

    def apply_masks(self, masks: Tensor, spectrum: Tensor, length: int) -> Tensor:
        """The second half of :meth:`forward`, linear in the masks: (..., channel, sample)."""
        with torch.autocast(masks.device.type, enabled=False):
            return self.stft.inverse(masks * spectrum[:, None], length)

    def blocks(self) -> list[nn.Module]:
        """The TF-Locoformer blocks, each of two paths."""
        return list(self.separator)

    def hand_over(self, chosen: BSLocoformer, sources: Sequence[int]) -> None:
        """Copy the weights into ``chosen``, which has only these outputs."""
        chosen.encoder = copy.deepcopy(self.encoder)
        chosen.separator = copy.deepcopy(self.separator)
        chosen.decoder = self.decoder.select_sources(sources)

    def _separate(self, features: Tensor) -> Tensor:
        if not (self.activation_checkpointing and torch.is_grad_enabled()):
            return self.separator(features)
        for block in self.separator:
            for path in (block.band_path, block.frame_path):
                features = checkpoint(path, features, use_reentrant=False)
        return features
