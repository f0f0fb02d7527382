"""Keep some of the outputs in the rows of the last layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def keep_outputs(
    layer: Tensor, sources: Sequence[int], *, num_sources: int, num_channels: int, width: int
) -> Tensor:
    """Slice a band's last weight or bias to the outputs ``sources``, in this order.

    Args:
        layer: (..., out) with out = (GLU half, real/imaginary, source, channel, bin), the published
            order.
        sources: indices of the outputs to keep (paper section 4.3: 4 of 12).
        num_sources, num_channels, width: sizes of the source, channel and bin axes.

    Returns:
        (..., out') with ``len(sources)`` in place of ``num_sources``.
    """
    rows = layer.unflatten(-1, (2, 2, num_sources, num_channels, width))
    return rows[..., list(sources), :, :].flatten(-5)
