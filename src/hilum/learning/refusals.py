"""Films that cannot teach or choose what a recipe asks for: refused before training begins, or told."""

from __future__ import annotations

import logging

import numpy as np

from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError
from hilum.learning.recipe import Recipe
from hilum.learning.targets import Targets, truth_of

LEARNT = ("train", "validation")

logger = logging.getLogger(__name__)


def refuse_empty(films: Manifest) -> None:
    lacking = [side for side in LEARNT if not len(films.filter(split=side))]
    if lacking:
        raise RecipeError(
            f"data.split and data.learn_from leave no film that can be read for {' and '.join(lacking)}",
            mend="Change one of the two",
        )


def refuse_unlearnable(recipe: Recipe, truth: Targets | None) -> None:
    """A class or a finding of which training knows nothing; one of which it knows one side only is told."""
    known, names = np.asarray(truth), recipe.data.labels
    if recipe.task == "multiclass":
        lacking = [name for number, name in enumerate(names) if not (known == number).any()]
        fault = "no training film is of class"
    else:
        lacking = [name for name, column in zip(names, known.T, strict=True) if np.isnan(column).all()]
        fault = "every training film's label is unknown for"
    if lacking:
        part = f" in fold {recipe.data.split.fold}" if recipe.data.split.kind == "kfold" else ""
        raise RecipeError(
            f"data.labels: {fault} {', '.join(lacking)}{part}",
            mend="Take it out of data.labels, or change data.split",
        )
    if recipe.task != "multiclass":
        flat = [n for n, c in zip(names, known.T, strict=True) if not ((c == 1).any() and (c == 0).any())]
        if flat:
            logger.warning(
                "training has only films with, or only films without: %s; nothing can be learnt of it",
                ", ".join(flat),
            )


def refuse_boxless(recipe: Recipe, train: Targets, validation: Targets) -> None:
    """A class of which training has no box, or validation without any box, by which no epoch could be chosen."""
    held = np.asarray(train, np.float64)[..., 0]
    lacking = [name for number, name in enumerate(recipe.data.labels) if not (held == number).any()]
    if lacking:
        raise RecipeError(
            f"data.labels: no training film has a box of {', '.join(lacking)}",
            mend="Take it out of data.labels, or change data.split",
        )
    if np.isnan(np.asarray(validation, np.float64)[..., 0]).all():
        raise RecipeError(
            "no validation film has a box, so that no epoch can be chosen",
            mend="Give data.split.validation a greater share, or another seed",
        )


def refuse_one_sided(recipe: Recipe, truth: Targets | None) -> None:
    """Epochs are chosen by AUC, which needs a film with and a film without."""
    known = np.asarray(truth)
    if recipe.task == "multiclass":
        told_apart = len(np.unique(known[known >= 0])) > 1
    else:
        told_apart = bool(((known == 1).any(0) & (known == 0).any(0)).any())
    if not told_apart:
        raise RecipeError(
            "no label has both a film with it and one without it in validation, so that no epoch can be chosen",
            mend="Give data.split.validation a greater share, or another seed",
        )


def refuse_unprobed(side: str, truth: Targets | None) -> None:
    """A probe of embeddings needs a label with films with and films without it, on both sides."""
    known = np.asarray(truth)
    if not ((known == 1).any(0) & (known == 0).any(0)).any():
        raise RecipeError(
            f"data.labels: no label has both a film with it and one without it in {side}, so that embeddings cannot be"
            " probed for it",
            mend="Give data.split.validation another share or seed, or leave data.labels out: then the pretexts' own"
            " loss on validation films chooses the epoch",
        )


def tell_absent(recipe: Recipe, part: str, films: Manifest) -> None:
    """Warn of a class without a film, or a finding without a film with it or one without it, in a part that there is.

    Of the test part this reads the table alone.
    """
    names = recipe.data.labels
    if not len(films):
        return
    if recipe.task == "multiclass":
        there = set(films.table["class"])
        lacking = [name for name in names if name not in there]
        fault = "no film of class"
    else:
        columns = np.asarray(truth_of(films, recipe.task, names)).T
        lacking = [n for n, c in zip(names, columns, strict=True) if not ((c == 1).any() and (c == 0).any())]
        fault = "only films with, only films without, or only films that do not know"
    if lacking:
        place = f"{part} of fold {recipe.data.split.fold}" if recipe.data.split.kind == "kfold" else part
        logger.warning("%s has %s: %s; it cannot be measured there", place, fault, ", ".join(lacking))
