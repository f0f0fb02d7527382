"""Diagnose one chunk: which stems each output contains, from inner products alone.

This tells two faults of MixIT apart.  *Over-separation*: a stem is spread over several outputs
(paper, section 2).  *Under-separation*: an output holds several stems, at worst the whole mixture,
which is the feared solution of MixIT for correlated sources (paper, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixit_mss.diagnosis.grouping import NOWHERE, best_grouping
from mixit_mss.selection.channel_votes import NOISE_FLOOR, best_assignment

# Eigenvalues of the stems' correlation matrix below this part of the largest count as zero.
RANK_CUTOFF = 1e-6


@dataclass(frozen=True)
class ChunkDiagnosis:
    """Findings of one chunk; the axes are source (output) and stem.

    An output or a stem *sounds* if its power is within `active_db` of the mixture's.  Values of a
    stem that does not sound are NaN.

    Attributes:
        level: dB of each output relative to the mixture, (source,).
        active: which outputs sound, (source,).
        sounding: which stems sound, (stem,).
        mixture_snr: dB of each output as an estimate of the whole mixture, (source,).
        loudest_stem_snr: the same for the stem that is most like the mixture.
        output: of each stem in the one-to-one assignment with the best total SNR, (stem,); -1 for
            stems that do not sound, or get no output because there are too few.
        snr: dB of that output, 0 without one, (stem,).
        mixture_as_estimate: SNR in dB of the mixture as the stem's estimate, (stem,).
        group: for each output the stem whose group it joins, or -1, (source,); the groups maximise
            the total SNR of their sums.
        grouped_snr: dB of the group's sum, (stem,).
        share: how much of each stem each output carries, (source, stem); see `stem_shares`.
        content: what each output that sounds consists of, (source, stem); a row adds up to 1.
        outputs_per_stem: effective number of outputs that carry a stem, (stem,).
        stems_per_output: effective number of stems in an output, (source,); NaN if it is silent.
    """

    level: np.ndarray
    active: np.ndarray
    sounding: np.ndarray
    mixture_snr: np.ndarray
    loudest_stem_snr: float
    output: np.ndarray
    snr: np.ndarray
    mixture_as_estimate: np.ndarray
    group: np.ndarray
    grouped_snr: np.ndarray
    share: np.ndarray
    content: np.ndarray
    outputs_per_stem: np.ndarray
    stems_per_output: np.ndarray


def diagnose_chunk(gram: np.ndarray, num_sources: int, active_db: float = 30.0) -> ChunkDiagnosis:
    """Diagnose the outputs for a chunk whose mixture is the sum of its stems.

    Args:
        gram: inner products of all outputs and then all stems, (row, row), float64, from
            :func:`mixit_mss.losses.gram.gram_matrix`.
        num_sources: how many of the rows are outputs.
        active_db: how far below the mixture's power a signal still sounds.  30 dB is the limit of
            the training: below it, tau of Eq. 4 hides an error.

    Returns:
        A :class:`ChunkDiagnosis`.

    Raises:
        ValueError: the matrix is not square with rows for outputs and stems, it has NaN or
            infinity, or the mixture has no energy.
    """
    gram = np.asarray(gram, dtype=np.float64)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not 0 < num_sources < len(gram):
        raise ValueError(f"no outputs and stems in a Gram matrix of shape {gram.shape}")
    if not np.isfinite(gram).all():
        raise ValueError(f"NaN or infinity in a Gram matrix of shape {gram.shape}")
    own, energy = np.split(np.diag(gram), [num_sources])
    cross, among = np.split(gram[:, num_sources:], [num_sources])
    mixture = among.sum()
    if not mixture > 0:
        raise ValueError("the stems' sum has no energy")
    with_mixture = cross.sum(1), among.sum(1)  # of outputs, of stems
    audible = mixture * 10 ** (-active_db / 10)
    sounding = (energy > 0) & (energy >= audible)
    active = own >= audible

    scores = _snr(own[:, None] - 2 * cross + energy, np.where(sounding, energy, np.nan))
    sources, stems = best_assignment(scores)
    output = np.full(len(energy), NOWHERE)
    output[stems] = sources
    snr = np.where(sounding, 0.0, np.nan)
    snr[stems] = scores[sources, stems]
    group, grouped_snr = _grouped(gram[:num_sources, :num_sources], cross, energy, sounding)
    share = np.full(cross.shape, np.nan)
    share[:, sounding] = stem_shares(cross[:, sounding], among[np.ix_(sounding, sounding)])
    content = _content(share, energy, active)
    return ChunkDiagnosis(
        level=10 * np.log10(np.maximum(own / mixture, NOISE_FLOOR)),
        active=active,
        sounding=sounding,
        mixture_snr=_snr(own - 2 * with_mixture[0] + mixture, mixture),
        loudest_stem_snr=float(_snr(energy - 2 * with_mixture[1] + mixture, mixture).max()),
        output=output,
        snr=snr,
        mixture_as_estimate=_snr(
            mixture - 2 * with_mixture[1] + energy, np.where(sounding, energy, np.nan)
        ),
        group=group,
        grouped_snr=grouped_snr,
        share=share,
        content=content,
        outputs_per_stem=effective_number(share),
        stems_per_output=effective_number(content.T),
    )


def stem_shares(cross: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Gains of the stems whose sum is closest to each output in least squares.

    This is the projection with which BSSEval splits an estimate into target and interference, with
    filters of one tap (Vincent, Gribonval and Fevotte, IEEE Trans. Audio, Speech and Language
    Processing 14(4), 2006).  If an output is a scaled copy of a stem, its share is the scale.  If
    it holds a part of the stem that is orthogonal to the rest, such as the bass drum without the
    hi-hat, its share is that part's share of the energy: ``<p, s> / |s|^2 = |p|^2 / |s|^2``.  If
    the outputs add up to the mixture, each stem's shares add up to 1.  A negative share is an
    inverted copy.

    Args:
        cross: inner products of outputs and stems, (source, stem); every stem sounds.
        among: Gram matrix of the stems, (stem, stem).

    Returns:
        (source, stem).  Stems that are copies of each other get equal parts.
    """
    scale = np.sqrt(np.diag(among))
    inverse = np.linalg.pinv(among / np.outer(scale, scale), rcond=RANK_CUTOFF, hermitian=True)
    return cross / scale @ inverse / scale


def effective_number(shares: np.ndarray) -> np.ndarray:
    """The exponential of the shares' entropy: n for n equal shares, less for unequal ones.

    Known as Hill's number of order 1 (Hill, Ecology 54(2), 1973), and as perplexity.

    Args:
        shares: (share, ...); negative ones count as 0, and the rest is normalised to the sum 1.

    Returns:
        The number, over the other axes; NaN where no share is positive.
    """
    positive = np.maximum(np.nan_to_num(shares), 0.0)
    total = positive.sum(0)
    parts = positive / np.where(total > 0, total, np.nan)
    logarithms = np.log(parts, out=np.zeros_like(parts), where=parts > 0)
    return np.exp(-(parts * logarithms).sum(0))


def _grouped(
    sources: np.ndarray, cross: np.ndarray, energy: np.ndarray, sounding: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`best_grouping` over the stems that sound, with indices into all stems."""
    stems = np.flatnonzero(sounding)
    owner, snr = best_grouping(sources, cross[:, stems], energy[stems])
    grouped = np.full(len(energy), np.nan)
    grouped[stems] = snr
    return np.append(stems, NOWHERE)[owner], grouped


def _content(share: np.ndarray, energy: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Each stem's part of the energy that an output carries; NaN for silent outputs."""
    carried = np.maximum(np.nan_to_num(share), 0.0) * energy
    total = carried.sum(1, keepdims=True)
    return carried / np.where(active[:, None] & (total > 0), total, np.nan)


def _snr(noise: np.ndarray, signal: np.ndarray) -> np.ndarray:
    return -10 * np.log10(np.maximum(noise / signal, NOISE_FLOOR))
