"""The commands of the study for one cut and one seed, ordered by their dependencies.

All files of a seed are in one folder, ``<work_dir>/<cut>/seed<seed>``:

    songs/  data/  manifests/   stages 0 to 2, by corpus; unlabelled songs go once segmented
    exp/<run>/                  stages 3 to 6: model, scores.csv, history.csv, diagnosis_<level>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from study import COMMON, MIXED, PARTS, Cut, Finetuning, Pretraining

from mixit_mss.training.config import FinetuneConfig, PretrainConfig, load_config

RECIPE = Path(__file__).resolve().parents[1]
STEMS = "vocals,drums,bass,other"
VALID_FRACTION = 0.05  # of the unlabelled songs: the default of `mixit-mss segment`
SPARE_SONGS = 4  # for songs that are rejected, such as those with too much silence


@dataclass(frozen=True)
class Costs:
    """Costs in seconds on two cores of a shared Xeon, for planning a cut."""

    start: float = 4.0  # start of a command
    song: float = 0.38  # to render
    segment: float = 0.25
    stems: float = 1.5  # to render and segment a song with its stems
    pretrain_step: float = 0.45  # of the first size, batch 4 x 2 s, 8 outputs, validation included
    finetune_step: float = 0.6  # batch 8 x 2 s
    validation: float = 1.0
    score: float = 1.0  # to separate and score a song
    diagnose: float = 1.0  # per song
    # relative cost by network size
    times: tuple[tuple[str, float], ...] = (("mini", 1.0), ("tiny", 1.0), ("little", 1.8))

    def model(self, name: str) -> float:
        """Relative cost of a step of this network size."""
        return dict(self.times)[name]


COSTS = Costs()
SIDE_BY_SIDE = 1.28  # speed of two trainings at once with a thread each, over one by one with two


@dataclass(frozen=True)
class Step:
    """Commands that belong together.

    Attributes:
        name: unique in the study.
        commands: commands to run in order, in the recipe's folder.
        reads: files from other steps, and configs.
        writes: files that exist afterwards, including all that other steps read.
        spent: folders that are no longer needed afterwards.
        seconds: expected wall time.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    reads: tuple[Path, ...]
    writes: tuple[Path, ...]
    spent: tuple[Path, ...] = ()
    seconds: float = 0.0


def planned(steps: Sequence[Step], jobs: int = 2) -> float:
    """Expected seconds for steps, with ``jobs`` at a time."""
    return sum(step.seconds for step in steps) / (SIDE_BY_SIDE if jobs > 1 else 1.0)


@dataclass(frozen=True)
class Places:
    """Paths of one seed."""

    root: Path

    def manifest(self, corpus: str, songs: int | None, kind: str) -> Path:
        """Manifest of a corpus, or of ``songs`` of its training songs."""
        return self.root / "manifests" / (corpus + ("" if songs is None else f"_{songs}")) / kind

    def labelled(self, level: str, songs: int | None = None) -> Path:
        """Manifest of songs with stems."""
        return self.manifest(f"labelled_{level}", songs, "labelled")

    def run(self, name: str) -> Path:
        """Folder of an experiment."""
        return self.root / "exp" / name

    def selected(self, run: Pretraining) -> Path:
        """Model folder with the selected outputs of a pre-trained network."""
        return self.run(run.name) / "selected_4"

    def oracle(self, kind: str, level: str) -> Path:
        """Folder of an oracle's scores."""
        return self.run(f"oracle_{kind}_{level}")

    def diagnosis(self, run: Pretraining, level: str) -> Path:
        """Folder of the diagnosis of a pre-trained network on test songs of a level."""
        return self.run(run.name) / f"diagnosis_{level}"


def places(work_dir: str | Path, cut: Cut, seed: int) -> Places:
    """The folders of one seed."""
    return Places(Path(work_dir) / cut.name / f"seed{seed}")


def steps_of(
    cut: Cut,
    seed: int,
    work_dir: str | Path,
    nj: int = 2,
    ngpu: int = 1,
    parts: Sequence[str] = PARTS,
) -> list[Step]:
    """All steps of these parts of the study for one seed, each after those that it depends on."""
    maker = _Maker(cut, seed, places(work_dir, cut, seed), nj, ngpu)
    runs = cut.runs(parts)
    levels = [COMMON]
    if "correlation" in parts:
        levels += [level for level in cut.levels if level != COMMON]
    steps = [maker.labelled(level) for level in levels]
    steps += [maker.oracle("irm", level) for level in levels] + [maker.oracle("mixture", COMMON)]
    corpora = cut.corpora(runs)
    played: set[str] = set()
    for run in runs:
        if isinstance(run, Finetuning):
            steps += [maker.finetune(run), maker.score(run.name, maker.at.run(run.name) / "model")]
            continue
        if run.corpus not in played:
            steps.append(maker.unlabelled(run, corpora[run.corpus]))
            played.add(run.corpus)
        steps += [maker.pretrain(run), maker.select(run)]
        if run in cut.voted():
            steps.append(maker.score(f"{run.name}/selected_4", maker.at.selected(run)))
        if "correlation" in parts:
            steps += [maker.diagnose(run, at) for which, at in cut.diagnosed() if which == run]
    return steps


@dataclass(frozen=True)
class _Maker:
    """Make the steps of one seed."""

    cut: Cut
    seed: int
    at: Places
    nj: int
    ngpu: int

    def labelled(self, level: str) -> Step:
        """Songs with stems; only test songs, unless it is the level for fine-tuning."""
        cut, whole = self.cut, self.at.labelled(level)
        trains = level == COMMON
        amounts = sorted({*cut.labelled, cut.train_songs}) if trains else []
        counts = (max(amounts, default=0), cut.valid_songs if trains else 0, cut.test_songs)
        commands = [
            self._render(f"labelled_{level}", (0, *counts), level, MIXED),
            self._segment("labelled", f"labelled_{level}", "labelled", ("--stems", STEMS)),
            self._join("labelled", f"labelled_{level}"),
            *(self._take(whole, n, self.at.labelled(level, n)) for n in amounts),
        ]
        seconds = COSTS.start * len(commands) + COSTS.stems * sum(counts)
        made = [whole, *(self.at.labelled(level, n) for n in amounts)]
        writes = [path for manifest in made for path in tables(manifest)]
        return self._step(f"songs_labelled_{level}", commands, (), writes, seconds=seconds)

    def unlabelled(self, run: Pretraining, amounts: list[int]) -> Step:
        """Songs for pre-training, and a manifest for each amount of them."""
        corpus, whole = run.corpus, self.at.manifest(run.corpus, None, "unlabelled")
        count = songs_to_render(amounts[-1])
        commands = [
            self._render(corpus, (count, 0, 0, 0), run.level, run.parts),
            self._segment("unlabelled", corpus, "unlabelled", ()),
            self._join("unlabelled", corpus),
            *(self._take(whole, n, self.at.manifest(corpus, n, "unlabelled")) for n in amounts),
        ]
        seconds = COSTS.start * len(commands) + (COSTS.song + COSTS.segment) * count
        parts = [self.at.manifest(corpus, n, "unlabelled") for n in amounts]
        writes = [path for manifest in parts for path in tables(manifest)]
        spent = (self.at.root / "songs" / corpus,)
        return self._step(f"songs_{corpus}", commands, (), writes, spent, seconds)

    def pretrain(self, run: Pretraining) -> Step:
        """Stage 3: pre-training."""
        config = self._config("pretrain_long" if run.long else "pretrain")
        model = model_file(run.model)
        manifest = self.at.manifest(run.corpus, run.songs, "unlabelled")
        out = self.at.run(run.name)
        command = [
            *("mixit-mss", "pretrain", "--config", shown(config), "--model", shown(model)),
            *("--manifest", str(manifest), "--out", str(out)),
            *("--seed", str(self.seed), "--ngpu", str(self.ngpu)),
        ]
        steps, _ = trained_steps(config, PretrainConfig)
        seconds = COSTS.start + COSTS.pretrain_step * COSTS.model(run.model) * steps
        reads = (config, model, *tables(manifest))
        writes = [out / "model/model.safetensors"]
        return self._step(run.name, [command], reads, writes, (out / "checkpoints",), seconds)

    def select(self, run: Pretraining) -> Step:
        """Stage 4: selection of outputs by votes of the validation songs."""
        manifest, out = self.at.labelled(COMMON, self.cut.train_songs), self.at.selected(run)
        model = self.at.run(run.name) / "model"
        command = [
            *("mixit-mss", "select-channels", "--model", str(model)),
            *("--manifest", str(manifest), "--stems", STEMS, "--out", str(out)),
        ]
        seconds = COSTS.start + COSTS.diagnose * self.cut.valid_songs
        reads = (model / "model.safetensors", *tables(manifest))
        writes = [out / "model.safetensors"]
        return self._step(f"select_{run.name}", [command], reads, writes, seconds=seconds)

    def finetune(self, run: Finetuning) -> Step:
        """Stage 5: fine-tuning."""
        config = self._config("finetune_long" if run.long else "finetune")
        manifest, out = self.at.labelled(COMMON, run.songs), self.at.run(run.name)
        if run.start is None:
            source = model_file(run.model)
            start, reads = ("--model", shown(source)), [config, source]
        else:
            folder = self.at.selected(run.start)
            start, reads = ("--init", str(folder)), [config, folder / "model.safetensors"]
        command = [
            *("mixit-mss", "finetune", *start, "--config", shown(config)),
            *("--trainable", run.trainable, "--manifest", str(manifest), "--out", str(out)),
            *("--seed", str(self.seed), "--ngpu", str(self.ngpu)),
        ]
        steps, validations = trained_steps(config, FinetuneConfig)
        each = COSTS.finetune_step * steps + COSTS.validation * validations
        seconds = COSTS.start + COSTS.model(run.model) * each
        reads += tables(manifest)
        writes = [out / "model/model.safetensors"]
        return self._step(run.name, [command], reads, writes, (out / "checkpoints",), seconds)

    def score(self, name: str, model: Path) -> Step:
        """Stage 6: scores on the test songs at the common level; estimates are then removed."""
        manifest, out = self.at.labelled(COMMON), self.at.run(name)
        estimates = out / "estimates"
        common = ("--manifest", str(manifest), "--split", "test")
        commands = [
            ["mixit-mss", "separate", "--model", str(model), *common, "--out", str(estimates)],
            [
                *("mixit-mss", "score", *common, "--estimates", str(estimates)),
                *("--out", str(out / "scores.csv"), "--label", name, "--nj", str(self.nj)),
            ],
        ]
        seconds = 2 * COSTS.start + COSTS.score * self.cut.test_songs
        reads = (model / "model.safetensors", *tables(manifest))
        writes = [out / "scores.csv"]
        return self._step(f"score_{name}", commands, reads, writes, (estimates,), seconds)

    def oracle(self, kind: str, level: str) -> Step:
        """Scores of an oracle on the test songs of a level."""
        manifest, out = self.at.labelled(level), self.at.oracle(kind, level) / "scores.csv"
        command = [
            *("mixit-mss", "score", "--manifest", str(manifest), "--split", "test"),
            *("--oracle", kind, "--out", str(out), "--label", f"{kind}, {level}"),
            *("--nj", str(self.nj)),
        ]
        seconds = COSTS.start + 0.5 * COSTS.score * self.cut.test_songs
        name = f"oracle_{kind}_{level}"
        return self._step(name, [command], tables(manifest), [out], seconds=seconds)

    def diagnose(self, run: Pretraining, level: str) -> Step:
        """Diagnosis of a pre-trained network on the test songs of a level."""
        manifest, model = self.at.labelled(level), self.at.run(run.name) / "model"
        out = self.at.diagnosis(run, level)
        command = [
            *("mixit-mss", "diagnose", "--model", str(model), "--manifest", str(manifest)),
            *("--split", "test", "--stems", STEMS, "--out", str(out)),
        ]
        seconds = COSTS.start + COSTS.diagnose * self.cut.test_songs
        reads = (model / "model.safetensors", *tables(manifest))
        name = f"diagnose_{run.name}_{level}"
        return self._step(name, [command], reads, [out / "diagnosis.json"], seconds=seconds)

    def _render(
        self, folder: str, counts: tuple[int, ...], level: str, parts: str
    ) -> tuple[str, ...]:
        kinds = zip(("--unlabelled", "--train", "--valid", "--test"), counts, strict=True)
        return (
            *("mixit-mss", "render-songs", "--out", str(self.at.root / "songs" / folder)),
            *(word for kind, count in kinds for word in (kind, str(count))),
            *("--seconds", str(self.cut.seconds), "--seed", str(self.seed)),
            *("--correlation", level, "--parts", parts, "--nj", str(self.nj)),
        )

    def _segment(
        self, kind: str, folder: str, inside: str, more: tuple[str, ...]
    ) -> tuple[str, ...]:
        songs = self.at.root / "songs" / folder / inside
        return (
            *("mixit-mss", "segment", "--kind", kind, "--input", str(songs), *more),
            *("--out", str(self.at.root / "data" / folder)),
            *("--sample-rate", "16000", "--store", "wav", "--nj", str(self.nj)),
        )

    def _join(self, kind: str, folder: str) -> tuple[str, ...]:
        data, out = self.at.root / "data" / folder, self.at.root / "manifests" / folder
        return ("mixit-mss", "make-manifests", f"--{kind}", str(data), "--out", str(out))

    def _take(self, manifest: Path, songs: int, out: Path) -> tuple[str, ...]:
        options = ("--manifest", str(manifest), "--songs", str(songs), "--out", str(out))
        return ("python", "local/songs.py", *options)

    def _config(self, name: str) -> Path:
        return RECIPE / "conf" / self.cut.name / f"{name}.yaml"

    def _step(
        self,
        name: str,
        commands: Sequence[Sequence[str]],
        reads: Sequence[Path],
        writes: Sequence[Path],
        spent: tuple[Path, ...] = (),
        seconds: float = 0.0,
    ) -> Step:
        plain = tuple(map(tuple, commands))
        named = f"seed{self.seed}/{name}"
        return Step(named, plain, tuple(reads), tuple(writes), spent, seconds)


def model_file(model: str) -> Path:
    """The config of a network size."""
    return RECIPE / "conf" / f"model_{model}.yaml"


def shown(config: Path) -> str:
    """Path of a config as written in a command."""
    return str(config.relative_to(RECIPE))


def tables(manifest: Path) -> list[Path]:
    """The files of a manifest."""
    return [manifest.with_name(f"{manifest.name}.{part}.csv") for part in ("tracks", "segments")]


def trained_steps(config: Path, kind: type) -> tuple[int, int]:
    """Number of optimiser steps, and of validations."""
    run = load_config(config, kind).run
    return run.epochs * run.steps_per_epoch, run.epochs // run.validate_every_epochs


@cache
def songs_to_render(training: int) -> int:
    """Number of unlabelled songs to render for so many training songs, with validation songs."""
    from mixit_mss.preparation.corpus import draw_validation

    count = training
    while count - len(draw_validation(song_names(count), VALID_FRACTION)) < training:
        count += 1
    return count + SPARE_SONGS


def song_names(count: int) -> list[str]:
    """Names of the first unlabelled songs."""
    return [f"unlabelled_{number:04d}" for number in range(count)]
