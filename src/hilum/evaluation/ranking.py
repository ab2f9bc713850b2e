"""How well scores rank films: AUC, average precision, and the two curves. Ties count a half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation.arrays import Floats, as_pair


@dataclass(frozen=True)
class Curve:
    """A curve over thresholds, from the strictest to the most lenient.

    ROC: x is 1 - specificity, y is sensitivity. Precision-recall: x is recall, y is precision.
    `thresholds[i]` gives point i when films with score >= it are called positive.
    """

    x: Floats
    y: Floats
    thresholds: Floats


def midranks(values: Floats) -> Floats:
    """Ranks from 1; ties share their mean rank. (n,) to (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def auc(truth: ArrayLike, scores: ArrayLike) -> Floats:
    """Area under the ROC curve of each label, (labels,): the Mann-Whitney statistic with midranks.

    NaN where a label has no positives or no negatives. Unknown labels (NaN) are left out, per label.
    For intervals see `hilum.evaluation.delong`.
    """
    labels, values = as_pair(truth, scores)
    return np.array([_auc(t, s) for t, s in zip(labels.T, values.T, strict=True)])


def average_precision(truth: ArrayLike, scores: ArrayLike) -> Floats:
    """Average precision of each label, (labels,): the sum over thresholds of precision times the recall
    gained.

    No interpolation, films of equal score enter together. NaN without positives.
    """
    labels, values = as_pair(truth, scores)
    return np.array([_average_precision(t, s) for t, s in zip(labels.T, values.T, strict=True)])


def weighted_average_precision(truth: Floats, scores: Floats, weights: Floats) -> Floats:
    """Average precision of one label under many weightings of its films at once.

    Parameters
    ----------
    truth, scores: (n,), truth without NaN.
    weights: (replicates, n), each >= 0; a bootstrap replicate is a weighting by how often a film was drawn.

    Returns
    -------
    (replicates,), NaN where a replicate has no positives.
    """
    order, starts = _by_descending_score(scores)
    ends = np.append(starts[1:], len(order)) - 1
    # Only positives add to the sum, so precision is worked out at the end of each one's run of ties alone.
    positive = np.flatnonzero(truth[order] == 1)
    end = ends[np.searchsorted(starts, positive, side="right") - 1]
    last = np.searchsorted(positive, end, side="right") - 1
    called = np.cumsum(weights[:, order], axis=1)[:, end]
    own = weights[:, order[positive]]
    true = np.cumsum(own, axis=1)[:, last]
    with np.errstate(invalid="ignore"):
        precision = np.where(called > 0, true / np.where(called > 0, called, 1), 0.0)
        return (own * precision).sum(1) / own.sum(1)


def roc_curve(truth: ArrayLike, scores: ArrayLike) -> Curve:
    """ROC curve of one label, from (0, 0) at threshold infinity to (1, 1). Truth and scores (n,)."""
    true, false, thresholds = counts_at_thresholds(truth, scores)
    with np.errstate(invalid="ignore"):
        return Curve(
            np.append(0.0, false) / false[-1], np.append(0.0, true) / true[-1], np.append(np.inf, thresholds)
        )


def precision_recall_curve(truth: ArrayLike, scores: ArrayLike) -> Curve:
    """Precision (y) over recall (x) of one label, a point a distinct score. Truth and scores (n,)."""
    true, false, thresholds = counts_at_thresholds(truth, scores)
    with np.errstate(invalid="ignore"):
        return Curve(true / true[-1], true / (true + false), thresholds)


def counts_at_thresholds(truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """True and false positives with each distinct score as the threshold (score >= it), from high to low."""
    labels, values = as_pair(truth, scores)
    known = ~np.isnan(labels[:, 0])
    label, value = labels[known, 0], values[known, 0]
    if not len(label):
        empty = np.full(1, np.nan)
        return empty, empty, empty
    order, starts = _by_descending_score(value)
    ends = np.append(starts[1:], len(order)) - 1
    true = np.cumsum(label[order])[ends]
    return true, ends + 1 - true, value[order][ends]


def _by_descending_score(scores: Floats) -> tuple[np.ndarray, np.ndarray]:
    """The order of films from the highest score down, and where each run of equal scores starts."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    return order, np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))


def _auc(truth: Floats, scores: Floats) -> float:
    known = ~np.isnan(truth)
    positive = truth[known] == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    rank_sum = midranks(scores[known])[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def _average_precision(truth: Floats, scores: Floats) -> float:
    true, false, _ = counts_at_thresholds(truth, scores)
    if not true[-1] > 0:
        return float("nan")
    gained = np.diff(true, prepend=0.0)
    return float((gained * true / (true + false)).sum() / true[-1])
