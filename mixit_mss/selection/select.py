"""Stage 4: turn a pre-trained network into one with named stems (paper section 4.3)."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from mixit_mss.data.datasets import LabelledChunks
from mixit_mss.data.manifest import Manifest
from mixit_mss.errors import UserError
from mixit_mss.files import write_text
from mixit_mss.models.network import Network
from mixit_mss.selection.channel_votes import Choice, choose_channels, count_votes, snr_matrix

VOTES = "votes.csv"


def vote(
    model: Network, songs: Manifest, stems: Sequence[str], chunk_seconds: float = 6.0
) -> np.ndarray:
    """Votes of every chunk of ``songs`` for the network's outputs.

    Args:
        model: a network, mixture (batch, channel, sample) -> (batch, source, channel, sample).
        songs: validation songs with stems at the network's rate.
        stems: names of the stems to vote for.
        chunk_seconds: the paper's 6 s.

    Returns:
        int64 (source, stem); see :func:`~mixit_mss.selection.channel_votes.count_votes`.
    """
    device = next(model.parameters()).device
    chunks = LabelledChunks(songs, stems, chunk_seconds, model.sample_rate, model.num_channels)

    def scores() -> Iterator[np.ndarray]:
        hidden = not sys.stdout.isatty()
        for index in track(range(len(chunks)), "voting", disable=hidden, transient=True):
            references = chunks[index].to(device)
            with torch.inference_mode():
                estimates = model(references.sum(0, keepdim=True))[0]
            yield snr_matrix(estimates, references)

    return count_votes(scores())


def select(model: Network, votes: np.ndarray, stems: Sequence[str]) -> tuple[Network, Choice]:
    """The network with one named output per stem, and how its outputs were selected.

    Raises:
        UserError: if the network has fewer outputs than there are stems.
    """
    if votes.shape[0] < len(stems):
        raise UserError(
            f"the network has {votes.shape[0]} outputs, too few for the stems {', '.join(stems)}"
        )
    choice = choose_channels(votes)
    return model.select_sources(choice.channels, stems=stems), choice


def describe(votes: np.ndarray, stems: Sequence[str], choice: Choice) -> str:
    """The votes as a table, the selection, and its conflicts, as text."""
    width = max(8, *(len(stem) + 2 for stem in stems))
    lines = ["output  " + "".join(f"{stem:>{width}}" for stem in stems)]
    for channel, row in enumerate(votes):
        cells = (
            f"{count}{'*' if choice.channels[stem] == channel else ' '}"
            for stem, count in enumerate(row)
        )
        lines.append(f"{channel:>6}  " + "".join(f"{cell:>{width}}" for cell in cells))
    for channel, claimants in choice.contested.items():
        names = " and ".join(stems[stem] for stem in claimants)
        lines.append(
            f"{names} both favour output {channel}: the assignment with the most votes overall "
            "was taken"
        )
    for stem in choice.unvoted:
        lines.append(f"{stems[stem]} is silent in every chunk: its output is arbitrary")
    return "\n".join(lines)


def write_votes(path: str | Path, votes: np.ndarray, stems: Sequence[str], choice: Choice) -> None:
    """Save the votes as CSV: one row per output with its votes per stem and its selected stem."""
    kept = {channel: stems[stem] for stem, channel in enumerate(choice.channels)}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["channel", *stems, "chosen_for"])
    for channel, row in enumerate(votes.tolist()):
        writer.writerow([channel, *row, kept.get(channel, "")])
    write_text(path, table.getvalue())
