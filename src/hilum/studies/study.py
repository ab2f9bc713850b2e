"""A Study: what a paper's system is, arm by arm, and what the paper printed of it; read from `study.yaml`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hilum.boxes import Method
from hilum.errors import RecipeError
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_data import SourceData
from hilum.learning.recipe_files import make_recipe

HOME = Path(__file__).parent


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Published(Section):
    """What the paper prints of an arm; None or empty where it prints nothing.

    `auc`: by label. `fold_accuracy` and `accuracy` in per cent. `parameters`: by name. `seconds`: an epoch.
    `p_value`: of the two-sample t-test against the reference arm, over folds. `rates`: sensitivity and the like of the
    study's `positive` class, in per cent. `counts`: its true negatives, false positives, false negatives, true positives.
    `weighted_f1`: of findings, each weighted by how many films have it.
    """

    auc: dict[str, float] = Field(default_factory=dict)
    macro_auc: float | None = None
    fold_accuracy: tuple[float, ...] = ()
    accuracy: float | None = None
    parameters: dict[str, int] = Field(default_factory=dict)
    seconds: float | None = None
    p_value: float | None = None
    rates: dict[str, float] = Field(default_factory=dict)
    counts: tuple[int, int, int, int] | None = None
    weighted_f1: float | None = None


class Preliminary(Section):
    """A training that goes before an arm's own, fold by fold: the arm's encoder begins with its weights.

    `once`: before all folds together, where none of its films is tested in any of them (an official split), and before the
    arms of every variant that asks for the same.
    """

    title: str
    recipe: dict[str, Any]
    once: bool = False


class Arm(Section):
    """One system among those compared: `changes` to the recipe by dotted path.

    `after`: the preliminary it begins with, or one an entry of `model.pretrained`, where a preliminary's name stands for its
    weights and every other entry (null, `imagenet`, a .safetensors path) for itself.
    `start`: how it begins, in the figure of what a start is worth by the share of labels.
    """

    title: str
    after: str | tuple[str | None, ...] | None = None
    start: str | None = None
    changes: dict[str, Any] = Field(default_factory=dict)
    published: Published = Published()

    @property
    def preliminaries(self) -> tuple[str, ...]:
        """The names in `after`."""
        given = self.after if isinstance(self.after, tuple) else (self.after,)
        return tuple(name for name in given if name is not None and not _is_weights(name))


class Fusion(Section):
    """How the boxes of all arms become one; see `hilum.boxes`."""

    method: Method = "wbf"
    iou: float = Field(0.5, ge=0, lt=1)


class Variant(Section):
    """One experiment of the study: arms that share everything but what they change.

    `reference`: the arm that the others are held against. `folds`: which are run unless asked otherwise.
    `changes`: to the study's recipe, before an arm's own. `published_only`: systems that the paper sets beside its own and
    that are not run here. `films`: how many the paper has, where they are not the study's. `preliminaries`: by name.
    `beside`: sets by name on which arms that segment are tested too, but for the one that they learnt from.
    `repeat`: what a repetition changes: the fold and the seed, or on one split the seed alone, by which the patients of
    `data.labelled` are drawn too.
    `fusion`: of arms that detect. `outlines`: a segmenter whose boxes around the lungs are set beside theirs.
    """

    about: str
    reference: str
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    changes: dict[str, Any] = Field(default_factory=dict)
    arms: dict[str, Arm] = Field(min_length=1)
    published_only: dict[str, Arm] = Field(default_factory=dict)
    films: int | None = None
    preliminaries: dict[str, Preliminary] = Field(default_factory=dict)
    beside: dict[str, tuple[SourceData, ...]] = Field(default_factory=dict)
    repeat: Literal["folds", "seeds"] = "folds"
    fusion: Fusion = Fusion()
    outlines: str | None = None

    @model_validator(mode="after")
    def _has_what_it_names(self) -> Variant:
        if self.reference not in self.arms:
            raise ValueError(f"the reference '{self.reference}' is no arm")
        for name, arm in self.arms.items():
            for before in arm.preliminaries:
                if before not in self.preliminaries:
                    raise ValueError(f"the arm '{name}' comes after '{before}', which is no preliminary")
        return self


class Uncertainty(Section):
    """What the paper asks of Monte Carlo dropout: `passes`, the deviation above which it flags, its one example."""

    passes: int = Field(ge=2)
    flag: float = Field(gt=0)
    example: str
    example_passes: int = Field(ge=2)
    published_mean: float
    published_deviation: float


class Looks(Section):
    """What is asked of where the models look: of at most `films` tested films, drawn by a hash of their patient."""

    films: int = Field(ge=2)
    segmenter: str = "lungs"


class Study(Section):
    """A paper's system.

    Attributes
    ----------
    recipe: what all arms share. It splits by `kfold`, so that every film is held out once.
    test: a condition in SQL on the films that no fold holds (a published test list), scored once per arm by the mean of
        the arm's fold models; None: the held-out parts of the folds are the test.
    metric: what arms are compared by.
    films: how many the paper has, in training and test together.
    apart: a class that can be told by its source as well as by the disease; figures are given without it too.
    positive: the class whose sensitivity comes first; its rates are a table.
    looks: where the models look, and what covering the lungs costs them, is measured too.
    """

    name: str
    title: str
    paper: str
    metric: Literal["accuracy", "macro_auc", "mean_ap"]
    recipe: dict[str, Any]
    test: str | None = None
    films: int | None = None
    apart: str | None = None
    positive: str | None = None
    looks: Looks | None = None
    uncertainty: Uncertainty | None = None
    variants: dict[str, Variant] = Field(min_length=1)

    @model_validator(mode="after")
    def _looks_at_films_of_its_own(self) -> Study:
        if self.looks and self.test is None:
            raise ValueError("`looks` wants films that no run has seen: a published list, `test`")
        return self

    @model_validator(mode="after")
    def _looks_for_a_class(self) -> Study:
        if (self.looks or self.positive) and not (self.positive and self.metric == "accuracy"):
            raise ValueError(
                "`looks` and `positive` go with exclusive classes, of which `positive` names one"
            )
        return self

    def variant(self, name: str) -> Variant:
        """RecipeError where the study has none of that name."""
        if name not in self.variants:
            raise RecipeError(
                f"{self.name} has no variant {name!r}", mend=f"Choose one of: {', '.join(self.variants)}"
            )
        return self.variants[name]

    def arm_recipe(self, variant: str, arm: str, fold: int, changes: tuple[str, ...] = ()) -> Recipe:
        """The recipe of one arm on one fold; `changes` (key=value) are the user's and come last."""
        chosen = self.variant(variant)
        if arm not in chosen.arms:
            raise RecipeError(
                f"{self.name}, variant {variant}, has no arm {arm!r}",
                mend=f"Choose among: {', '.join(chosen.arms)}",
            )
        given = chosen.changes | chosen.arms[arm].changes
        fixed = [f"{key}={json.dumps(value)}" for key, value in given.items()]
        seed = int(self.recipe.get("seed", 0)) + fold
        own = [f"name={self.name}-{arm}", f"seed={seed}"]
        own += [f"data.split.fold={fold}"] if chosen.repeat == "folds" else []
        recipe = make_recipe(self.recipe, [*fixed, *own, *changes], self.place)
        if recipe.data.split.kind == "kfold" or chosen.repeat == "seeds":
            return recipe
        # Other splits have no folds: each repetition draws its own, unless the user says which.
        named = any(change.startswith("data.split.seed=") for change in changes)
        drawn = [] if named else [f"data.split.seed={seed}"]
        return make_recipe(self.recipe, [*fixed, *own, *changes, *drawn], self.place)

    def preliminary_recipe(self, variant: str, name: str, fold: int, changes: tuple[str, ...] = ()) -> Recipe:
        """The recipe of a preliminary before the arms of one fold.

        Each fold has its own seed; of a split in folds the fold of that number, so that it learns from no film that the arms
        of this fold are tested on, and of another split its own draw.
        """
        own = self.variant(variant).preliminaries[name].recipe
        seed = int(own.get("seed", 0)) + fold
        folded = own.get("data", {}).get("split", {}).get("kind") == "kfold"
        part = f"data.split.fold={fold}" if folded else f"data.split.seed={seed}"
        fixed = [f"name={self.name}-{name}", f"seed={seed}", part]
        return make_recipe(own, [*fixed, *changes], self.place)

    def films_printed(self, variant: str) -> int | None:
        """How many films the paper has for this experiment."""
        return self.variant(variant).films or self.films

    @property
    def folder(self) -> Path:
        return HOME / self.name.replace("-", "_")

    @property
    def place(self) -> Path:
        return self.folder / "study.yaml"


def _is_weights(start: str) -> bool:
    return start == "imagenet" or start.endswith(".safetensors")


def names() -> list[str]:
    """All studies, sorted."""
    return sorted(path.parent.name.replace("_", "-") for path in HOME.glob("*/study.yaml"))


@cache
def load(name: str) -> Study:
    """The study `name`. Raises RecipeError where there is none."""
    if name not in names():
        raise RecipeError(f"there is no study {name!r}", mend=f"Choose one of: {', '.join(names())}")
    path = HOME / name.replace("-", "_") / "study.yaml"
    try:
        return Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RecipeError(f"the study is not valid: {error}", path=path) from error
