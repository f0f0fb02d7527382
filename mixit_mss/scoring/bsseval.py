"""Full BSSEval v4 through museval: slow, for those who need SIR and SAR."""

from __future__ import annotations

import warnings

import numpy as np

from mixit_mss.errors import UserError

BSSEVAL_COLUMNS = ("sdr", "isr", "sir", "sar")


def bsseval(
    estimates: np.ndarray, references: np.ndarray, sample_rate: int
) -> dict[str, np.ndarray]:
    """museval's SDR, ISR, SIR and SAR in dB, each the median over 1-s windows.

    Args:
        estimates: (stem, channel, sample).
        references: the same axes.
        sample_rate: Hz.

    Returns:
        One array (stem,) for each of :data:`BSSEVAL_COLUMNS`; NaN for a stem whose reference or
        estimate is silent, which museval refuses.
    """
    try:
        from museval.metrics import bss_eval
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"--full-bsseval needs museval, and museval needs ffmpeg on the PATH ({error})"
        ) from error
    alive = np.array(
        [e.sum(0).any() and r.sum(0).any() for e, r in zip(estimates, references, strict=True)]
    )
    result = np.full((len(BSSEVAL_COLUMNS), len(references)), np.nan)
    if alive.any():
        sdr, isr, sir, sar, _ = bss_eval(
            references[alive].swapaxes(1, 2),
            estimates[alive].swapaxes(1, 2),
            window=sample_rate,
            hop=sample_rate,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a stem without any window: NaN
            result[:, alive] = np.nanmedian([sdr, isr, sir, sar], axis=-1)
    return dict(zip(BSSEVAL_COLUMNS, result, strict=True))
