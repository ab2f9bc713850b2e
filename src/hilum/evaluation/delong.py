"""Intervals for the AUC without resampling, and paired comparisons, from DeLong's structural components.

DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837; computed by ranks as in Sun & Xu, IEEE Signal
Processing Letters 21 (2014) 1389; films of one patient summed as in Obuchowski, Biometrics 53 (1997) 567.

Each film moves each AUC by a known amount (its influence). The covariance of AUCs, be they of several models
on
one label or of several labels on one set of films, is the covariance of those influences: one mechanism for
single intervals, for macro averages and for paired tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtr

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, Ints, as_clusters, as_pair, label_names
from hilum.evaluation.estimate import NAN, Estimate, quantile_of_normal
from hilum.evaluation.ranking import midranks

# Rounding leaves variances of about 1e-34 where there is none.
_NO_VARIANCE = 1e-20
_TOO_FEW = "no label has two positive and two negative patients"
_SEPARATED = "no interval: the scores separate the films completely, or not at all"


@dataclass(frozen=True)
class DeLong:
    """AUCs of k columns with their joint covariance.

    Attributes
    ----------
    auc: (k,), NaN without positives or negatives.
    covariance: (k, k), NaN in the row and column of an AUC with fewer than two positive or negative patients.
    n, positives: (k,) known films and positives of each column.
    method: "DeLong", or "DeLong by patient" where films were grouped.
    """

    auc: Floats
    covariance: Floats
    n: Ints
    positives: Ints
    method: str


@dataclass(frozen=True)
class Comparison:
    """A difference of two AUCs on the same films (first minus second), with a two-sided p-value."""

    difference: Estimate
    z: float
    p_value: float


def delong(truth: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> DeLong:
    """AUCs and their covariance.

    Parameters
    ----------
    truth: (n, k) in {0, 1, NaN}; (n,) where all k columns of scores are models of one label.
    scores: (n, k), any scale; only their order counts.
    groups: (n,) patients. Their films then count as one draw, which without repeated patients changes
        nothing. Obuchowski's factor I/(I-1) on the cross term of patients with both kinds of film is replaced
        by the geometric mean of the two corrections beside it, which keeps the covariance positive
        semi-definite.
    """
    labels, values = as_pair(truth, scores)
    cluster, count = as_clusters(groups, len(labels))
    columns = [_influence(t, s, cluster, count) for t, s in zip(labels.T, values.T, strict=True)]
    influence = np.column_stack([moved for _, moved in columns])
    return DeLong(
        auc=np.array([area for area, _ in columns]),
        covariance=influence.T @ influence,
        n=(~np.isnan(labels)).sum(0),
        positives=(labels == 1).sum(0),
        method="DeLong" if count == len(labels) else "DeLong by patient",
    )


def auc_estimates(
    truth: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> tuple[Estimate, ...]:
    """The AUC of each column with an interval: DeLong's variance on the logit scale (Pepe 2003).

    The plain interval, value +- 1.96 deviations, is too short where positives are few: of 3,000 simulated
    sets of 12 positives and 345 negatives it covers a true AUC of 0.90 in 84 %, the logit one in 89 %; at 30
    and 300 with an AUC of 0.75 in 93 and 94 %. With hundreds of positives the two agree to the third decimal.

    Undefined without positives or negatives; without an interval where a side has one film (or one patient),
    and where the scores separate the two sides completely, for DeLong's variance is then 0.
    """
    return estimates_of(delong(truth, scores, groups), confidence)


def estimates_of(result: DeLong, confidence: float = 0.95) -> tuple[Estimate, ...]:
    """One estimate a column of a `DeLong`."""
    return tuple(_estimate(result, i, confidence) for i in range(len(result.auc)))


def macro_auc(
    truth: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """Mean AUC over labels, with the interval that their covariance on shared films gives.

    Labels with fewer than two positive or two negative patients are left out, and the note names them.
    """
    return macro_of(delong(truth, scores, groups), names, confidence)


def macro_of(result: DeLong, names: Sequence[str] | None = None, confidence: float = 0.95) -> Estimate:
    """The macro AUC of a `DeLong` whose columns are labels."""
    called = label_names(names, len(result.auc))
    kept = ~np.isnan(np.diag(result.covariance))
    left_out = [name for name, keep in zip(called, kept, strict=True) if not keep]
    note = f"left out, too few films: {', '.join(left_out)}" if left_out else ""
    n = int(result.n.max(initial=0))
    if not kept.any():
        return Estimate.undefined(_TOO_FEW, n, None, result.method)
    value = float(result.auc[kept].mean())
    variance = float(result.covariance[np.ix_(kept, kept)].mean())
    if variance < _NO_VARIANCE:
        return Estimate(value, NAN, NAN, n, None, result.method, _SEPARATED)
    low, high = _interval(value, float(np.sqrt(variance)), confidence)
    return Estimate(value, low, high, n, None, result.method, note)


def compare_auc(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> tuple[Comparison, ...]:
    """DeLong's paired test of two models on the same films, label by label; arrays (n, labels)."""
    result, labels = _joint(truth, first, second, groups)
    return tuple(
        _comparison(result, np.eye(labels)[i], confidence, int(result.positives[i])) for i in range(labels)
    )


def compare_macro_auc(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> Comparison:
    """The paired test of two models' macro AUCs, over the labels that have an interval."""
    result, labels = _joint(truth, first, second, groups)
    kept = ~np.isnan(np.diag(result.covariance))[:labels]
    if not kept.any():
        undefined = Estimate.undefined(_TOO_FEW, int(result.n.max(initial=0)), None, result.method)
        return Comparison(undefined, NAN, NAN)
    return _comparison(result, kept / kept.sum(), confidence, None)


def weighted(
    ranked: DeLong, weights: Floats, n: int, positives: int | None, note: str = "", confidence: float = 0.95
) -> Estimate:
    """The sum of the AUCs of `ranked` times `weights` (k,): a mean, or a difference of means; those of weight 0 may be NaN.

    n, positives, note: what the estimate says of itself. Without variance it has no interval, and says so.
    """
    value, variance = _moments(ranked, weights)
    if not variance > _NO_VARIANCE:
        return Estimate(
            value, NAN, NAN, n, positives, ranked.method, note or "no variance to make an interval of"
        )
    half = quantile_of_normal(confidence) * float(np.sqrt(variance))
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), n, positives, ranked.method, note)


def _moments(ranked: DeLong, weights: Floats) -> tuple[float, float]:
    """Value and variance of a weighted sum of AUCs; those of weight 0 take no part, be they NaN."""
    used = weights != 0
    own = weights[used]
    return float(own @ ranked.auc[used]), float(own @ ranked.covariance[np.ix_(used, used)] @ own)


def _joint(
    truth: ArrayLike, first: ArrayLike, second: ArrayLike, groups: ArrayLike | None
) -> tuple[DeLong, int]:
    labels, one = as_pair(truth, first)
    _, other = as_pair(truth, second)
    if one.shape != other.shape:
        raise EvaluationError(f"the two models' scores are {one.shape} and {other.shape}")
    return delong(np.hstack([labels, labels]), np.hstack([one, other]), groups), labels.shape[1]


def _comparison(result: DeLong, share: Floats, confidence: float, positives: int | None) -> Comparison:
    """Test of share @ (first - second), where share weighs the labels."""
    contrast = np.concatenate([share, -share])
    value, variance = _moments(result, contrast)
    n = int(result.n[contrast != 0].max())
    note = ""
    if np.isnan(variance):
        note = "no interval: fewer than two positive or two negative patients"
    elif variance < _NO_VARIANCE:
        note = "the two rank the films alike" if abs(value) < 1e-12 else "no variance to test against"
    if note:
        return Comparison(Estimate(value, NAN, NAN, n, positives, result.method, note), NAN, NAN)
    deviation = float(np.sqrt(variance))
    half = quantile_of_normal(confidence) * deviation
    z = value / deviation
    estimate = Estimate(value, max(-1.0, value - half), min(1.0, value + half), n, positives, result.method)
    return Comparison(estimate, z, float(2 * ndtr(-abs(z))))


def _estimate(result: DeLong, column: int, confidence: float) -> Estimate:
    value, variance = float(result.auc[column]), float(result.covariance[column, column])
    n, positives = int(result.n[column]), int(result.positives[column])
    if np.isnan(value):
        note = "no known labels" if n == 0 else "no positives" if positives == 0 else "no negatives"
        return Estimate.undefined(note, n, positives, result.method)
    if np.isnan(variance):
        note = "no interval: fewer than two positive or two negative patients"
        return Estimate(value, NAN, NAN, n, positives, result.method, note)
    if variance < _NO_VARIANCE:
        return Estimate(value, NAN, NAN, n, positives, result.method, _SEPARATED)
    low, high = _interval(value, float(np.sqrt(variance)), confidence)
    return Estimate(value, low, high, n, positives, result.method)


def _interval(value: float, deviation: float, confidence: float) -> tuple[float, float]:
    """Normal interval of logit(AUC), carried back: it never leaves (0, 1)."""
    half = quantile_of_normal(confidence) * deviation / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def _influence(truth: Floats, scores: Floats, cluster: Ints, count: int) -> tuple[float, Floats]:
    """AUC of one column, and how far each patient moves it, (count,): the squares add up to the variance."""
    known = ~np.isnan(truth)
    positive, negative = truth == 1, truth == 0
    m, n = int(positive.sum()), int(negative.sum())
    if m == 0 or n == 0:
        return NAN, np.full(count, NAN)
    rank = np.full(len(truth), NAN)
    rank[known] = midranks(scores[known])
    # Sun & Xu 2014, eqs. 9 and 10: a film's component is its rank among all less its rank among its own kind.
    of_positives = (rank[positive] - midranks(scores[positive])) / n
    of_negatives = 1 - (rank[negative] - midranks(scores[negative])) / m
    area = float(of_positives.mean())
    moved = _by_cluster((of_positives - area) / m, cluster[positive], count)
    moved += _by_cluster((of_negatives - area) / n, cluster[negative], count)
    return area, moved


def _by_cluster(influence: Floats, cluster: Ints, count: int) -> Floats:
    """Sums by patient, scaled so that their squares add up to an unbiased variance; NaN with one patient."""
    patients = len(np.unique(cluster))
    if patients < 2:
        return np.full(count, NAN)
    return np.bincount(cluster, influence, minlength=count) * np.sqrt(patients / (patients - 1))
