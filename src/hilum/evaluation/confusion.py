"""Rates of right and wrong calls: per label, averaged over labels, and over exclusive classes.

Where a rate's denominator is empty (no positives for a sensitivity, nothing called for a precision) it is NaN
and
averages leave it out: the averages of scikit-learn with `zero_division=nan`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Bools, Floats, Ints, as_clusters, as_pair
from hilum.evaluation.estimate import Estimate, proportion

RATES = ("sensitivity", "specificity", "precision", "negative_predictive_value", "accuracy")


@dataclass(frozen=True)
class Counts:
    """True and false positives and negatives; arrays of one shape: (labels,), or (replicates, labels)."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats

    @property
    def sensitivity(self) -> Floats:
        """tp / (tp + fn), also called recall."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Floats:
        """tn / (tn + fp)."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> Floats:
        """tp / (tp + fp), also called positive predictive value; it moves with the prevalence."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def negative_predictive_value(self) -> Floats:
        """tn / (tn + fn)."""
        return _ratio(self.tn, self.tn + self.fn)

    @property
    def accuracy(self) -> Floats:
        """(tp + tn) / n."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def balanced_accuracy(self) -> Floats:
        """Mean of sensitivity and specificity."""
        return (self.sensitivity + self.specificity) / 2

    @property
    def support(self) -> Floats:
        """Positives."""
        return self.tp + self.fn

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and sensitivity."""
        return self.fbeta(1)

    @property
    def f2(self) -> Floats:
        """F-beta that weighs sensitivity twice."""
        return self.fbeta(2)

    def fbeta(self, beta: float) -> Floats:
        """(1 + b^2) tp / ((1 + b^2) tp + b^2 fn + fp) (van Rijsbergen 1979)."""
        hit = (1 + beta**2) * self.tp
        return _ratio(hit, hit + beta**2 * self.fn + self.fp)

    def pooled(self) -> Counts:
        """Counts over all labels together; the rates of these are micro averages."""
        return Counts(*(np.sum(c, axis=-1, keepdims=True) for c in (self.tp, self.fp, self.fn, self.tn)))


def call(scores: ArrayLike, thresholds: ArrayLike) -> Bools:
    """Scores (n, labels) >= thresholds (labels,): (n, labels). Nothing reaches a threshold of NaN."""
    values = np.asarray(scores, np.float64)
    return (values if values.ndim == 2 else values[:, None]) >= np.atleast_1d(
        np.asarray(thresholds, np.float64)
    )


def count(truth: ArrayLike, called: ArrayLike) -> Counts:
    """Counts of each label, (labels,).

    Truth (n, labels) in {0, 1, NaN}, called (n, labels) booleans; unknown labels are not counted.
    """
    return Counts(*cells(truth, called).sum(1))


def cells(truth: ArrayLike, called: ArrayLike) -> Floats:
    """Which of tp, fp, fn, tn each call is: (4, n, labels) of 0 and 1, all 0 where the label is unknown."""
    labels, found = as_pair(truth, np.asarray(called, np.float64))
    each = [(labels == actual) & (found == seen) for actual, seen in ((1, 1), (0, 1), (1, 0), (0, 0))]
    return np.stack(each).astype(np.float64)


def weighted_count(cells: Floats, weights: Floats) -> Counts:
    """Counts under many weightings of the films: `cells` and (replicates, n) to (replicates, labels)."""
    return Counts(*(weights @ cell for cell in cells))


def macro(values: Floats, weights: Floats | None = None) -> Floats:
    """Mean over the last axis (labels), NaN left out; weighted where weights (say `support`) are given."""
    weight = np.where(np.isnan(values), 0.0, np.ones_like(values) if weights is None else weights)
    return _ratio((np.nan_to_num(values) * weight).sum(-1), weight.sum(-1))


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Floats:
    """Films of each true class (row) called each class (column): (classes, classes).

    Truth and predicted (n,) class numbers; a truth of -1 is unknown and left out.
    """
    cell = _cells(truth, predicted, classes)
    return np.bincount(cell[cell >= 0], minlength=classes**2).reshape(classes, classes).astype(np.float64)


def weighted_confusion_matrix(
    truth: ArrayLike, predicted: ArrayLike, classes: int, weights: Floats
) -> Floats:
    """The confusion matrix under many weightings (replicates, n) at once: (replicates, classes, classes)."""
    indicator = (_cells(truth, predicted, classes)[:, None] == np.arange(classes**2)).astype(np.float64)
    return (weights @ indicator).reshape(-1, classes, classes)


def one_vs_rest(matrix: Floats) -> Counts:
    """Counts of each class against all others, from a confusion matrix (..., classes, classes)."""
    tp = np.diagonal(matrix, axis1=-2, axis2=-1)
    called, actual = matrix.sum(-2), matrix.sum(-1)
    total = matrix.sum((-2, -1))[..., None]
    return Counts(tp, called - tp, actual - tp, total - called - actual + tp)


def rate_estimates(
    truth: ArrayLike, called: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> tuple[dict[str, Estimate], ...]:
    """Sensitivity, specificity, precision, NPV and accuracy of each label with Wilson intervals (by patient).

    Truth and called as in `count`; groups (n,) patients. One dict a label.
    """
    labels, found = as_pair(truth, np.asarray(called, np.float64))
    cluster, _ = as_clusters(groups, len(labels))
    return tuple(_rates(t, c == 1, cluster, confidence) for t, c in zip(labels.T, found.T, strict=True))


def _rates(truth: Floats, called: Bools, cluster: Ints, confidence: float) -> dict[str, Estimate]:
    positives = int((truth == 1).sum())
    right = called == (truth == 1)
    among = {
        "sensitivity": truth == 1,
        "specificity": truth == 0,
        "precision": called & ~np.isnan(truth),
        "negative_predictive_value": ~called & ~np.isnan(truth),
        "accuracy": ~np.isnan(truth),
    }
    return {
        name: proportion(right[films], cluster[films], positives=positives, confidence=confidence)
        for name, films in among.items()
    }


def _cells(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Ints:
    """The cell of the flattened confusion matrix that each film falls in, -1 for unknown."""
    actual, found = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if actual.shape != found.shape or actual.ndim != 1:
        raise EvaluationError(f"classes of shape {actual.shape} and {found.shape} cannot be compared")
    if actual.max(initial=0) >= classes or found.max(initial=0) >= classes or found.min(initial=0) < 0:
        raise EvaluationError(f"a class number lies outside 0 to {classes - 1}")
    return np.where(actual >= 0, actual * classes + found, -1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
