"""Weights against imbalance, computed from training films and from nothing else: of a loss, and of a sampler."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.errors import RecipeError
from hilum.learning.material import Part
from hilum.learning.recipe import Phase
from hilum.learning.recipe_losses import WEIGHTS, AnyLoss, Joint

logger = logging.getLogger(__name__)


def resolved(loss: AnyLoss, train: Part, outputs: int) -> AnyLoss:
    """The loss with its `balanced` weights as numbers, one an output."""
    if isinstance(loss, Joint):
        return loss.model_copy(update={"labels": resolved(loss.labels, train, outputs)})
    option = WEIGHTS.get(loss.kind)
    if option is None or getattr(loss, option) != "balanced":
        return loss
    truth = known_truth(train)
    found = class_weights(truth, outputs) if truth.ndim == 1 else positive_weights(truth)
    logger.info("loss.%s: %s", option, ", ".join(f"{value:.3g}" for value in found))
    return loss.model_copy(update={option: tuple(float(value) for value in found)})


def class_weights(classes: NDArray[np.int64], number: int) -> NDArray[np.float64]:
    """(classes,): films / (classes x films of the class), as scikit-learn's `balanced`; unknown (-1) left out.

    A class without films weighs 1: it has none to weigh.
    """
    counts = np.bincount(classes[classes >= 0], minlength=number)
    return np.where(counts > 0, counts.sum() / (number * np.maximum(counts, 1)), 1.0)


def positive_weights(labels: NDArray[Any]) -> NDArray[np.float64]:
    """(labels,): negatives / positives among the known of (films, labels), so that both sides weigh the same in all.

    1 where a label has no positive or no negative.
    """
    positive, negative = (labels == 1).sum(0), (labels == 0).sum(0)
    both = (positive > 0) & (negative > 0)
    return np.where(both, negative / np.maximum(positive, 1), 1.0)


def chances(part: Part, phase: Phase) -> NDArray[np.float64] | None:
    """Each film's chance to be drawn in a phase, (films,), summing to 1; None where each is taken once.

    RecipeError where the sampler has nothing to go by.
    """
    if phase.sampler == "none":
        return None
    if phase.sampler == "balanced":
        found = film_weights(np.asarray(part.truth))
        if found.any():
            return found
        raise RecipeError(
            f"phase '{phase.name}': no film's class is known, so that `sampler` has nothing to go by"
        )
    table = part.manifest.table
    column = (
        table["repeats"].cast(pl.Float64, strict=False) if "repeats" in table.columns else pl.Series([None])
    )
    repeats = column.fill_null(float("nan")).to_numpy()
    if not (np.isfinite(repeats).all() and (repeats >= 0).all() and repeats.any()):
        raise RecipeError(
            f"phase '{phase.name}': `sampler: repeats` wants a column `repeats` of the manifest with a number, 0 or"
            " more, for every film",
            mend="Take another sampler, or a source that gives it, such as qata",
        )
    return np.asarray(repeats / repeats.sum(), np.float64)


def film_weights(truth: NDArray[Any]) -> NDArray[np.float64]:
    """Each film's chance to be drawn, (films,), summing to 1, so that rare ones come as often as common ones.

    Classes (films,): each class the same chance in all; unknown (-1) none. Labels (films, labels): a film counts as one
    of its rarest positive finding, or of those without any, and each of these the same chance in all.
    """
    kind = truth if truth.ndim == 1 else _rarest(truth)
    names, which, counts = np.unique(kind[kind >= 0], return_inverse=True, return_counts=True)
    weights = np.zeros(len(kind))
    weights[kind >= 0] = (1 / counts)[which] / len(names)
    return weights


def known_truth(part: Part) -> NDArray[Any]:
    """What is known of a part's films: classes (n,), or labels and auxiliary labels (n, outputs) of 1, 0 and NaN.

    Targets mix in a teacher's probabilities; labels do not.
    """
    truth, targets = np.asarray(part.truth), np.asarray(part.targets)
    return truth if truth.ndim == 1 else np.column_stack([truth, targets[:, truth.shape[1] :]])


def _rarest(labels: NDArray[Any]) -> NDArray[np.int64]:
    """The column of each film's positive label that the fewest films have; one past the last where it has none."""
    counts = (labels == 1).sum(0)
    rank = np.where(labels == 1, counts, np.inf)
    return np.where((labels == 1).any(1), rank.argmin(1), labels.shape[1]).astype(np.int64)
