"""Do probabilities mean what they say? Calibration error, Brier score, log loss, and the curve to look at.

With intervals, and beside what they were before a calibration: `hilum.evaluation.reliability_intervals`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, Ints, as_pair
from hilum.evaluation.estimate import NAN

BINS = 15
# A probability of exactly 0 or 1 on the wrong side would make one film's loss infinite.
_SMALLEST = 1e-12


@dataclass(frozen=True)
class ReliabilityCurve:
    """Mean probability and share of positives in each bin that holds films: all (bins,)."""

    predicted: Floats
    observed: Floats
    count: Ints


def expected_calibration_error(truth: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> Floats:
    """ECE of each label over bins of equal width (Naeini 2015; Guo 2017, eq. 3), (labels,).

    The mean over films of |share of positives - mean probability| in the film's bin. It is an average of
    absolute
    values, so noise alone lifts it above 0: compare sets of like size.
    """
    return _each(truth, probabilities, lambda t, p: _gap(t, p, equal_width_bins(p, bins)))


def adaptive_calibration_error(truth: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> Floats:
    """ECE of each label over bins of equally many films (Nguyen & O'Connor 2015), (labels,).

    For rare labels nearly all films fall in the first bin of equal width; these bins look inside it.
    """
    return _each(truth, probabilities, lambda t, p: _gap(t, p, equal_mass_bins(p, bins)))


def brier_score(truth: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Mean squared difference of probability and truth of each label, (labels,) (Brier 1950)."""
    return _each(truth, probabilities, lambda t, p: float(np.mean((p - t) ** 2)))


def log_loss(truth: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Mean negative log likelihood of each label in nats, (labels,); probabilities stay 1e-12 off 0 and 1."""
    return _each(truth, probabilities, lambda t, p: float(np.mean(film_log_loss(t, p))))


def film_log_loss(truth: Floats, probabilities: Floats) -> Floats:
    """The log loss of each film in nats, (n,), of one label without unknowns; kept finite as in `log_loss`."""
    kept = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    return -(truth * np.log(kept) + (1 - truth) * np.log1p(-kept))


def classwise_calibration_error(truth: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """Mean over exclusive classes of the ECE of "is it this class?" (Kull et al., NeurIPS 2019).

    Truth (n,) class numbers, -1 unknown; probabilities (n, classes). The ECE of `top_label` sees the most probable
    class alone; this one also sees a rare class that is never on top. Every class counts the same.
    """
    classes, values = np.asarray(truth), np.asarray(probabilities, np.float64)
    if values.ndim != 2 or classes.shape != values.shape[:1]:
        raise EvaluationError(f"classes {classes.shape} do not fit probabilities {values.shape}")
    one_hot = np.equal.outer(classes, np.arange(values.shape[1])).astype(np.float64)
    one_hot[classes < 0] = np.nan
    return float(expected_calibration_error(one_hot, values, bins).mean())


def pooled(truth: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """All labels laid end to end as one, each (n * labels,): for the pooled value of any measure here."""
    labels, values = _checked(truth, probabilities)
    return labels.T.ravel(), values.T.ravel()


def reliability_curve(truth: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> ReliabilityCurve:
    """Points of one label's reliability diagram, bins of equal width. Truth and probabilities (n,)."""
    labels, values = _checked(truth, probabilities)
    known = ~np.isnan(labels[:, 0])
    label, value = labels[known, 0], values[known, 0]
    number = equal_width_bins(value, bins)
    count = np.bincount(number, minlength=bins)
    held = count > 0
    return ReliabilityCurve(
        predicted=np.bincount(number, value, minlength=bins)[held] / count[held],
        observed=np.bincount(number, label, minlength=bins)[held] / count[held],
        count=count[held],
    )


def top_label(truth: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Exclusive classes as one question, "was the top class right?": (n,) truth and (n,) confidence.

    Truth (n,) class numbers, -1 unknown; probabilities (n, classes). What Guo 2017 measures the ECE of.
    """
    classes, values = np.asarray(truth), np.asarray(probabilities, np.float64)
    right = (values.argmax(1) == classes).astype(np.float64)
    return np.where(classes >= 0, right, np.nan), values.max(1)


def bin_gaps(truth: Floats, probabilities: Floats, number: Ints) -> Floats:
    """Truth minus probability of each film in the column of its bin: (n, bins), 0 elsewhere."""
    return (number[:, None] == np.arange(number.max() + 1)) * (truth - probabilities)[:, None]


def weighted_calibration_error(gaps: Floats, weights: Floats) -> Floats:
    """ECE of one label under many weightings of its films: `bin_gaps`, (replicates, n) to (replicates,)."""
    return np.abs(weights @ gaps).sum(1) / weights.sum(1)


def equal_width_bins(probabilities: Floats, bins: int) -> Ints:
    """The bin of each probability, (n,): [0, 1/bins), ..., the last one closed."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def equal_mass_bins(probabilities: Floats, bins: int) -> Ints:
    """The bin of each probability, (n,), cut at quantiles; equal probabilities share a bin."""
    edges = np.quantile(probabilities, np.arange(1, bins) / bins)
    return np.searchsorted(edges, probabilities, side="right")


def _gap(truth: Floats, probabilities: Floats, number: Ints) -> float:
    return float(np.abs(np.bincount(number, truth - probabilities)).sum() / len(truth))


def _each(truth: ArrayLike, probabilities: ArrayLike, measure: Callable[[Floats, Floats], float]) -> Floats:
    labels, values = _checked(truth, probabilities)
    results = []
    for label, value in zip(labels.T, values.T, strict=True):
        known = ~np.isnan(label)
        results.append(measure(label[known], value[known]) if known.any() else NAN)
    return np.array(results)


def _checked(truth: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    labels, values = as_pair(truth, probabilities)
    if np.any((values < 0) | (values > 1)):
        raise EvaluationError(
            "probabilities lie outside [0, 1]", mend="Apply the bundle's calibration to logits."
        )
    return labels, values
