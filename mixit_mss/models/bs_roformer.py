"""BS-RoFormer (arXiv 2309.02612) as the package ``BS-RoFormer`` from PyPI builds it, for our recipes.

The network is the package's; this module gives it our interface.  Three of its habits would let a
result depend on the precision, or on what the network has computed before, and are replaced by parts
that compute the same in float32: masks are made complex in float32, positions are never counted in
half precision, and angles are not remembered from one call for the next.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixit_mss.errors import UserError
from mixit_mss.models.bands import band_widths
from mixit_mss.models.checks import check_mixture, check_outputs, check_stems


class BSRoFormer(nn.Module):
    """Separate a mixture into ``num_sources`` estimates, each by a mask estimator of its own.

    Args:
        num_sources: outputs N.
        dim: features per band.
        depth: layers, each a transformer over frames and one over bands.
        heads: attention heads.
        dim_head: features per head, an even number.
        time_transformer_depth: attentions over frames in a layer.
        freq_transformer_depth: attentions over bands in a layer.
        mask_estimator_depth: linear layers of a mask estimator.
        num_residual_streams: of the package's hyper-connections; 1 for plain residuals, as in the
            paper of the network.
        dropout: probability of dropping an attention, or a feature of a feed-forward part.
        sample_rate: in Hz.
        num_channels: audio channels, 1 or 2.
        n_fft: STFT window in samples.
        hop: STFT step in samples, at most half a window.
        bands: bins per band, lowest first; or a number of bands, spaced on the mel scale; or None
            for the network's own 62.
        stems: names of the outputs, in order, once they have any.

    Raises:
        UserError: the package is not installed.
        ValueError: for numbers that cannot be.
    """

    def __init__(
        self,
        num_sources: int,
        *,
        dim: int,
        depth: int,
        heads: int = 8,
        dim_head: int = 64,
        time_transformer_depth: int = 1,
        freq_transformer_depth: int = 1,
        mask_estimator_depth: int = 2,
        num_residual_streams: int = 1,
        dropout: float = 0.0,
        sample_rate: int = 44100,
        num_channels: int = 2,
        n_fft: int = 2048,
        hop: int = 512,
        bands: Sequence[int] | int | None = None,
        stems: Sequence[str] | None = None,
    ):
        super().__init__()
        self.stems = check_stems(stems, num_sources)
        widths = band_widths(bands, n_fft, sample_rate)
        if len(widths) < 2:
            raise ValueError(f"bands must be at least 2, got {len(widths)}")
        if num_channels not in (1, 2):
            raise ValueError(f"num_channels must be 1 or 2 for this network, got {num_channels}")
        if dim_head % 2:
            raise ValueError(f"dim_head must be even, got {dim_head}")
        if not 0 < hop <= n_fft // 2:
            raise ValueError(f"hop must be between 1 and half of n_fft {n_fft}, got {hop}")
        self.num_sources, self.num_channels = num_sources, num_channels
        self.sample_rate, self.n_fft, self.hop = sample_rate, n_fft, hop
        size: dict[str, Any] = {
            "dim": dim,
            "depth": depth,
            "heads": heads,
            "dim_head": dim_head,
            "time_transformer_depth": time_transformer_depth,
            "freq_transformer_depth": freq_transformer_depth,
            "mask_estimator_depth": mask_estimator_depth,
            "num_residual_streams": num_residual_streams,
        }
        self.config: dict[str, Any] = {
            "num_sources": num_sources,
            **size,
            "dropout": dropout,
            "sample_rate": sample_rate,
            "num_channels": num_channels,
            "n_fft": n_fft,
            "hop": hop,
            "bands": list(widths),
            "stems": None if stems is None else list(stems),
        }
        self.network: Any = _build(
            **size,
            num_stems=num_sources,
            stereo=num_channels == 2,
            attn_dropout=dropout,
            ff_dropout=dropout,
            freqs_per_bands=widths,
            dim_freqs_in=n_fft // 2 + 1,
            stft_n_fft=n_fft,
            stft_win_length=n_fft,
            stft_hop_length=hop,
        )

    @property
    def activation_checkpointing(self) -> bool:
        """Always false: the package's layers keep what their gradient needs."""
        return False

    @activation_checkpointing.setter
    def activation_checkpointing(self, wanted: bool) -> None:
        if wanted:
            raise UserError(
                "bs_roformer cannot compute its activations again: set "
                "run.activation_checkpointing: false, or shorten run.chunk_seconds"
            )

    @property
    def separator(self) -> nn.ModuleList:
        """What stands between encoder and decoder, each layer with ``frame_path`` and ``band_path``.

        The decoder begins with the last norm.
        """
        return nn.ModuleList(Layer(*pair) for pair in self.network.layers)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate a batch.

        Args:
            mixture: (batch, channel, sample), floating point, at :attr:`sample_rate`; any length
                from one sample up.

        Returns:
            Estimates (batch, source, channel, sample), as long as the mixture, float32 (float64
            for a float64 network).

        Raises:
            ValueError: as :func:`mixit_mss.models.checks.check_mixture`, which looks at the samples
                in evaluation mode only.
        """
        check_mixture(mixture, self.num_channels, finite=not self.training)
        batch, channels, length = mixture.shape
        # whole steps, of which the package cuts none off, and enough to be mirrored at the edges
        padded = self.hop * math.ceil(max(length, self.n_fft // 2 + 1) / self.hop)
        precise = mixture.to(torch.promote_types(mixture.dtype, torch.float32))
        estimates = self.network(functional.pad(precise, (0, padded - length)))
        # the package leaves out the source axis of a single output
        return estimates.reshape(batch, self.num_sources, channels, padded)[..., :length]

    def select_sources(
        self, sources: Sequence[int], stems: Sequence[str] | None = None
    ) -> BSRoFormer:
        """A new network with these outputs only, in this order (paper section 4.3, channel choice).

        The outputs equal the chosen outputs of this network: each keeps its own mask estimator.
        They are named by ``stems``, or keep the names that they have.

        Raises:
            ValueError: if an index is out of range, or no output is chosen.
        """
        sources = check_outputs(sources, self.num_sources)
        if stems is None and self.stems is not None:
            stems = [self.stems[source] for source in sources]
        chosen = BSRoFormer(**{**self.config, "num_sources": len(sources), "stems": stems})
        estimators = self.network.mask_estimators
        for name, part in self.network.named_children():
            if part is not estimators:
                setattr(chosen.network, name, copy.deepcopy(part))
        chosen.network.mask_estimators = nn.ModuleList(
            copy.deepcopy(estimators[source]) for source in sources
        )
        return chosen.train(self.training)


class Layer(nn.Module):
    """The two transformers of a layer under the names that training knows."""

    def __init__(self, frame_path: nn.Module, band_path: nn.Module):
        super().__init__()
        self.frame_path, self.band_path = frame_path, band_path


class Rotation(nn.Module):
    """Rotary positions: pairs of features are turned by an angle that grows with the position.

    Args:
        dim: features.
    """

    freqs: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("freqs", 10000 ** (-torch.arange(0, dim, 2) / dim))

    def rotate_queries_or_keys(self, x: Tensor) -> Tensor:
        """Features (..., position, feature) -> the same, turned, in the precision that they have."""
        precise = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            position = torch.arange(x.shape[-2], device=x.device, dtype=precise)
            angle = position[:, None] * self.freqs.to(precise)
            cos, sin = angle.cos(), angle.sin()
            a, b = x.to(precise).unflatten(-1, (-1, 2)).unbind(-1)
            return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """torch's attention, which chooses the kernel by itself.

    Args:
        dropout: probability of dropping a weight while training.
    """

    def __init__(self, dropout: float):
        super().__init__()
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries, keys and values (batch, head, position, feature) -> the same shape."""
        dropped = self.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropped)


def _build(**options: Any) -> nn.Module:
    """The package's network, with its own attention, positions and masks as the module says."""
    try:
        from bs_roformer import BSRoformer
    except ModuleNotFoundError as error:
        raise UserError(
            f"the network bs_roformer needs the package {error.name}: pip install "
            "'mixit_mss[bs_roformer]'"
        ) from error
    with warnings.catch_warnings():  # it tries a transform without a window to count the bins
        warnings.simplefilter("ignore", UserWarning)
        network: Any = BSRoformer(**options, flash_attn=False)
    for module in network.modules():
        if hasattr(module, "rotary_embed"):
            module.rotary_embed = Rotation(options["dim_head"])
            module.attend = Attention(options["attn_dropout"])
    for estimator in network.mask_estimators:
        estimator.register_forward_hook(_in_float32)
    return network


def _in_float32(estimator: nn.Module, inputs: tuple[Tensor], masks: Tensor) -> Tensor:
    """Masks that can be made complex: there is no complex bfloat16."""
    return masks.to(torch.promote_types(masks.dtype, torch.float32))
