"""Sample-rate conversion by windowed sinc, whole or block by block with the same result.

torchaudio computes the filter and the convolution of a tensor; it never sees a file.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# Windowed sinc with 64 zero crossings and a Kaiser window: the values that torchaudio's
# documentation gives as equal to resampy's "kaiser_best".
SINC = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}
MAX_SINC_WEIGHTS = 1 << 25


def resample(waveform: np.ndarray | torch.Tensor, from_rate: int, to_rate: int):
    """Change the sample rate along the last axis; numpy in, numpy out, torch in, torch out.

    The result has ceil(samples * to_rate / from_rate) samples.

    Raises:
        ValueError: the two rates have no ratio of small whole numbers.
    """
    if from_rate == to_rate:
        return waveform
    import torch

    if not can_resample(from_rate, to_rate):
        raise ValueError(f"{from_rate} Hz cannot be converted to {to_rate} Hz: no small ratio")
    tensor = torch.as_tensor(waveform)
    resampled = _resampler(from_rate, to_rate, tensor.dtype, tensor.device)(tensor)
    return resampled.numpy() if isinstance(waveform, np.ndarray) else resampled


@functools.lru_cache(maxsize=8)
def _resampler(from_rate: int, to_rate: int, dtype: torch.dtype, device: torch.device):
    """torchaudio's module keeps its filter, which its function would compute for every block."""
    from torchaudio.transforms import Resample

    return Resample(from_rate, to_rate, **SINC, dtype=dtype).to(device)


def resample_blocks(
    blocks: Iterable[np.ndarray], from_rate: int, to_rate: int
) -> Iterator[np.ndarray]:
    """:func:`resample` for a waveform that arrives block by block; the joined output is the same.

    With from_rate : to_rate = p : q in lowest terms, every p input samples give q output samples,
    computed from those p and ``margin`` samples on either side.  So a stretch of whole groups of p
    is resampled together with its margins, and the outputs of the margins are dropped.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    period, produced = (rate // np.gcd(from_rate, to_rate) for rate in (from_rate, to_rate))
    reach = SINC["lowpass_filter_width"] * from_rate / (SINC["rolloff"] * min(from_rate, to_rate))
    margin = int(np.ceil(reach / period) + 1) * period
    held, lead = None, 0  # input not yet used up, and how much of it is margin before the stretch
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=-1)
        ready = (held.shape[-1] - lead - margin) // period * period
        if ready <= 0:
            continue
        output = resample(held[..., : lead + ready + margin], from_rate, to_rate)
        first = lead // period * produced
        yield output[..., first : first + ready // period * produced]
        keep = max(0, lead + ready - margin)
        held, lead = held[..., keep:], lead + ready - keep
    if held is not None and held.shape[-1] > lead:
        yield resample(held, from_rate, to_rate)[..., lead // period * produced :]


def can_resample(from_rate: int, to_rate: int) -> bool:
    """Whether two rates (Hz) have a ratio of small whole numbers.

    One filter is kept per output phase, so that 44101 to 44100 Hz would take gigabytes.
    """
    if min(from_rate, to_rate) <= 0:
        return False
    common = int(np.gcd(from_rate, to_rate))
    width = from_rate / common + 2 * SINC["lowpass_filter_width"] * max(1, from_rate / to_rate)
    return to_rate / common * width <= MAX_SINC_WEIGHTS
