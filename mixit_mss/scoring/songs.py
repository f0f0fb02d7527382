"""Score estimates or an oracle against the references of whole songs, and write one table.

The table has one row per song and stem.  A stem whose reference is silent has no SDR: its scores
are NaN, and it does not affect the scores of the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mixit_mss import audio
from mixit_mss.corpora.folder import SUFFIXES
from mixit_mss.errors import UserError
from mixit_mss.files import write_text
from mixit_mss.limits import shown
from mixit_mss.names import file_name, place, printable
from mixit_mss.parallel import run_parallel
from mixit_mss.progress import counted
from mixit_mss.scoring.bsseval import BSSEVAL_COLUMNS, bsseval
from mixit_mss.scoring.metrics import SongScores
from mixit_mss.scoring.oracles import ideal_ratio_mask, mixture_as_estimate
from mixit_mss.separation.songs import manifest_songs
from mixit_mss.stamps import Fingerprint, foreign_files, own_files
from mixit_mss.tables import Kind, columns_of, read_table

if TYPE_CHECKING:
    from mixit_mss.data.manifest import Manifest

SCORES_FILE = "scores.csv"
COLUMNS = ("song", "stem", "usdr", "usdr_per_channel", "csdr")
MOST_STEMS = 256
ORACLES = ("mixture", "irm")


@dataclass(frozen=True)
class Task:
    """One song to score.

    Attributes:
        song: its name.
        references: stem -> file.
        estimates: stem -> file; empty for an oracle.
        oracle: ``mixture`` (as the estimate of every stem), ``irm`` (ideal ratio mask), or None.
        mixture: the files that sum to the mixture; oracles need it.
        full_bsseval: also compute museval's SDR, ISR, SIR and SAR.
        contents: sha256 of the files' samples, where a table has it.
        stems: the references to score; empty for all.
    """

    song: str
    references: dict[str, Path]
    estimates: dict[str, Path] = field(default_factory=dict)
    oracle: str | None = None
    mixture: tuple[Path, ...] = ()
    full_bsseval: bool = False
    contents: dict[Path, str] = field(default_factory=dict)
    stems: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of everything that the scores depend on."""
        files = {f"reference {stem}": path for stem, path in self.references.items()}
        files |= {f"estimate {stem}": path for stem, path in self.estimates.items()}
        if self.oracle:
            files |= {f"mixture {number}": path for number, path in enumerate(self.mixture)}
        known = {role: self.contents[path] for role, path in files.items() if self._knows(path)}
        options: dict[str, object] = {"song": self.song, "oracle": self.oracle}
        options["full_bsseval"] = self.full_bsseval
        if self.stems and self.stems != tuple(self.references):
            options["stems"] = self.stems
        return Fingerprint(
            "score",
            options,
            {role: path for role, path in files.items() if role not in known},
            known,
        )

    def _knows(self, path: Path) -> bool:
        return bool(self.contents.get(path))


def manifest_tasks(
    manifest: Manifest,
    split: str,
    estimates: str | Path | None = None,
    oracle: str | None = None,
    full_bsseval: bool = False,
    stems: Sequence[str] | None = None,
) -> list[Task]:
    """One task per song of a split, with ``estimates/<song>/<stem>.*`` or an oracle as estimates.

    Args:
        manifest: of songs with stems.
        split: the songs' split.
        estimates: folder with one folder per song.
        oracle: used instead of estimates.
        full_bsseval: also compute museval's other scores, which need the estimates of all stems.
        stems: stems to score; None for all stems of the songs.

    Raises:
        UserError: an estimate is missing, a song lacks a stem, or the split is empty.
    """
    tracks = manifest.select(split=split).tracks
    tasks = []
    for song in manifest_songs(manifest, split):
        rows = tracks[tracks.song.astype(str) == song.name]
        references = dict(zip(rows.stem, map(Path, rows.path), strict=True))
        references.pop("mixture", None)
        wanted = _wanted(references, stems, song.name, full_bsseval)
        found = {}
        if estimates is not None:  # an oracle needs all references
            references = {stem: references[stem] for stem in wanted}
            found = _find(place(estimates, song.name), references)
        contents = dict(zip(map(Path, rows.path), rows.content, strict=True))
        files = (references, found, oracle, song.parts)
        tasks.append(Task(song.name, *files, full_bsseval, contents, wanted))
    return tasks


def _wanted(
    references: Mapping[str, Path], stems: Sequence[str] | None, song: str, full_bsseval: bool
) -> tuple[str, ...]:
    """The stems to score, in the order of the references.

    Raises:
        UserError: a stem has no reference, or full BSSEval is requested for only some stems.
    """
    if stems is None:
        return tuple(references)
    if unknown := [stem for stem in stems if stem not in references]:
        known = ", ".join(references) or "none"
        raise UserError(f"--stems {','.join(unknown)}: song '{song}' has the stems {known}")
    if full_bsseval and set(stems) != set(references):
        raise UserError(
            "--full-bsseval compares each estimate with the references of all stems: it needs "
            "estimates of all, and no --stems"
        )
    return tuple(stem for stem in references if stem in stems)


def folder_task(
    references: str | Path,
    estimates: str | Path,
    full_bsseval: bool = False,
    stems: Sequence[str] | None = None,
) -> Task:
    """A task for one song: stems in one folder (all audio but ``mixture``), estimates in another.

    Raises:
        UserError: as in :func:`manifest_tasks`.
    """
    folder = Path(references)
    files = {
        printable(path.stem): path
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in SUFFIXES and path.stem != "mixture"
    }
    if not files:
        raise UserError(f"--references {folder} holds no stem; give a folder with <stem>.wav files")
    name = printable(folder.absolute().name)
    files = {stem: files[stem] for stem in _wanted(files, stems, name, full_bsseval)}
    return Task(name, files, _find(Path(estimates), files), full_bsseval=full_bsseval)


def score_song(task: Task) -> pd.DataFrame:
    """Score one song; the table has one row per stem.

    Raises:
        UserError: a file cannot be read, or the files differ in length, sample rate or channel
            count.
    """
    info = audio.probe(next(iter(task.references.values())))
    scores = SongScores(info.sample_rate)
    for path in (*task.references.values(), *task.estimates.values()):
        _check_alike(path, info)
    try:
        for estimates, references in _blocks(task):
            scores.add(estimates, references)
        columns = dict(
            zip(COLUMNS[2:], (scores.usdr(), scores.usdr_per_channel(), scores.csdr()), strict=True)
        )
    except ValueError as error:
        raise UserError(f"{task.song}: {error}; separate this song again") from error
    if task.full_bsseval:
        columns |= bsseval(*_whole(task), info.sample_rate)
    table = pd.DataFrame({"song": task.song, "stem": list(task.references), **columns})
    return table[table["stem"].isin(task.stems)].reset_index(drop=True) if task.stems else table


def score_songs(tasks: list[Task], nj: int = 1, parts: Path | None = None) -> pd.DataFrame:
    """Score all songs in parallel processes; the table is sorted by song name.

    Args:
        tasks: one per song, at least one.
        nj: songs at a time.
        parts: a folder of ours that caches each song's scores as soon as they are computed; cached
            scores are not computed again, see :func:`known_scores`.

    Raises:
        UserError: names every song that could not be scored; raised after all others are scored.
    """
    scored = {} if parts is None else known_scores(tasks, parts)
    todo = [(task, parts) for task in tasks if task.song not in scored]
    failed = []
    results = run_parallel(_score_or_reason, todo, nj)
    for (task, _), result in counted(results, "scoring", len(todo)):
        if isinstance(result, pd.DataFrame):
            scored[task.song] = result
        else:
            failed.append(result or f"{task.song}: its process died (memory?)")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(tasks)} songs cannot be scored: {'; '.join(sorted(failed))}"
        )
    return pd.concat([scored[song] for song in sorted(scored)], ignore_index=True)


def known_scores(tasks: list[Task], parts: Path) -> dict[str, pd.DataFrame]:
    """Scores in ``parts``, by song, that were computed from the same files and options."""
    known = {}
    for task in tasks:
        folder = _part(parts, task)
        if task.fingerprint.is_done(folder):
            with contextlib.suppress(UserError):
                known[task.song] = read_scores(folder / SCORES_FILE)
    return known


def forget_others(tasks: list[Task], parts: Path) -> None:
    """Remove from ``parts`` the scores of songs that are not among ``tasks``."""
    wanted = {_part(parts, task) for task in tasks}
    for folder in parts.iterdir():
        if folder not in wanted and own_files(folder, "score") and not foreign_files(folder):
            shutil.rmtree(folder, ignore_errors=True)


def write_scores(path: str | Path, scores: pd.DataFrame) -> None:
    """Write the table as CSV, atomically; a missing score is an empty cell."""
    write_text(path, scores_text(scores))


def scores_text(scores: pd.DataFrame) -> str:
    """The table as CSV."""
    return scores.to_csv(index=False, float_format="%.6f", lineterminator="\n")


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a table of :func:`write_scores`.

    Raises:
        UserError: the file is not such a table.
    """
    try:
        return _read_scores(Path(path))
    except UserError as error:
        raise UserError(f"{error}; run mixit-mss score for it again") from error


def _read_scores(path: Path) -> pd.DataFrame:
    kinds = dict.fromkeys((*COLUMNS, *columns_of(path)), Kind.RATIO)
    kinds |= {"song": Kind.TEXT, "stem": Kind.TEXT}
    kinds |= {"usdr": Kind.GAPPED, "usdr_per_channel": Kind.GAPPED}  # always finite, or empty
    scores = read_table(path, kinds)
    if not len(scores):
        raise UserError(f"'{path}' holds no song")
    for name in ("song", "stem"):
        scores[name] = list(map(printable, scores[name]))
    if (count := scores["stem"].nunique()) > MOST_STEMS:
        raise UserError(f"'{path}' has {count} stems, more than anybody separates")
    twice = scores[scores.duplicated(["song", "stem"])]
    if len(twice):
        song, stem = twice.iloc[0][["song", "stem"]]
        raise UserError(f"'{path}' has two scores of {shown(stem)} in the song {shown(song)}")
    return scores


def summarise(scores: pd.DataFrame, metric: str) -> pd.Series:
    """One number per stem, and their mean as ``average``.

    uSDR is averaged over songs (MDX 2021); for cSDR and the other scores that are medians over
    windows, the median over songs is taken (SiSEC 2018).  Songs without a value are excluded.
    """
    by_stem = scores.groupby("stem", sort=False)[metric]
    summary = by_stem.mean() if metric.startswith("usdr") else by_stem.median()
    return pd.concat([summary, pd.Series({"average": summary.mean(skipna=False)})])


def summary_text(scores: pd.DataFrame) -> str:
    """A summary to print: one line per stem, one for the average, and the songs without a score."""
    metrics = [name for name in (*COLUMNS[2:], *BSSEVAL_COLUMNS) if name in scores]
    table = pd.DataFrame({metric: summarise(scores, metric) for metric in metrics})
    lines = [table.to_string(float_format=lambda value: f"{value:.2f}", na_rep="-")]
    without = scores[scores[["usdr", "csdr"]].isna().any(axis=1)]
    if len(without):
        names = ", ".join(f"{row.song} ({row.stem})" for row in without.itertuples())
        lines.append(f"{len(without)} without a score, because of silence: {names}")
    return "\n".join(lines)


def _score_or_reason(job: tuple[Task, Path | None]) -> pd.DataFrame | str:
    task, parts = job
    try:
        fingerprint = task.fingerprint
        scores = score_song(task)
        if parts is not None:
            folder = _part(parts, task)
            write_scores(folder / SCORES_FILE, scores)
            fingerprint.mark_done(folder, [folder / SCORES_FILE])
        return scores
    except UserError as error:
        return str(error)


def _part(parts: Path, task: Task) -> Path:
    return parts / hashlib.sha256(task.song.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _find(folder: Path, references: dict[str, Path]) -> dict[str, Path]:
    found = {}
    files = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES]
    for stem in references:
        known = (stem, file_name(stem))
        same = [path for path in files if printable(path.stem) in known]
        if same:
            found[stem] = same[0]
    if missing := [stem for stem in references if stem not in found]:
        names = ", ".join(f"'{stem}'" for stem in missing)
        alone = f", or score the others alone (--stems {','.join(found)})" if found else ""
        raise UserError(f"{folder} holds no estimate of {names}; separate this song again{alone}")
    return found


def _check_alike(path: Path, first: audio.AudioInfo[int]) -> None:
    info = audio.probe(path)
    for quantity in ("frames", "sample_rate", "channels"):
        ours, theirs = getattr(info, quantity), getattr(first, quantity)
        if ours != theirs:
            what = quantity.replace("_", " ")
            raise UserError(
                f"'{path}' has {ours} {what}, but '{first.path}' has {theirs}; "
                "estimates and references must be alike"
            )


def _blocks(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Estimates and references, (stem, channel, sample) each, in blocks of equal length."""
    if task.oracle is not None:
        yield _whole(task)
        return
    files = [*task.estimates.values(), *task.references.values()]
    for blocks in zip(*map(audio.stream, files), strict=True):
        yield np.stack(blocks[: len(files) // 2]), np.stack(blocks[len(files) // 2 :])


def _whole(task: Task) -> tuple[np.ndarray, np.ndarray]:
    references = _read(task.references.values())
    if task.oracle is None:
        return _read(task.estimates.values()), references
    mixture = _read(task.mixture).sum(axis=0)
    if task.oracle == "mixture":
        return mixture_as_estimate(mixture, len(references)), references
    return ideal_ratio_mask(mixture, references), references


def _read(paths: Iterable[Path]) -> np.ndarray:
    return np.stack([audio.read(path)[0] for path in paths])
