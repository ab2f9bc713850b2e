"""Everything `hilum evaluate` writes about a set of films: each number with its interval and its n.

One label's metrics are in `hilum.evaluation.label_summary`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation import confusion, delong, reliability
from hilum.evaluation.arrays import Floats, Ints, as_clusters, as_pair
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.estimate import NAN, Estimate, finite, proportion
from hilum.evaluation.label_summary import BEFORE, Draw, LabelSummary, label_summaries

AVERAGED = ("sensitivity", "specificity", "precision", "f1", "f2")


@dataclass(frozen=True)
class Summary:
    """A set of films: its labels, and averages over them.

    Attributes
    ----------
    films, patients: how many; without patients each film counts as one.
    labels: one entry a label or class.
    overall: macro_auc; for labels the macro and micro averages of rates; for classes accuracy,
        balanced_accuracy, macro and weighted averages, and calibration errors.
    confusion: (classes, classes) counts, rows the truth; None for labels that do not exclude each other.
    """

    films: int
    patients: int
    labels: tuple[LabelSummary, ...]
    overall: dict[str, Estimate]
    confusion: tuple[tuple[int, ...], ...] | None = None

    @property
    def macro_auc(self) -> Estimate:
        return self.overall["macro_auc"]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "films": self.films,
            "patients": self.patients,
            "overall": {name: estimate.as_dict() for name, estimate in self.overall.items()},
            "labels": [label.as_dict() for label in self.labels],
            "confusion": None if self.confusion is None else [list(row) for row in self.confusion],
        }

    def table(self) -> list[dict[str, Any]]:
        """One flat row a label for printing: `auc`, `auc_low`, `auc_high`, ..."""
        rows = []
        for label in self.labels:
            row: dict[str, Any] = {"name": label.name, "n": label.n, "positives": label.positives}
            row["threshold"] = finite(label.threshold)
            for name, estimate in label.metrics.items():
                row[name] = finite(estimate.value)
                row[f"{name}_low"], row[f"{name}_high"] = finite(estimate.low), finite(estimate.high)
            rows.append(row)
        return rows


def multilabel_summary(
    truth: ArrayLike,
    scores: ArrayLike,
    thresholds: ArrayLike,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    uncalibrated: ArrayLike | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Summary:
    """Labels that may stand together.

    Parameters
    ----------
    truth: (n, labels) in {0, 1, NaN}.
    scores: (n, labels) probabilities.
    thresholds: (labels,), chosen on other films; a label whose threshold is NaN gets no rates.
    groups: (n,) patients. AUC by DeLong, rates by Wilson, both by patient; the rest by drawing patients.
    uncalibrated: (n, labels) the scores before their calibration, where they have one; then each label has the metric
        `ece_uncalibrated` too.
    """
    labels, values = as_pair(truth, scores)
    raw = None if uncalibrated is None else as_pair(truth, uncalibrated)[1]
    cuts = np.atleast_1d(np.asarray(thresholds, np.float64))
    if cuts.shape != labels.shape[1:]:
        raise EvaluationError(f"{cuts.size} thresholds for {labels.shape[1]} labels")
    decided = ~np.isnan(cuts)
    called = confusion.call(values, cuts)
    draw = Draw(replicates, seed, confidence)

    cells = confusion.cells(labels[:, decided], called[:, decided])

    def averages(weights: Floats) -> Floats:
        counts = confusion.weighted_count(cells, weights)
        whole = counts.pooled()
        macro = [confusion.macro(getattr(counts, rate)) for rate in AVERAGED]
        return np.column_stack([*macro, *(getattr(whole, rate) for rate in AVERAGED)])

    overall = {"macro_auc": delong.macro_auc(labels, values, groups, names=names, confidence=confidence)}
    if decided.any():
        kinds = [f"{kind}_{rate}" for kind in ("macro", "micro") for rate in AVERAGED]
        overall |= draw.estimates(kinds, averages, len(labels), groups)
    return Summary(
        films=len(labels),
        patients=as_clusters(groups, len(labels))[1],
        labels=label_summaries(labels, values, called, cuts, decided, groups, names, draw, raw),
        overall=overall,
    )


def multiclass_summary(
    truth: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    uncalibrated: ArrayLike | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Summary:
    """Classes that exclude each other; the most probable one is called.

    Parameters
    ----------
    truth: (n,) class numbers, -1 unknown (left out).
    probabilities: (n, classes).
    groups: (n,) patients. The overall `ece` is that of the most probable class, `classwise_ece` the mean over classes.
    uncalibrated: (n, classes) the probabilities before their calibration, where they have one; then there are
        `ece_uncalibrated` of each class and overall, and `classwise_ece_uncalibrated`.
    """
    classes, values = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    raw = None if uncalibrated is None else np.asarray(uncalibrated, np.float64)
    for given in (values, *([] if raw is None else [raw])):
        if given.ndim != 2 or classes.shape != given.shape[:1] or given.shape != values.shape:
            raise EvaluationError(f"classes {classes.shape} do not fit probabilities {given.shape}")
    known = classes >= 0
    classes, values = classes[known], values[known]
    raw = None if raw is None else raw[known]
    patients = None if groups is None else np.asarray(groups)[known]
    n, number = values.shape
    found = values.argmax(1)
    one_hot = np.equal.outer(classes, np.arange(number)).astype(np.float64)
    called = np.equal.outer(found, np.arange(number))
    errors = [
        _calibration_errors(classes, one_hot, given) for given in (values, *([] if raw is None else [raw]))
    ]
    draw = Draw(replicates, seed, confidence)

    def averages(weights: Floats) -> Floats:
        counts = confusion.one_vs_rest(confusion.weighted_confusion_matrix(classes, found, number, weights))
        macro = [confusion.macro(getattr(counts, rate)) for rate in AVERAGED]
        by_support = [confusion.macro(getattr(counts, rate), counts.support) for rate in AVERAGED]
        return np.column_stack(
            [confusion.macro(counts.sensitivity), *macro, *by_support, *(each(weights) for each in errors)]
        )

    kinds = [f"{kind}_{rate}" for kind in ("macro", "weighted") for rate in AVERAGED]
    kinds += ["ece", "classwise_ece", *([] if raw is None else [BEFORE, f"classwise_{BEFORE}"])]
    matrix = confusion.confusion_matrix(classes, found, number)
    return Summary(
        films=n,
        patients=as_clusters(patients, n)[1],
        labels=label_summaries(
            one_hot, values, called, np.full(number, NAN), np.ones(number, bool), patients, names, draw, raw
        ),
        overall={
            "macro_auc": delong.macro_auc(one_hot, values, patients, names=names, confidence=confidence),
            "accuracy": proportion(classes == found, patients, confidence=confidence),
            **draw.estimates(["balanced_accuracy", *kinds], averages, n, patients),
        },
        confusion=tuple(tuple(int(cell) for cell in row) for row in matrix),
    )


def _calibration_errors(classes: Ints, one_hot: Floats, values: Floats) -> Callable[[Floats], Floats]:
    """A function of weights (b, n) to the ECE of the most probable class and the mean over classes, (b, 2)."""
    top = _gaps(*reliability.top_label(classes, values))
    by_class = [_gaps(truth, value) for truth, value in zip(one_hot.T, values.T, strict=True)]

    def errors(weights: Floats) -> Floats:
        each = [reliability.weighted_calibration_error(gaps, weights) for gaps in by_class]
        return np.column_stack([reliability.weighted_calibration_error(top, weights), np.mean(each, axis=0)])

    return errors


def _gaps(truth: Floats, probabilities: Floats) -> Floats:
    """Gaps over bins of equal width, for `reliability.weighted_calibration_error`."""
    number = reliability.equal_width_bins(probabilities, reliability.BINS)
    return reliability.bin_gaps(truth, probabilities, number)
