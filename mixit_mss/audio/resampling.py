"""Sample-rate conversion by windowed sinc, whole or block by block with the same result.

torchaudio only designs the filters; it reads no files.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# Windowed sinc with 64 zero crossings and a Kaiser window: the values that torchaudio's
# documentation gives as equal to resampy's "kaiser_best".
SINC: dict[str, Any] = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}
MAX_SINC_WEIGHTS = 1 << 25
MIN_OUTPUTS = 8
PHASE_BLOCK = 1 << 20  # weights, or samples under them, to process at once
MAX_TABLE = 1 << 23  # weights of all phases that may be kept in a table
KERNEL_STEPS = 1 << 13  # per zero crossing; with linear interpolation the error is below -160 dB


def resample(waveform: np.ndarray | torch.Tensor, from_rate: int, to_rate: int):
    """Change the sample rate along the last axis; numpy in, numpy out, torch in, torch out.

    The result has ceil(samples * to_rate / from_rate) samples.

    Memory is bounded for all rates between 1 kHz and 768 kHz; unusual rates only take longer.

    Raises:
        ValueError: a rate is not positive.
    """
    if from_rate == to_rate:
        return waveform
    if min(from_rate, to_rate) <= 0:
        raise ValueError(f"{from_rate} Hz cannot be converted to {to_rate} Hz")
    length = -(-waveform.shape[-1] * to_rate // from_rate)
    return _part(waveform, from_rate, to_rate, 0, length)


def _part(waveform, from_rate: int, to_rate: int, first: int, stop: int):
    """Samples ``first`` to ``stop`` of the result of :func:`resample`."""
    import torch

    tensor = torch.as_tensor(waveform)
    flat = tensor.reshape(math.prod(tensor.shape[:-1]), tensor.shape[-1])
    if can_resample(from_rate, to_rate):
        resampled = _in_groups(flat, from_rate, to_rate, stop)[:, first:]
    else:
        resampled = _by_phase(flat, from_rate, to_rate, stop, first)
    resampled = resampled.reshape(*tensor.shape[:-1], stop - first)
    return resampled.numpy() if isinstance(waveform, np.ndarray) else resampled


def _in_groups(flat: torch.Tensor, from_rate: int, to_rate: int, length: int) -> torch.Tensor:
    """Convert (channel, sample) by one strided convolution, for a ratio of small integers."""
    import torch

    filters, width, stride = _filters(from_rate, to_rate, flat.dtype, flat.device)
    padded = torch.nn.functional.pad(flat[:, None], (width, width + stride))
    groups = torch.nn.functional.conv1d(padded, filters, stride=stride).transpose(1, 2)
    return groups.reshape(len(flat), -1)[:, :length]


def _by_phase(
    flat: torch.Tensor, from_rate: int, to_rate: int, length: int, begin: int = 0
) -> torch.Tensor:
    """Outputs ``begin`` to ``length`` of (channel, sample), for any ratio, even 44101:44100.

    With from_rate : to_rate = p : q in lowest terms, output n lies n p mod q q-ths of a sample
    after input n p div q, so it uses the row of weights of that phase.
    """
    import torch

    common = math.gcd(from_rate, to_rate)
    period, produced = from_rate // common, to_rate // common
    half = _half_width(period, produced)
    # a table of all phases, unless it would need too much memory
    table = None
    if produced * 2 * half <= MAX_TABLE:
        table = _phase_weights(period, produced, flat.dtype, flat.device)
    padded = torch.nn.functional.pad(flat, (half - 1, half + 1))
    windows = padded.unfold(-1, 2 * half, 1)
    output = flat.new_empty(len(flat), length - begin)
    step = max(1, PHASE_BLOCK // (2 * half * len(flat)))
    for first in range(begin, length, step):
        count = torch.arange(first, min(first + step, length), device=flat.device)
        start = count * period // produced
        phase = count * period % produced
        if table is None:
            rows = _weights_of(phase.cpu(), period, produced).to(flat)
        else:
            rows = table[phase]
        output[:, count - begin] = torch.einsum("cnt,nt->cn", windows[:, start], rows)
    return output


@functools.lru_cache(maxsize=2)
def _phase_weights(
    period: int, produced: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Weights (phase, tap) of every phase; see :func:`_weights_of`."""
    import torch

    half = _half_width(period, produced)
    weights = torch.empty(produced, 2 * half, dtype=dtype)
    step = max(1, PHASE_BLOCK // (2 * half))
    for first in range(0, produced, step):
        phases = torch.arange(first, min(first + step, produced))
        weights[first : first + step] = _weights_of(phases, period, produced)
    return weights.to(device)


def _half_width(period: int, produced: int) -> int:
    """Number of inputs on either side of an output that the filter covers."""
    scale = SINC["rolloff"] * min(period, produced) / period
    return math.ceil(SINC["lowpass_filter_width"] / scale) + 1


def _weights_of(phases: torch.Tensor, period: int, produced: int) -> torch.Tensor:
    """Weights (phase, tap) of the inputs around an output; tap ``taps // 2 - 1`` is just before it.

    The same windowed sinc as :func:`_filters`, cut off below the lower rate's Nyquist frequency:
    a distance of d inputs is u = d * scale zero crossings, and its weight scale * sinc(u) * w(u).
    """
    import torch

    crossings = SINC["lowpass_filter_width"]
    scale = SINC["rolloff"] * min(period, produced) / period
    half = _half_width(period, produced)
    kernel = _kernel()
    taps = torch.arange(1 - half, half + 1, dtype=torch.float64)
    distance = taps - phases.to(torch.float64)[:, None] / produced
    u = (distance * (scale * KERNEL_STEPS)).abs_().clamp_(max=crossings * KERNEL_STEPS)
    below = u.to(torch.int64)
    left = kernel[below]
    return (kernel[below + 1] - left).mul_(u.sub_(below)).add_(left).mul_(scale)


@functools.lru_cache(maxsize=1)
def _kernel() -> torch.Tensor:
    """Half of the windowed sinc, in fractions of a zero crossing, plus one step at the end."""
    import torch

    crossings = SINC["lowpass_filter_width"]
    u = torch.arange(crossings * KERNEL_STEPS + 2, dtype=torch.float64) / KERNEL_STEPS
    u.clamp_(max=crossings)
    beta = torch.tensor(SINC["beta"], dtype=torch.float64)
    window = torch.i0(beta * torch.sqrt(1 - (u / crossings) ** 2)) / torch.i0(beta)
    return torch.sinc(u) * window


@functools.lru_cache(maxsize=8)
def _filters(
    from_rate: int, to_rate: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, int, int]:
    """Filters (output, 1, tap), the samples they cover before a group, and samples per group.

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
    computed from those p and the inputs that the filter covers on either side.  So a stretch of
    whole groups of p is resampled together with this context (on the left also whole groups of p),
    and the outputs of the context are dropped.
    """
    if from_rate == to_rate:
        yield from blocks
        return
    period, produced = (rate // np.gcd(from_rate, to_rate) for rate in (from_rate, to_rate))
    reach = SINC["lowpass_filter_width"] * from_rate / (SINC["rolloff"] * min(from_rate, to_rate))
    right = int(np.ceil(reach)) + 1
    left = -(-right // period) * period
    held, lead = None, 0  # buffered input, and how much of it precedes the stretch
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=-1)
        ready = (held.shape[-1] - lead - right) // period * period
        if ready <= 0:
            continue
        first, stop = (count // period * produced for count in (lead, lead + ready))
        yield _part(held[..., : lead + ready + right], from_rate, to_rate, first, stop)
        keep = max(0, lead + ready - left)
        held, lead = held[..., keep:], lead + ready - keep
    if held is not None and held.shape[-1] > lead:
        length = -(-held.shape[-1] * to_rate // from_rate)
        yield _part(held, from_rate, to_rate, lead // period * produced, length)


def can_resample(from_rate: int, to_rate: int) -> bool:
    """Whether two rates (Hz) have a ratio of small integers, as published audio has.

    Other rates can be converted too, but more slowly: a strided convolution keeps one filter per
    output phase, each over a whole period, which for 44101 to 44100 Hz would take gigabytes.
    """
    if min(from_rate, to_rate) <= 0:
        return False
    common = int(np.gcd(from_rate, to_rate))
    width = from_rate / common + 2 * SINC["lowpass_filter_width"] * max(1, from_rate / to_rate)
    return to_rate / common * width <= MAX_SINC_WEIGHTS
