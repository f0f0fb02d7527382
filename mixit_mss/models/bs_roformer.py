"""BS-RoFormer (arXiv 2309.02612), as the package ``BS-RoFormer`` from PyPI builds it.

The network is the package's; this module gives it our interface.  Parts that would let a result
depend on the precision or on earlier calls are replaced by parts that compute the same in float32:
masks become complex in float32, positions are never counted in half precision, and angles are not
cached between calls.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixit_mss.errors import UserError
from mixit_mss.models.checks import check_mixture
from mixit_mss.models.network import BandArguments, BandNetwork

if TYPE_CHECKING:  # in the standard library as of Python 3.11
    from bs_roformer import BSRoformer
    from typing_extensions import Unpack

MAX_LAYERS, MAX_ESTIMATORS = 512, 10_000
"""Networks of this size take a few seconds to build; the network's paper has 24 and 496."""


class BSRoFormer(BandNetwork):
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
        audio: rate, channels (1 or 2), STFT (a step of at most half a window), bands and stems, as
            :class:`~mixit_mss.models.network.BandNetwork` takes them.

    Raises:
        UserError: the package is not installed.
        ValueError: the sizes are impossible.
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
        **audio: Unpack[BandArguments],
    ):
        sizes = {
            "dim": dim,
            "depth": depth,
            "heads": heads,
            "dim_head": dim_head,
            "time_transformer_depth": time_transformer_depth,
            "freq_transformer_depth": freq_transformer_depth,
            "mask_estimator_depth": mask_estimator_depth,
            "num_residual_streams": num_residual_streams,
        }
        super().__init__(num_sources, {**sizes, "dropout": dropout}, **audio)
        n_fft, hop = self.n_fft, self.hop
        if len(self.widths) < 2:
            raise ValueError(f"bands must be at least 2, got {len(self.widths)}")
        if self.num_channels not in (1, 2):
            raise ValueError(
                f"num_channels must be 1 or 2 for this network, got {self.num_channels}"
            )
        if dim_head % 2:
            raise ValueError(f"dim_head must be even, got {dim_head}")
        if not 0 < hop <= n_fft // 2:
            raise ValueError(f"hop must be between 1 and half of n_fft {n_fft}, got {hop}")
        layers = depth * (time_transformer_depth + freq_transformer_depth)
        estimators = num_sources * len(self.widths) * mask_estimator_depth
        if layers > MAX_LAYERS or estimators > MAX_ESTIMATORS:
            raise ValueError(
                f"{layers} attentions and {estimators} layers of mask estimators are more than "
                f"{MAX_LAYERS} and {MAX_ESTIMATORS}: take a smaller depth, or fewer outputs or bands"
            )
        self.network: BSRoformer = _build(
            **sizes,
            num_stems=num_sources,
            stereo=self.num_channels == 2,
            attn_dropout=dropout,
            ff_dropout=dropout,
            freqs_per_bands=self.widths,
            dim_freqs_in=n_fft // 2 + 1,
            stft_n_fft=n_fft,
            stft_win_length=n_fft,
            stft_hop_length=hop,
        )

    @property
    def activation_checkpointing(self) -> bool:
        """Always false: the package's layers keep their activations for the gradient."""
        return False

    @activation_checkpointing.setter
    def activation_checkpointing(self, wanted: bool) -> None:
        if wanted:
            raise UserError(
                "bs_roformer cannot compute its activations again: set "
                "run.activation_checkpointing: false, or shorten run.chunk_seconds"
            )

    def blocks(self) -> list[nn.Module]:
        """The layers, each with a transformer over frames and one over bands.

        The decoder begins with the last norm.
        """
        return list(self.network.layers)

    def forward(self, mixture: Tensor) -> Tensor:
        """Separate a batch; see :meth:`mixit_mss.models.network.Network.forward`."""
        check_mixture(mixture, self.num_channels, finite=not self.training)
        batch, channels, length = mixture.shape
        # whole hops, so that the package cuts nothing off, and long enough to reflect at the edges
        padded = self.hop * math.ceil(max(length, self.n_fft // 2 + 1) / self.hop)
        precise = mixture.to(torch.promote_types(mixture.dtype, torch.float32))
        estimates = self.network(functional.pad(precise, (0, padded - length)))
        # the package drops the source axis of a single output
        return estimates.reshape(batch, self.num_sources, channels, padded)[..., :length]

    def hand_over(self, chosen: BSRoFormer, sources: Sequence[int]) -> None:
        """Copy the weights into ``chosen``, with the mask estimators of these outputs only."""
        estimators = self.network.mask_estimators
        for name, part in self.network.named_children():
            if part is not estimators:
                setattr(chosen.network, name, copy.deepcopy(part))
        chosen.network.mask_estimators = nn.ModuleList(
            copy.deepcopy(estimators[source]) for source in sources
        )


class Rotation(nn.Module):
    """Rotary positions: rotates pairs of features by an angle that grows with the position.

    Args:
        dim: features.
    """

    freqs: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("freqs", 10000 ** (-torch.arange(0, dim, 2) / dim))

    def rotate_queries_or_keys(self, x: Tensor) -> Tensor:
        """Features (..., position, feature) -> the same shape and precision, rotated."""
        precise = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            position = torch.arange(x.shape[-2], device=x.device, dtype=precise)
            angle = position[:, None] * self.freqs.to(precise)
            cos, sin = angle.cos(), angle.sin()
            a, b = x.to(precise).unflatten(-1, (-1, 2)).unbind(-1)
            return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """torch's scaled dot-product attention, which chooses the kernel by itself.

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


def _build(**options: Any) -> BSRoformer:
    """The package's network, with attention, positions and masks replaced (see the module)."""
    try:
        from bs_roformer import BSRoformer
    except ModuleNotFoundError as error:
        raise UserError(
            f"the network bs_roformer needs the package {error.name}: pip install "
            "'mixit_mss[bs_roformer]'"
        ) from error
    with warnings.catch_warnings():  # it counts the bins by an STFT without a window
        warnings.simplefilter("ignore", UserWarning)
        network = BSRoformer(**options, flash_attn=False)
    for module in network.modules():
        if hasattr(module, "rotary_embed"):
            module.rotary_embed = Rotation(options["dim_head"])
            module.attend = Attention(options["attn_dropout"])
    for estimator in network.mask_estimators:
        estimator.register_forward_hook(_in_float32)
    return network


def _in_float32(estimator: nn.Module, inputs: tuple[Tensor], masks: Tensor) -> Tensor:
    """Convert masks to float32 at least, since there is no complex bfloat16."""
    return masks.to(torch.promote_types(masks.dtype, torch.float32))
