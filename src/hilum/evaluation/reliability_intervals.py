"""The measures of `hilum.evaluation.reliability` with intervals by drawing patients, and what a calibration gained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation import reliability
from hilum.evaluation.arrays import Floats, as_pair, label_names
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, centred, percentile_estimate
from hilum.evaluation.estimate import Estimate

MEASURES = ("ece", "adaptive_ece", "brier", "log_loss")
PROPER = ("brier", "log_loss")
# Statistics that noise lifts above 0; see bootstrap.centred.
LIFTED = ("ece", "adaptive_ece", "classwise_ece", "ece_uncalibrated", "classwise_ece_uncalibrated")
POOLED = "pooled"


def reliability_estimates(
    truth: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, dict[str, Estimate]]:
    """Every name of MEASURES of every label, and of "pooled", all labels of all films taken as one.

    Truth (n, labels) in {0, 1, NaN}, probabilities (n, labels), groups (n,) patients. Bins are those of the films at
    hand in every draw.
    """
    labels, values = as_pair(truth, probabilities)
    table = {}
    for name, columns in _columns(names, labels.shape[1]).items():
        statistic = weighted_reliability(labels[:, columns], values[:, columns])
        table[name] = _estimates(
            MEASURES, statistic, labels[:, columns], groups, replicates, seed, confidence
        )
    return table


def calibration_gains(
    truth: ArrayLike,
    before: ArrayLike,
    after: ArrayLike,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, dict[str, Estimate]]:
    """What a calibration took off the Brier score and the log loss of every label, and pooled: before less after.

    All (n, labels), on films that the calibration was not fitted on; paired, film by film. For these two a lower value
    can come from better probabilities alone (they are proper scores); a lower ECE can also come from coarser ones.
    """
    labels, raw = as_pair(truth, before)
    _, calibrated = as_pair(truth, after)
    if raw.shape != calibrated.shape:
        raise EvaluationError(f"probabilities before are {raw.shape} and after {calibrated.shape}")
    table = {}
    for name, columns in _columns(names, labels.shape[1]).items():
        one, other = (weighted_reliability(labels[:, columns], v[:, columns]) for v in (raw, calibrated))

        def gain(weights: Floats, one: _Statistic = one, other: _Statistic = other) -> Floats:
            return (one(weights) - other(weights))[:, -len(PROPER) :]

        table[name] = _estimates(PROPER, gain, labels[:, columns], groups, replicates, seed, confidence)
    return table


_Statistic = Callable[[Floats], Floats]


def weighted_reliability(truth: Floats, probabilities: Floats) -> _Statistic:
    """A function of weights (replicates, n) to MEASURES, (replicates, 4), of labels (n, k) taken as one.

    Truth in {0, 1, NaN}. What depends on the films alone is worked out once.
    """
    known = ~np.isnan(truth)
    label, value = truth[known], probabilities[known]
    if not len(label):
        return lambda weights: np.full((len(weights), len(MEASURES)), np.nan)
    film = np.nonzero(known)[0]

    def by_film(values: Floats) -> Floats:
        return np.bincount(film, values, minlength=len(truth)).astype(np.float64)

    def in_bins(number: np.ndarray) -> Floats:
        width = int(number.max()) + 1
        cell = np.bincount(film * width + number, label - value, minlength=len(truth) * width)
        return cell.astype(np.float64).reshape(-1, width)

    bins = [
        rule(value, reliability.BINS) for rule in (reliability.equal_width_bins, reliability.equal_mass_bins)
    ]
    gaps = [in_bins(number) for number in bins]
    losses = [by_film(loss) for loss in ((value - label) ** 2, reliability.film_log_loss(label, value))]
    counted = known.sum(1).astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        columns = [np.abs(weights @ gap).sum(1) for gap in gaps] + [weights @ loss for loss in losses]
        with np.errstate(invalid="ignore"):
            return np.column_stack(columns) / (weights @ counted)[:, None]

    return statistic


def _columns(names: Sequence[str] | None, count: int) -> dict[str, list[int]]:
    called = {name: [i] for i, name in enumerate(label_names(names, count))}
    return {**called, POOLED: list(range(count))}


def _estimates(
    measures: Sequence[str],
    statistic: _Statistic,
    truth: Floats,
    groups: ArrayLike | None,
    replicates: int,
    seed: int,
    confidence: float,
) -> dict[str, Estimate]:
    n, positives = int((~np.isnan(truth)).sum()), int((truth == 1).sum())
    if not n:
        return dict.fromkeys(measures, Estimate.undefined("no known labels", 0, 0))
    values = statistic(np.ones((1, len(truth))))[0]
    drawn = bootstrap_weighted(statistic, len(truth), groups, replicates=replicates, seed=seed)
    return {
        measure: percentile_estimate(
            float(value),
            centred(float(value), column) if measure in LIFTED else column,
            n,
            positives=positives,
            by_patient=groups is not None,
            confidence=confidence,
        )
        for measure, value, column in zip(measures, values, drawn.T, strict=True)
    }
