"""Sample-rate conversion by windowed sinc, whole or block by block with the same result.

torchaudio designs the filters; it never sees a file.
"""

from __future__ import annotations

import functools
import math
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
MIN_OUTPUTS = 8


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
    filters, width, stride = _filters(from_rate, to_rate, tensor.dtype, tensor.device)
    flat = tensor.reshape(math.prod(tensor.shape[:-1]), 1, tensor.shape[-1])
    flat = torch.nn.functional.pad(flat, (width, width + stride))
    groups = torch.nn.functional.conv1d(flat, filters, stride=stride).transpose(1, 2)
    length = -(-tensor.shape[-1] * to_rate // from_rate)
    resampled = groups.reshape(*tensor.shape[:-1], -1)[..., :length]
    return resampled.numpy() if isinstance(waveform, np.ndarray) else resampled


@functools.lru_cache(maxsize=8)
def _filters(
    from_rate: int, to_rate: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, int, int]:
    """Filters (output, 1, tap), the samples they reach before a group, and samples per group.

    With from_rate : to_rate = p : q in lowest terms, torchaudio gives q filters, one per output of
    a group of p samples.  A convolution with one or two outputs is slow, so where q is small the
    filters are repeated, each time shifted by p: the same numbers, five to seven times as fast.
    """
    import torch
    from torchaudio.transforms import Resample

    sinc = Resample(from_rate, to_rate, **SINC, dtype=dtype)
    phases, _, taps = sinc.kernel.shape
    period = from_rate // math.gcd(from_rate, to_rate)
    repeats = -(-MIN_OUTPUTS // phases)
    filters = torch.zeros(repeats * phases, 1, taps + period * (repeats - 1), dtype=dtype)
    for index in range(repeats):
        rows = slice(index * phases, (index + 1) * phases)
        filters[rows, :, index * period : index * period + taps] = sinc.kernel
    return filters.to(device), sinc.width, repeats * period


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
