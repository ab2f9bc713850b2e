"""What is left of a model's performance when parts of the films are covered: each cover beside the whole film, paired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation import delong
from hilum.evaluation.arrays import label_names
from hilum.evaluation.estimate import NAN, Estimate, finite, proportion
from hilum.evaluation.mcnemar import mcnemar

MACRO = "macro AUC"
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Covered:
    """One quantity under one cover.

    Attributes
    ----------
    cover: its name. quantity: `macro AUC`, `accuracy`, or a label's name, whose AUC it then is.
    value: with its interval. difference: covered minus whole on the same films, with its interval; undefined of the whole.
    p_value: two-sided, of the difference (paired DeLong, exact McNemar, both by patient).
    chance: what a model that knows nothing reaches: 0.5, or the share of the most frequent class.
    kept: what of the way from chance to the whole film's value is left; NaN where that is not above chance.
    """

    cover: str
    quantity: str
    value: Estimate
    difference: Estimate
    p_value: float
    chance: float
    kept: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "cover": self.cover,
            "quantity": self.quantity,
            "value": self.value.as_dict(),
            "difference": self.difference.as_dict(),
            "p_value": finite(self.p_value),
            "chance": finite(self.chance),
            "kept": finite(self.kept),
        }


def covered_aucs(
    truth: ArrayLike,
    scores: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    whole: str = "none",
    confidence: float = 0.95,
) -> tuple[Covered, ...]:
    """The macro AUC and each label's AUC of the whole film and under each cover, by DeLong.

    Parameters
    ----------
    truth: (n, labels) in {0, 1, NaN}; exclusive classes as one column each.
    scores: a cover's name to (n, labels); one of them is `whole`.
    groups: (n,) patients.
    """
    if whole not in scores:
        raise EvaluationError(
            f"scores of {', '.join(scores)} hold none of '{whole}', the film without a cover"
        )
    labels = np.asarray(truth, np.float64)
    called = label_names(names, labels.shape[1])
    found = []
    for cover, values in scores.items():
        macro = delong.macro_auc(labels, values, groups, names=called, confidence=confidence)
        each = delong.auc_estimates(labels, values, groups, confidence=confidence)
        tests = [delong.compare_macro_auc(labels, values, scores[whole], groups, confidence=confidence)]
        tests += delong.compare_auc(labels, values, scores[whole], groups, confidence=confidence)
        for quantity, value, test in zip((MACRO, *called), (macro, *each), tests, strict=True):
            found.append(_covered(cover, quantity, value, test.difference, test.p_value, 0.5, cover == whole))
    return _with_kept(found, whole)


def covered_accuracy(
    classes: ArrayLike,
    probabilities: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    *,
    whole: str = "none",
    confidence: float = 0.95,
) -> tuple[Covered, ...]:
    """The accuracy of exclusive classes of the whole film and under each cover: Wilson's interval, exact McNemar.

    classes: (n,) class numbers, -1 unknown (left out). probabilities: a cover's name to (n, classes).
    """
    truth = np.asarray(classes, np.int64)
    known = truth >= 0
    patients = None if groups is None else np.asarray(groups)[known]
    right = {cover: np.asarray(p).argmax(1)[known] == truth[known] for cover, p in probabilities.items()}
    if whole not in right:
        raise EvaluationError(f"probabilities of {', '.join(right)} hold none of '{whole}'")
    chance = float(np.bincount(truth[known]).max() / known.sum()) if known.any() else NAN
    found = []
    for cover, hits in right.items():
        value = proportion(hits, patients, confidence=confidence)
        test = mcnemar(hits, right[whole], patients, confidence=confidence) if known.any() else None
        difference = test.difference if test else Estimate.undefined("no known classes", 0)
        p = test.p_exact if test else NAN
        found.append(_covered(cover, ACCURACY, value, difference, p, chance, cover == whole))
    return _with_kept(found, whole)


def _with_kept(table: Sequence[Covered], whole: str) -> tuple[Covered, ...]:
    """The same, each with how much of its quantity's whole-film value is kept."""
    base = {c.quantity: c.value.value for c in table if c.cover == whole}
    return tuple(_kept(c, base.get(c.quantity, NAN)) for c in table)


def _covered(
    cover: str, quantity: str, value: Estimate, difference: Estimate, p: float, chance: float, is_whole: bool
) -> Covered:
    if is_whole:
        difference, p = Estimate.undefined("the whole film", value.n), NAN
    return Covered(cover, quantity, value, difference, p, chance, NAN)


def _kept(covered: Covered, base: float) -> Covered:
    above = base - covered.chance
    kept = (covered.value.value - covered.chance) / above if above > 0 else NAN
    return Covered(**{**vars(covered), "kept": kept if math.isfinite(kept) else NAN})
