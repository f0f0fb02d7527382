"""Diagnose a network on songs whose stems are known, chunk by chunk and overall.

For networks that were trained without labels, whose outputs have no names.  It finds which outputs
share a stem, which mix several, how many sound, and how much grouping them would gain.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from torch import Tensor

from mixit_mss.data.datasets import LabelledChunks
from mixit_mss.data.manifest import Manifest
from mixit_mss.data.mixing import SILENT_POWER
from mixit_mss.diagnosis.chunk import ChunkDiagnosis, diagnose_chunk
from mixit_mss.diagnosis.correlation import MEASURES, mean_over_pairs, stem_correlations
from mixit_mss.errors import UserError
from mixit_mss.losses.gram import gram_matrix

# The text mentions an output if its share of a stem, or a stem's part of it, is at least this.
NOTEWORTHY = 0.2


class Separator(Protocol):
    """A network as needed here: (batch, channel, sample) -> (batch, source, channel, sample)."""

    sample_rate: int
    num_channels: int

    def __call__(self, mixture: Tensor, /) -> Tensor:
        """Separate a batch of mixtures."""


def diagnose(
    model: Separator,
    songs: Manifest,
    stems: Sequence[str],
    chunk_seconds: float = 6.0,
    active_db: float = 30.0,
    device: torch.device | str = "cpu",
) -> pd.DataFrame:
    """Diagnose every chunk of the songs; the mixture is the sum of the stems.

    Args:
        model: the network.
        songs: one split of a labelled manifest.
        stems: names of its stems, any number of them.
        chunk_seconds: by default the 6 s of training and of the channel vote.
        active_db: see :func:`~mixit_mss.diagnosis.chunk.diagnose_chunk`.
        device: of the network; the rest runs on the CPU.

    Returns:
        One row per chunk whose mixture is louder than -60 dB of full scale.  Columns, outputs
        counted from 0: ``song``, ``chunk`` (of the song, from 0), ``start_seconds``,
        ``active_outputs``, ``sounding_stems``, ``mixture_snr`` (of the output most like the
        mixture), ``loudest_stem_snr``, and means over pairs of stems of the
        :data:`~mixit_mss.diagnosis.correlation.MEASURES`; per stem ``output:STEM``, ``snr:STEM``,
        ``mixture_as_estimate:STEM``, ``group:STEM`` (such as ``2+5``), ``grouped_snr:STEM``,
        ``outputs_per_stem:STEM``; per output ``level:0``, ``active:0``, ``stems_per_output:0``;
        ``share:0:STEM``, ``content:0:STEM``; and each measure of every pair,
        ``waveform_correlation:STEM:STEM``.  Meanings: see
        :class:`~mixit_mss.diagnosis.chunk.ChunkDiagnosis`.

    Raises:
        UserError: a song lacks a stem, all chunks are silent, or the network's output is NaN or
            infinite.
    """
    chunks = LabelledChunks(songs, stems, chunk_seconds, model.sample_rate, model.num_channels)
    hidden = not sys.stdout.isatty()
    rows: list[dict[str, Any]] = []
    for index in track(range(len(chunks)), "diagnosing", disable=hidden, transient=True):
        references = chunks[index]
        mixture = references.sum(0)
        if mixture.square().mean() < SILENT_POWER:
            continue
        song = int(chunks.song_of[index])
        number = index - int(np.searchsorted(chunks.song_of, song))
        with torch.inference_mode():
            estimates = model(mixture[None].to(device))[0].cpu()
        gram = gram_matrix([estimates.flatten(1), references.flatten(1)]).numpy()
        if not np.isfinite(gram).all():
            raise UserError(
                f"the network's output for song '{chunks.songs[song]}' from "
                f"{number * chunk_seconds:g} s on holds NaN or infinity; take an earlier checkpoint"
            )
        findings = diagnose_chunk(gram, len(estimates), active_db)
        place = {"song": chunks.songs[song], "chunk": number}
        place["start_seconds"] = number * chunk_seconds
        matrices = stem_correlations(references, model.sample_rate)
        rows.append({**place, **_row(findings, stems), **_likeness(matrices, findings, stems)})
    if not rows:
        raise UserError(f"'{songs.name}' is silent in all {len(chunks)} chunks of this split")
    return pd.DataFrame(rows)


def summarise(
    table: pd.DataFrame, stems: Sequence[str], degenerate_db: float = 10.0
) -> dict[str, Any]:
    """Summary statistics of the table of :func:`diagnose`; NaN becomes None.

    Args:
        table: one row per chunk.
        stems: the names that the table was made with.
        degenerate_db: an output with this SNR against the whole mixture reproduces it.  Only chunks
            in which no single stem does so are counted.

    Returns:
        ``num_outputs``, ``stems``, ``songs``, ``chunks``; then means over chunks (for a stem, over
        those in which it sounds):

        - ``active_outputs``: how many outputs sound; ``activity``: of each output, the share of the
          chunks in which it does; ``levels``: of each output, dB relative to the mixture
        - ``mixed_chunks``: chunks that no single stem reproduces; ``degenerate_share``: of these,
          the share that a single output reproduces
        - ``snr_per_stem``, ``grouped_snr_per_stem``, ``snr_improvement_per_stem``: dB of the best
          single outputs, of the best groups of outputs, and of the single outputs minus the
          mixture, over chunks in which two stems or more sound (a lone stem is the mixture, and
          cannot improve); ``snr``, ``grouped_snr``, ``snr_improvement``: their means over stems
        - ``grouping_gain``: ``grouped_snr - snr``, what over-separation costs a single output
        - ``outputs_of_each_stem``: effective number of outputs that carry it; ``outputs_per_stem``:
          mean over stems
        - ``stems_of_each_output``, ``stems_per_output``: likewise the effective number of stems in
          an output, where it sounds; 1 if every output holds one stem
        - ``shares``: stem -> what each output carries of it; ``contents``: stem -> what part of
          each output it makes up
        - ``waveform_correlation``, ``spectral_overlap``, ``onset_correlation``: over pairs of
          stems, and then chunks; with ``_per_pair`` each pair's own
    """
    outputs = range(sum(column.startswith("level:") for column in table))
    together = table[table.sounding_stems > 1]
    each = {key: _per_stem(together, key, stems) for key in ("snr", "grouped_snr")}
    each["snr_improvement"] = each["snr"] - _per_stem(together, "mixture_as_estimate", stems)
    mixed = table[table.loudest_stem_snr < degenerate_db]
    counts = _per_stem(table, "outputs_per_stem", stems)
    widths = table[[f"stems_per_output:{n}" for n in outputs]]
    all_widths = pd.Series(widths.to_numpy().ravel())
    pairs = [(a, b) for i, a in enumerate(stems) for b in stems[i + 1 :]]
    return _plain(
        {
            "num_outputs": len(outputs),
            "stems": list(stems),
            "songs": table.song.nunique(),
            "chunks": len(table),
            "active_outputs": table.active_outputs.mean(),
            "activity": [table[f"active:{n}"].mean() for n in outputs],
            "levels": [table[f"level:{n}"].mean() for n in outputs],
            "mixed_chunks": len(mixed),
            "degenerate_share": (mixed.mixture_snr >= degenerate_db).mean(),
            **{key: values.mean() for key, values in each.items()},
            "grouping_gain": each["grouped_snr"].mean() - each["snr"].mean(),
            **{f"{key}_per_stem": values.to_dict() for key, values in each.items()},
            "outputs_per_stem": counts.mean(),
            "outputs_of_each_stem": counts.to_dict(),
            "stems_per_output": all_widths.mean(),
            "stems_of_each_output": widths.mean().tolist(),
            "shares": {s: [table[f"share:{n}:{s}"].mean() for n in outputs] for s in stems},
            "contents": {s: [table[f"content:{n}:{s}"].mean() for n in outputs] for s in stems},
            **{name: table[name].mean() for name in MEASURES},
            **{
                f"{name}_per_pair": {f"{a}, {b}": table[f"{name}:{a}:{b}"].mean() for a, b in pairs}
                for name in MEASURES
            },
        }
    )


def describe(summary: dict[str, Any]) -> str:
    """The summary as text."""
    stems, outputs = summary["stems"], range(summary["num_outputs"])
    width = max(5, *(len(stem) for stem in stems)) + 2
    lines = [f"{'stem':<{width}}  SNR (dB)  improved  grouped  outputs"]
    for stem in stems:
        keys = ("snr_per_stem", "snr_improvement_per_stem", "grouped_snr_per_stem")
        cells = [summary[key][stem] for key in (*keys, "outputs_of_each_stem")]
        lines.append(f"{stem:<{width}}" + _cells(cells))
    means = ("snr", "snr_improvement", "grouped_snr", "outputs_per_stem")
    lines.append(f"{'mean':<{width}}" + _cells([summary[key] for key in means]))
    lines.append(
        f"{summary['active_outputs']:.1f} of {len(outputs)} outputs sound at a time; "
        f"one holds {_number(summary['stems_per_output'])} stems on average"
    )
    for stem, shares in summary["shares"].items():
        carriers = [n for n in outputs if (shares[n] or 0) >= NOTEWORTHY]
        if len(carriers) > 1:
            lines.append(f"{_outputs(carriers)} share {stem} ({_percents(shares, carriers)})")
        elif summary["outputs_of_each_stem"][stem] is None:
            lines.append(f"{stem} never sounds, or is in no output")
        elif not carriers:
            spread = f"{summary['outputs_of_each_stem'][stem]:.1f} outputs"
            lines.append(f"{stem} is thinly spread over {spread}, or lost")
    contents = summary["contents"]
    for n in outputs:
        parts = [stem for stem in stems if (contents[stem][n] or 0) >= NOTEWORTHY]
        if len(parts) > 1:
            percents = _percents({stem: contents[stem][n] for stem in parts}, parts)
            lines.append(f"output {n} mixes {_listed(parts)} ({percents})")
    if summary["degenerate_share"] is not None:
        lines.append(
            "a single output holds the whole mixture in "
            f"{100 * summary['degenerate_share']:.0f} % of {summary['mixed_chunks']} chunks"
        )
    measures = (f"{name.replace('_', ' ')} {_number(summary[name], 3)}" for name in MEASURES)
    lines.append("stems: " + ", ".join(measures))
    return "\n".join(lines)


def _row(findings: ChunkDiagnosis, stems: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "active_outputs": int(findings.active.sum()),
        "sounding_stems": int(findings.sounding.sum()),
        "mixture_snr": findings.mixture_snr.max(),
        "loudest_stem_snr": findings.loudest_stem_snr,
    }
    for k, stem in enumerate(stems):
        row[f"output:{stem}"] = findings.output[k] if findings.output[k] >= 0 else None
        row[f"group:{stem}"] = "+".join(map(str, np.flatnonzero(findings.group == k)))
        for key in ("snr", "mixture_as_estimate", "grouped_snr", "outputs_per_stem"):
            row[f"{key}:{stem}"] = getattr(findings, key)[k]
    for n in range(len(findings.level)):
        row[f"level:{n}"] = findings.level[n]
        row[f"active:{n}"] = int(findings.active[n])
        row[f"stems_per_output:{n}"] = findings.stems_per_output[n]
        for k, stem in enumerate(stems):
            row[f"share:{n}:{stem}"] = findings.share[n, k]
            row[f"content:{n}:{stem}"] = findings.content[n, k]
    return row


def _likeness(
    matrices: dict[str, np.ndarray], findings: ChunkDiagnosis, stems: Sequence[str]
) -> dict[str, float]:
    sounding = findings.sounding
    row = {name: mean_over_pairs(matrix, sounding) for name, matrix in matrices.items()}
    for name, matrix in matrices.items():
        for i, j in zip(*np.triu_indices(len(stems), k=1), strict=True):
            value = matrix[i, j] if sounding[i] and sounding[j] else np.nan
            row[f"{name}:{stems[i]}:{stems[j]}"] = value
    return row


def _per_stem(table: pd.DataFrame, key: str, stems: Sequence[str]) -> pd.Series:
    return pd.Series({stem: table[f"{key}:{stem}"].mean() for stem in stems})


def _plain(value: Any) -> Any:
    """Convert to JSON types; NaN becomes None."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else float(value)
    return value


def _cells(values: Sequence[float | None]) -> str:
    return "".join(f"{_number(x):>{w}}" for x, w in zip(values, (10, 10, 9, 9), strict=True))


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _outputs(numbers: Sequence[int]) -> str:
    return f"outputs {_listed([str(number) for number in numbers])}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _percents(parts: Any, keys: Sequence[Any]) -> str:
    return ", ".join(f"{100 * parts[key]:.0f} %" for key in keys)
