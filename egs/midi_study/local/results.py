"""Results of the study by run and seed: scores, histories, diagnoses."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
from steps import Places, places
from study import COMMON, Cut, Pretraining, Run

from mixit_mss.errors import UserError
from mixit_mss.files import atomic_path
from mixit_mss.report.history import read_history
from mixit_mss.report.seeds import Spread, paired_difference, spread
from mixit_mss.scoring.songs import SCORES_FILE, read_scores, summarise

Values = dict[int, float]  # by seed


class Results:
    """Results of one cut of the study, for the given seeds.

    Raises:
        UserError: raised by every method that reads, if a file is missing or broken.
    """

    def __init__(self, cut: Cut, seeds: Sequence[int], work_dir: str | Path):
        self.cut, self.seeds = cut, tuple(seeds)
        self.folder = Path(work_dir) / cut.name
        self._at = {seed: places(work_dir, cut, seed) for seed in self.seeds}
        self._read: dict[Path, pd.DataFrame] = {}

    def at(self, seed: int) -> Places:
        """Folders of a seed."""
        return self._at[seed]

    def missing(self, names: Iterable[str], diagnosed: Iterable[tuple[Pretraining, str]] = ()):
        """Missing files of these experiments."""
        files = [self._scores(seed, name) for name in names for seed in self.seeds]
        files += [
            self._at[seed].diagnosis(run, level) / "diagnosis.json"
            for run, level in diagnosed
            for seed in self.seeds
        ]
        return [path for path in files if not path.exists()]

    def score(self, name: str, metric: str = "usdr", stem: str = "average") -> Values:
        """A score in dB for every seed, averaged over songs as in ``summarise``."""
        return {seed: float(summarise(self.table(seed, name), metric)[stem]) for seed in self.seeds}

    def table(self, seed: int, name: str) -> pd.DataFrame:
        """Scores of every song and stem."""
        path = self._scores(seed, name)
        if path not in self._read:
            self._read[path] = read_scores(path)
        return self._read[path]

    @cached_property
    def stems(self) -> list[str]:
        """Stem names, in the order of the tables."""
        return list(dict.fromkeys(self.table(self.seeds[0], self.cut.scratch().name).stem))

    def diagnosis(self, run: Pretraining, level: str, key: str) -> Values:
        """A value of a diagnosis by seed; nan if unknown."""
        values = {}
        for seed in self.seeds:
            path = self._at[seed].diagnosis(run, level) / "diagnosis.json"
            content = _json(path)
            if key not in content:
                raise UserError(f"{path} has no '{key}'; remove its folder and run the study again")
            values[seed] = float("nan") if content[key] is None else float(content[key])
        return values

    def learning(self, run: Run) -> tuple[list[float], list[Spread]]:
        """Steps, and the uSDR of the validation songs at each, over seeds."""
        columns = {}
        for seed in self.seeds:
            history = read_history(self._at[seed].run(run.name) / "history.csv")
            known = history[history.val_usdr.notna()]
            columns[seed] = known.set_index("step").val_usdr
        table = pd.DataFrame(columns).sort_index()
        return [float(step) for step in table.index], [spread(row) for row in table.to_numpy()]

    def facts(self, names: Iterable[str]) -> list[dict]:
        """``experiment.json`` of every seed of these experiments."""
        return [
            _json(self._at[seed].run(name) / "experiment.json")
            for name in names
            for seed in self.seeds
        ]

    def run_records(self, names: Iterable[str]) -> list[dict]:
        """``run.json`` of every seed of these trainings, if it exists."""
        paths = [self._at[seed].run(name) / "run.json" for name in names for seed in self.seeds]
        return [_json(path) for path in paths if path.exists()]

    def machines(self) -> list[dict]:
        """Machines that the study ran on."""
        path = self.folder / "machines.json"
        return _json(path) if path.exists() else []

    def difference(
        self, ours: str, theirs: str, metric: str = "usdr", stem: str = "average"
    ) -> Spread:
        """Difference between two experiments, paired by seed."""
        return paired_difference(self.score(ours, metric, stem), self.score(theirs, metric, stem))

    def all_scores(self, names: Iterable[str]) -> pd.DataFrame:
        """Every song and stem of every seed of these experiments."""
        parts = []
        for name in names:
            for seed in self.seeds:
                table = self.table(seed, name)
                parts.append(
                    pd.concat(
                        [pd.DataFrame({"seed": seed, "run": name}, table.index), table], axis=1
                    )
                )
        return pd.concat(parts, ignore_index=True)

    def all_chunks(self, diagnosed: Iterable[tuple[Pretraining, str]]) -> pd.DataFrame:
        """Every chunk of every seed of these diagnoses."""
        parts = []
        for run, level in diagnosed:
            for seed in self.seeds:
                table = pd.read_csv(self._at[seed].diagnosis(run, level) / "chunks.csv")
                first = {"seed": seed, "run": run.name, "test_level": level}
                parts.append(pd.concat([pd.DataFrame(first, table.index), table], axis=1))
        return pd.concat(parts, ignore_index=True)

    def _scores(self, seed: int, name: str) -> Path:
        return self._at[seed].run(name) / SCORES_FILE


def oracle_name(kind: str, level: str = COMMON) -> str:
    """Name of an oracle's folder."""
    return f"oracle_{kind}_{level}"


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV; if the name ends in ``.gz``, compressed without a timestamp."""
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    content = text.encode("utf-8")
    if path.suffix == ".gz":
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
            file.write(content)
        content = packed.getvalue()
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def _json(path: Path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); run the study again") from error
