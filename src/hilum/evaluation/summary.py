"""Everything `hilum evaluate` writes about a set of films: each number with its interval and its n."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation import confusion, delong, ranking, reliability
from hilum.evaluation.arrays import Bools, Floats, as_clusters, as_pair, label_names
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, centred, percentile_estimate
from hilum.evaluation.estimate import NAN, Estimate, finite, proportion

METRICS = (
    "auc",
    "average_precision",
    *confusion.RATES,
    "f1",
    "f2",
    "ece",
    "adaptive_ece",
    "brier",
)
AVERAGED = ("sensitivity", "specificity", "precision", "f1", "f2")
# Statistics that noise lifts above 0; see bootstrap.centred.
_LIFTED = ("ece", "adaptive_ece")


@dataclass(frozen=True)
class LabelSummary:
    """One label, or one class against the others.

    `metrics` holds an estimate for each name of METRICS. `threshold` is NaN for exclusive classes, where the
    most probable class is called.
    """

    name: str
    n: int
    positives: int
    threshold: float
    metrics: dict[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "n": self.n,
            "positives": self.positives,
            "threshold": finite(self.threshold),
            **{name: estimate.as_dict() for name, estimate in self.metrics.items()},
        }


@dataclass(frozen=True)
class Summary:
    """A set of films: its labels, and averages over them.

    Attributes
    ----------
    films, patients: how many; without patients each film counts as one.
    labels: one entry a label or class.
    overall: macro_auc; for labels the macro and micro averages of rates; for classes accuracy,
        balanced_accuracy, and macro and weighted averages.
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
    """
    labels, values = as_pair(truth, scores)
    cuts = np.atleast_1d(np.asarray(thresholds, np.float64))
    if cuts.shape != labels.shape[1:]:
        raise EvaluationError(f"{cuts.size} thresholds for {labels.shape[1]} labels")
    decided = ~np.isnan(cuts)
    called = confusion.call(values, cuts)
    draw = _Draw(replicates, seed, confidence)

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
        labels=_labels(labels, values, called, cuts, decided, groups, names, draw),
        overall=overall,
    )


def multiclass_summary(
    truth: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Summary:
    """Classes that exclude each other; the most probable one is called.

    Parameters
    ----------
    truth: (n,) class numbers, -1 unknown (left out).
    probabilities: (n, classes).
    groups: (n,) patients. The overall `ece` is that of the most probable class.
    """
    classes, values = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    if values.ndim != 2 or classes.shape != values.shape[:1]:
        raise EvaluationError(f"classes {classes.shape} do not fit probabilities {values.shape}")
    known = classes >= 0
    classes, values = classes[known], values[known]
    patients = None if groups is None else np.asarray(groups)[known]
    n, number = values.shape
    found = values.argmax(1)
    one_hot = np.equal.outer(classes, np.arange(number)).astype(np.float64)
    called = np.equal.outer(found, np.arange(number))
    right, sureness = reliability.top_label(classes, values)
    gaps = reliability.bin_gaps(right, sureness, reliability.equal_width_bins(sureness, reliability.BINS))
    draw = _Draw(replicates, seed, confidence)

    def averages(weights: Floats) -> Floats:
        counts = confusion.one_vs_rest(confusion.weighted_confusion_matrix(classes, found, number, weights))
        macro = [confusion.macro(getattr(counts, rate)) for rate in AVERAGED]
        by_support = [confusion.macro(getattr(counts, rate), counts.support) for rate in AVERAGED]
        error = reliability.weighted_calibration_error(gaps, weights)
        return np.column_stack([confusion.macro(counts.sensitivity), *macro, *by_support, error])

    kinds = [f"{kind}_{rate}" for kind in ("macro", "weighted") for rate in AVERAGED]
    matrix = confusion.confusion_matrix(classes, found, number)
    return Summary(
        films=n,
        patients=as_clusters(patients, n)[1],
        labels=_labels(
            one_hot, values, called, np.full(number, NAN), np.ones(number, bool), patients, names, draw
        ),
        overall={
            "macro_auc": delong.macro_auc(one_hot, values, patients, names=names, confidence=confidence),
            "accuracy": proportion(classes == found, patients, confidence=confidence),
            **draw.estimates(["balanced_accuracy", *kinds, "ece"], averages, n, patients),
        },
        confusion=tuple(tuple(int(cell) for cell in row) for row in matrix),
    )


@dataclass(frozen=True)
class _Draw:
    """How patients are drawn."""

    replicates: int
    seed: int
    confidence: float

    def estimates(
        self,
        names: Sequence[str],
        statistics: Callable[[Floats], Floats],
        n: int,
        groups: ArrayLike | None,
        positives: int | None = None,
    ) -> dict[str, Estimate]:
        """One estimate a name, from a function of weights (b, n) to values (b, names)."""
        values = statistics(np.ones((1, n)))[0]
        drawn = bootstrap_weighted(statistics, n, groups, replicates=self.replicates, seed=self.seed)
        return {
            name: percentile_estimate(
                float(value),
                centred(float(value), column) if name in _LIFTED else column,
                n,
                positives=positives,
                by_patient=groups is not None,
                confidence=self.confidence,
            )
            for name, value, column in zip(names, values, drawn.T, strict=True)
        }


def _labels(
    truth: Floats,
    scores: Floats,
    called: Bools,
    cuts: Floats,
    decided: Bools,
    groups: ArrayLike | None,
    names: Sequence[str] | None,
    draw: _Draw,
) -> tuple[LabelSummary, ...]:
    """Each label on the films that know it."""
    areas = delong.auc_estimates(truth, scores, groups, confidence=draw.confidence)
    patients = None if groups is None else np.asarray(groups)
    labels = []
    for i, name in enumerate(label_names(names, truth.shape[1])):
        known = ~np.isnan(truth[:, i])
        metrics = _drawn(
            truth[known, i],
            scores[known, i],
            called[known, i],
            None if patients is None else patients[known],
            draw,
        )
        metrics["auc"] = areas[i]
        n, positives = areas[i].n, int((truth[:, i] == 1).sum())
        if not decided[i]:
            missing = Estimate.undefined("no threshold was chosen", n, positives)
            metrics |= dict.fromkeys((*confusion.RATES, "f1", "f2"), missing)
        ordered = {metric: metrics[metric] for metric in METRICS}
        labels.append(LabelSummary(name, n, positives, float(cuts[i]), ordered))
    return tuple(labels)


def _drawn(
    truth: Floats, scores: Floats, called: Bools, groups: ArrayLike | None, draw: _Draw
) -> dict[str, Estimate]:
    """All but the AUC of one label; (n,) arrays without unknowns."""
    n, positives = len(truth), int(truth.sum())
    names = ("average_precision", "f1", "f2", "ece", "adaptive_ece", "brier")
    if n == 0:
        return dict.fromkeys((*names, *confusion.RATES), Estimate.undefined("no known labels", 0, 0))
    width = reliability.bin_gaps(truth, scores, reliability.equal_width_bins(scores, reliability.BINS))
    mass = reliability.bin_gaps(truth, scores, reliability.equal_mass_bins(scores, reliability.BINS))
    squared = (scores - truth) ** 2
    cells = confusion.cells(truth, called)

    def statistics(weights: Floats) -> Floats:
        counts = confusion.weighted_count(cells, weights)
        return np.column_stack(
            [
                ranking.weighted_average_precision(truth, scores, weights),
                counts.f1,
                counts.f2,
                reliability.weighted_calibration_error(width, weights),
                reliability.weighted_calibration_error(mass, weights),
                weights @ squared / weights.sum(1),
            ]
        )

    rates = confusion.rate_estimates(truth, called, groups, confidence=draw.confidence)[0]
    drawn = draw.estimates(names, statistics, n, groups, positives)
    if len(np.unique(as_clusters(groups, n)[0][truth == 1])) < 2:
        # Drawing the only patient again and again does not show how another would have scored.
        for name in ("average_precision", "f1", "f2"):
            drawn[name] = replace(drawn[name], low=NAN, high=NAN, note="fewer than two positive patients")
    return rates | drawn
