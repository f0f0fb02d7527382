"""What the study trains and measures, as data: each run once, however many tables share it.

A run is a pre-training or a fine-tuning; its name is unique within a cut and seed.  Tables, curves
and the two axes are lists of runs.  A cut is a size of the study: which runs, on how many songs,
with the configs in ``conf/<cut>/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEVELS = ("independent", "tempo", "band", "locked", "unison", "doubled")
PARTS = ("tables", "correlation")
COMMON = "band"  # the level of the songs with stems on which all networks are compared
MIXED = "mixed"


@dataclass(frozen=True)
class Pretraining:
    """MixIT on ``songs`` unlabelled songs of one correlation ``level``, with ``parts`` at once.

    ``long`` has three times the steps.
    """

    model: str
    level: str
    parts: str
    songs: int
    long: bool = False

    @property
    def corpus(self) -> str:
        """Name of the corpus from which its songs are taken."""
        return f"{self.level}_{self.parts}"

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"pretrain_{self.model}_{self.heard}"

    @property
    def heard(self) -> str:
        """Its training data, as part of a name."""
        return f"{self.corpus}_{self.songs}" + ("_long" if self.long else "")


@dataclass(frozen=True)
class Finetuning:
    """Supervised training on ``songs`` songs with stems, after pre-training or (None) from scratch.

    ``long`` has as many steps as a regular pre-training and fine-tuning together.
    """

    model: str
    start: Pretraining | None
    songs: int
    trainable: str = "all"
    long: bool = False

    @property
    def name(self) -> str:
        """Of its folder."""
        start = "scratch" if self.start is None else self.start.heard
        name = f"finetune_{self.model}_{start}_{self.songs}songs_{self.trainable}"
        return name + ("_long" if self.long else "")


Run = Pretraining | Finetuning


@dataclass(frozen=True)
class Cut:
    """One size of the study.

    Attributes:
        name: name of the cut, and of its folder of configs.
        seeds: default seeds; each has its own songs, weights and random draws.
        models: network sizes of table 1; everything else uses the first.
        frozen: sizes of table 2, whose separator is not trained.
        long: sizes also trained on stems for longer, from scratch and after MixIT.
        pretrained_long: sizes also pre-trained for longer.
        songs: unlabelled songs of tables 1 and 2.
        amounts: unlabelled songs of table 3.
        axis_songs: unlabelled songs of the axes of correlation and density.
        levels: levels of correlation, ascending.
        axis_parts: parts at once on the axis of correlation.
        densities: parts at once on the axis of density, at the level ``band``.
        labelled: numbers of songs with stems on the learning curve, ascending.
        train_songs: number of songs with stems to train on everywhere else.
        valid_songs: number of songs for output selection and the choice of checkpoints.
        test_songs: number of songs used only for scores.
        seconds: length of each song.
    """

    name: str
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    frozen: tuple[str, ...]
    long: tuple[str, ...]
    pretrained_long: tuple[str, ...]
    songs: int
    amounts: tuple[int, ...]
    axis_songs: int
    levels: tuple[str, ...]
    axis_parts: str
    densities: tuple[str, ...]
    labelled: tuple[int, ...]
    train_songs: int = 6
    valid_songs: int = 3
    test_songs: int = 8
    seconds: int = 22

    def pretraining(self, model: str = "", **differing) -> Pretraining:
        """The pre-training of table 1, or one that differs from it."""
        usual = {"level": COMMON, "parts": MIXED, "songs": self.songs}
        return Pretraining(model or self.models[0], **{**usual, **differing})

    def scratch(self, model: str = "", **differing) -> Finetuning:
        """Training from scratch as in table 1, or one that differs from it."""
        return Finetuning(model or self.models[0], None, **{"songs": self.train_songs, **differing})

    def tuned(self, start: Pretraining, **differing) -> Finetuning:
        """The fine-tuning of a pre-training."""
        return Finetuning(start.model, start, **{"songs": self.train_songs, **differing})

    def at_level(self, level: str) -> Pretraining:
        """The pre-training of a point on the correlation axis."""
        return self.pretraining(level=level, parts=self.axis_parts, songs=self.axis_songs)

    def at_density(self, parts: str) -> Pretraining:
        """The pre-training of a point on the density axis."""
        return self.pretraining(parts=parts, songs=self.axis_songs)

    def diagnosed(self) -> list[tuple[Pretraining, str]]:
        """Pre-trainings to diagnose, each with a level of test songs."""
        pairs = [(self.at_level(level), at) for level in self.levels for at in (COMMON, level)]
        pairs += [(self.at_density(parts), COMMON) for parts in self.densities]
        return list(dict.fromkeys(pairs))

    def by_steps(self, model: str) -> list[Pretraining]:
        """The pre-trainings of a network size, by number of steps."""
        return [self.pretraining(model, long=long) for long in (False, True)]

    def voted(self) -> list[Pretraining]:
        """Pre-trainings whose selected outputs are scored without fine-tuning."""
        longer = [self.pretraining(model, long=True) for model in self.pretrained_long]
        return [*(self.pretraining(model) for model in self.models), *longer]

    def runs(self, parts: Sequence[str] = PARTS) -> list[Run]:
        """All runs of these parts of the study, each once, with pre-trainings before their use."""
        tables = [
            *self._table_1(),
            *self._table_2(),
            *self._table_3(),
            *self._steps(),
            *self._labelled(),
        ]
        axes = [self.scratch(), *self._axes()]
        wanted = [
            *(tables if "tables" in parts else ()),
            *(axes if "correlation" in parts else ()),
        ]
        before = [run for tuned in wanted for run in (tuned.start, tuned) if run is not None]
        return list(dict.fromkeys(before))

    def corpora(self, runs: Iterable[Run]) -> dict[str, list[int]]:
        """Corpus -> numbers of its songs needed by the pre-trainings among ``runs``."""
        wanted: dict[str, list[int]] = {}
        for run in runs:
            if isinstance(run, Pretraining):
                wanted.setdefault(run.corpus, []).append(run.songs)
        return {corpus: sorted(set(amounts)) for corpus, amounts in wanted.items()}

    def _table_1(self) -> Iterable[Finetuning]:
        for model in self.models:
            yield self.scratch(model)
            yield self.tuned(self.pretraining(model))
            if model in self.long:
                yield self.scratch(model, long=True)
                yield self.tuned(self.pretraining(model), long=True)

    def _table_2(self) -> Iterable[Finetuning]:
        for model in self.frozen:
            yield self.scratch(model, trainable="encoder_decoder")
            yield self.tuned(self.pretraining(model), trainable="encoder_decoder")

    def _table_3(self) -> Iterable[Finetuning]:
        for amount in self.amounts:
            yield self.tuned(self.pretraining(songs=amount))

    def _steps(self) -> Iterable[Finetuning]:
        for model in self.pretrained_long:
            for trainable in ("all", "encoder_decoder"):
                yield self.scratch(model, trainable=trainable)
                for start in self.by_steps(model):
                    yield self.tuned(start, trainable=trainable)

    def _labelled(self) -> Iterable[Finetuning]:
        for songs in self.labelled:
            yield self.scratch(songs=songs)
            yield self.tuned(self.pretraining(), songs=songs)

    def _axes(self) -> Iterable[Finetuning]:
        for level in self.levels:
            yield self.tuned(self.at_level(level))
        for parts in self.densities:
            yield self.tuned(self.at_density(parts))


CUTS = {
    cut.name: cut
    for cut in (
        Cut(
            name="full",
            seeds=(1, 2, 3),
            models=("tiny", "little"),
            frozen=("tiny", "little"),
            long=("tiny", "little"),
            pretrained_long=("tiny",),
            songs=200,
            amounts=(25, 50, 100, 200, 400),
            axis_songs=100,
            levels=LEVELS,
            axis_parts="2",
            densities=("1", "2", "3", "4", MIXED),
            labelled=(1, 2, 4, 6, 12),
        ),
        Cut(
            name="quick",
            seeds=(1,),
            models=("tiny", "little"),
            frozen=("tiny",),
            long=("tiny",),
            pretrained_long=("tiny",),
            songs=64,
            amounts=(16, 64),
            axis_songs=64,
            levels=("independent", "band", "unison"),
            axis_parts="2",
            densities=("1", "2", "4", MIXED),
            labelled=(1, 6),
        ),
        Cut(
            name="smoke",
            seeds=(1,),
            models=("mini",),
            frozen=("mini",),
            long=("mini",),
            pretrained_long=("mini",),
            songs=2,
            amounts=(2,),
            axis_songs=2,
            levels=("band", "unison"),
            axis_parts="2",
            densities=("2",),
            labelled=(1,),
            train_songs=1,
            valid_songs=1,
            test_songs=1,
            seconds=13,
        ),
    )
}
