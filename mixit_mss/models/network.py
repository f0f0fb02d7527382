"""The network interface that the stages rely on, and a base class for networks over bands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, runtime_checkable

from torch import Tensor, nn

from mixit_mss.models.bands import band_widths
from mixit_mss.models.checks import check_arguments, check_load, check_outputs, check_stems

if TYPE_CHECKING:  # in the standard library as of Python 3.11
    from typing_extensions import Self


class Network(nn.Module, ABC):
    """Separates a mixture into ``num_sources`` estimates; calls do not depend on earlier calls.

    Args:
        config: all arguments needed to rebuild the network, including ``num_sources``,
            ``sample_rate``, ``num_channels`` and ``stems``.  A network raises ``ValueError`` for
            impossible values, and a :class:`~mixit_mss.errors.UserError` if the user can install
            what is missing.

    Attributes:
        config: the same, in JSON types.  :mod:`mixit_mss.models.hub` saves it beside the weights,
            of which no two entries of ``state_dict()`` may share memory.
        num_sources: outputs N.
        num_channels: audio channels M.
        sample_rate: in Hz.
        stems: names of the outputs in order, or None.
        activation_checkpointing: whether the backward pass recomputes activations instead of
            keeping them; a network that cannot do so raises ``UserError`` when it is set.
    """

    config: dict[str, Any]
    num_sources: int
    num_channels: int
    sample_rate: int
    stems: tuple[str, ...] | None
    activation_checkpointing: bool = False

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        check_arguments(config)
        self.config = {
            name: list(value) if isinstance(value, (list, tuple)) else value
            for name, value in config.items()
        }
        self.num_sources, self.num_channels = config["num_sources"], config["num_channels"]
        self.sample_rate = config["sample_rate"]
        self.stems = check_stems(config["stems"], self.num_sources)

    @property
    def num_parameters(self) -> int:
        """Number of parameters, frozen ones included."""
        return sum(parameter.numel() for parameter in self.parameters())

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """Separate a batch.

        Args:
            mixture: (batch, channel, sample), floating point, at :attr:`sample_rate`; any length
                from one sample up.

        Returns:
            Estimates (batch, source, channel, sample), as long as the mixture, float32 even under
            autocast (float64 for a float64 network).

        Raises:
            ValueError: for other axes, an empty or integer tensor, or (in evaluation mode, where
                the check does not stall a device) samples that are NaN or infinite.
        """

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The blocks between encoder and decoder, frozen by ``--trainable encoder_decoder``.

        ``run.compile: true`` compiles the parts of each block.
        """

    def select_sources(self, sources: Sequence[int], stems: Sequence[str] | None = None) -> Self:
        """A new network with these outputs only, in this order (paper section 4.3, channel choice).

        The outputs equal the chosen outputs of this network.  They are named by ``stems``, or keep
        their names.

        Raises:
            ValueError: if an index is out of range, or no output is chosen.
        """
        sources = check_outputs(sources, self.num_sources)
        if stems is None and self.stems is not None:
            stems = [self.stems[source] for source in sources]
        arguments = {**self.config, "num_sources": len(sources), "stems": stems}
        chosen = type(self)(**arguments)
        self.hand_over(chosen, sources)
        return chosen.train(self.training)

    @abstractmethod
    def hand_over(self, chosen: Self, sources: Sequence[int]) -> None:
        """Copy the weights into ``chosen``, which has only these outputs."""


class BandArguments(TypedDict, total=False):
    """Arguments of :class:`BandNetwork` besides the sizes."""

    sample_rate: int
    num_channels: int
    n_fft: int
    hop: int
    bands: Sequence[int] | int | None
    stems: Sequence[str] | None


class BandNetwork(Network):
    """A network over the bands of an STFT.

    Args:
        num_sources: outputs N.
        sizes: the network's own arguments.
        sample_rate: in Hz.
        num_channels: audio channels M.
        n_fft: STFT window in samples.
        hop: STFT step in samples.
        bands: bins per band, lowest first; or a number of bands, spaced on the mel scale; or None
            for the 62 bands of the paper and of BS-RoFormer.
        stems: names of the outputs, in order, or None.
    """

    def __init__(
        self,
        num_sources: int,
        sizes: Mapping[str, Any],
        *,
        sample_rate: int = 44100,
        num_channels: int = 2,
        n_fft: int = 2048,
        hop: int = 512,
        bands: Sequence[int] | int | None = None,
        stems: Sequence[str] | None = None,
    ):
        audio = {
            "sample_rate": sample_rate,
            "num_channels": num_channels,
            "n_fft": n_fft,
            "hop": hop,
        }
        check_arguments({"num_sources": num_sources, **sizes, **audio})
        widths = band_widths(bands, n_fft, sample_rate)
        check_load(sample_rate, n_fft, hop, len(widths), sizes.get("dim", 1))
        super().__init__(
            {
                "num_sources": num_sources,
                **sizes,
                **audio,
                "bands": widths,
                "stems": stems,
            }
        )
        self.n_fft, self.hop, self.widths = n_fft, hop, widths


@runtime_checkable
class Masking(Protocol):
    """A network that multiplies the spectrum by masks, as :class:`mixit_mss.models.BSLocoformer`.

    With these two halves of its ``forward``, MixIT's gradient is cheaper, see
    :func:`mixit_mss.training.systems.mixit_loss_by_masks`.
    """

    def masks(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (batch, source, channel, frame, bin); spectrum (batch, channel, frame, bin)."""

    def apply_masks(self, masks: Tensor, spectrum: Tensor, length: int) -> Tensor:
        """Estimates (batch, source, channel, sample), linear in the masks."""
