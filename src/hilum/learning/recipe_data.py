"""The part of a recipe that names films: which, whose labels, how they are parted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

LEAKY = "leaky_holdout"
"""The one kind of split that leaks, on purpose."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceData(Section):
    """One dataset: a registered source, the folder it lies in (under `data.root`), and the source's own options.

    `where`: a condition in SQL on its films. `labels`: the only labels to take from it; None: all. `part`: put all its
    films there and leave them out of the split.
    """

    source: str
    root: str = "."
    options: dict[str, Any] = Field(default_factory=dict)
    where: str | None = None
    labels: tuple[str, ...] | None = None
    part: Literal["train"] | None = None


class SplitData(Section):
    """How films are parted, always by patient but for one kind that says so.

    `official`: the publisher's parts, with `validation` (a share) taken out of the training part by patient.
    `holdout`: shares `validation` and `test` of all patients.
    `kfold`: all patients in `folds` parts; part number `fold` (from 0) is this run's test part, and `validation` is a
    share of the others. The runs of all folds share one pixel store. To fold the publisher's training part alone, say
    `keep: split = 'train'`.
    `leaky_holdout`: as `holdout`, but by film, so that films of one patient lie on both sides. It exists to show what
    leakage does to figures, and for nothing else: the log, the bundle's card and its evaluation all say so.
    """

    kind: Literal["official", "holdout", "kfold", "leaky_holdout"] = "official"
    validation: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.2, ge=0, lt=1)
    folds: int = Field(default=5, ge=2)
    fold: int = Field(default=0, ge=0)
    seed: int = 0
    without_patient: Literal["refuse", "own"] = "refuse"

    @model_validator(mode="after")
    def _some_left(self) -> SplitData:
        if self.kind in ("holdout", LEAKY) and self.validation + self.test >= 1:
            raise ValueError("`validation` and `test` together leave no share for training")
        if self.fold >= self.folds:
            raise ValueError(f"`fold` is {self.fold}: it counts from 0 to {self.folds - 1}, `folds` less one")
        if self.kind == "kfold" and not self.validation:
            raise ValueError(
                "`validation` is 0: a fold's epoch is chosen on films that are not its test part"
            )
        return self

    @property
    def leaky(self) -> bool:
        """Films of one patient may lie on both sides."""
        return self.kind == LEAKY

    @property
    def words(self) -> str:
        """For the card."""
        if self.leaky:
            return f"{self.kind}, by film: LEAKY, films of one patient lie on both sides"
        if self.kind == "kfold":
            return f"kfold, the {_ordinal(self.fold + 1)} of {self.folds} folds, by patient"
        return f"{self.kind}, by patient"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


class Data(Section):
    """Which films, which labels, and where the prepared pixels are kept.

    `manifest`: a saved manifest, or `sources`: datasets joined in order. `labels`: the findings to learn (multilabel) or
    the classes (multiclass), in the order of the model's outputs; empty for segmentation of `mask`; findings that an
    encoder's embeddings are probed for, which it does not learn (pretrain), or none.
    `keep`: a condition in SQL on the manifest's columns that every film must meet; `learn_from`: one that films in training
    and validation must meet beside (a licence, say), while test films need not.
    `auxiliary`: what the model learns beside and the bundle does not carry: further findings, or `sex:F`, `view:AP`,
    `age:50` (50 years and over).
    `readers`: how boxes of several readers of a film become one truth, a rule of `datasets.readers.RULES` or a reader's
    name; None takes the boxes as they are.
    `fraction`: share of the patients to keep, drawn by a hash of each, so that a smaller share lies within a greater one.
    `labelled`: share of the training patients to learn from, drawn by a hash of each and of the recipe's seed, so that of
    one seed a smaller share lies within a greater one; validation and test keep all of theirs.
    `teacher`: weight, 0 to 1, of a teacher's calibrated probability in a training film's target where there is one.
    """

    root: str = "${HILUM_DATA:-../shared/data}"
    manifest: str | None = None
    sources: tuple[SourceData, ...] = ()
    labels: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    keep: str | None = None
    learn_from: str | None = None
    readers: str | None = None
    fraction: float = Field(1.0, gt=0, le=1)
    labelled: float = Field(1.0, gt=0, le=1)
    split: SplitData = SplitData()
    teacher: float = Field(0.0, ge=0, le=1)
    store: str = "stores"
    workers: int = Field(0, ge=0, description="processes that build the pixel store; 0: one a core")

    @model_validator(mode="after")
    def _one_origin(self) -> Data:
        if (self.manifest is None) == (not self.sources):
            raise ValueError("give either `manifest` or `sources`")
        outputs = [*self.labels, *self.auxiliary]
        twice = sorted({name for name in outputs if outputs.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice in `labels` and `auxiliary`")
        return self
