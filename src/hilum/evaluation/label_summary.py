"""Every metric of one label with its interval: what a summary holds for each label or class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation import confusion, delong, ranking
from hilum.evaluation.arrays import Bools, Floats, as_clusters, label_names
from hilum.evaluation.bootstrap import bootstrap_weighted, centred, percentile_estimate
from hilum.evaluation.estimate import NAN, Estimate, finite
from hilum.evaluation.reliability_intervals import LIFTED, MEASURES, weighted_reliability

METRICS = (
    "auc",
    "average_precision",
    *confusion.RATES,
    "f1",
    "f2",
    "ece",
    "adaptive_ece",
    "brier",
    "log_loss",
)
BEFORE = "ece_uncalibrated"
"""The metric that stands beside METRICS where probabilities without a calibration are given."""


@dataclass(frozen=True)
class LabelSummary:
    """One label, or one class against the others.

    `metrics` holds an estimate for each name of METRICS, and for BEFORE where there was a calibration. `threshold` is NaN
    for exclusive classes, where the most probable class is called.
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
class Draw:
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
                centred(float(value), column) if name in LIFTED else column,
                n,
                positives=positives,
                by_patient=groups is not None,
                confidence=self.confidence,
            )
            for name, value, column in zip(names, values, drawn.T, strict=True)
        }


def label_summaries(
    truth: Floats,
    scores: Floats,
    called: Bools,
    cuts: Floats,
    decided: Bools,
    groups: ArrayLike | None,
    names: Sequence[str] | None,
    draw: Draw,
    uncalibrated: Floats | None = None,
) -> tuple[LabelSummary, ...]:
    """Each label on the films that know it.

    Truth (n, labels) in {0, 1, NaN}, scores and calls (n, labels), thresholds (labels,); `decided` (labels,) says
    which labels are called at all. Groups (n,) patients. `uncalibrated` (n, labels): what the scores were before their
    calibration.
    """
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
        if uncalibrated is not None:
            of_known = None if patients is None else patients[known]
            ordered[BEFORE] = _ece(truth[known, i], uncalibrated[known, i], of_known, draw)
        labels.append(LabelSummary(name, n, positives, float(cuts[i]), ordered))
    return tuple(labels)


def _ece(truth: Floats, probabilities: Floats, groups: ArrayLike | None, draw: Draw) -> Estimate:
    """The calibration error alone, with the draws that `_drawn` makes."""
    n, positives = len(truth), int(truth.sum())
    if n == 0:
        return Estimate.undefined("no known labels", 0, 0)
    statistic = weighted_reliability(truth[:, None], probabilities[:, None])
    return draw.estimates(MEASURES, statistic, n, groups, positives)["ece"]


def _drawn(
    truth: Floats, scores: Floats, called: Bools, groups: ArrayLike | None, draw: Draw
) -> dict[str, Estimate]:
    """All but the AUC of one label; (n,) arrays without unknowns."""
    n, positives = len(truth), int(truth.sum())
    names = ("average_precision", "f1", "f2", *MEASURES)
    if n == 0:
        return dict.fromkeys((*names, *confusion.RATES), Estimate.undefined("no known labels", 0, 0))
    reliability = weighted_reliability(truth[:, None], scores[:, None])
    cells = confusion.cells(truth, called)

    def statistics(weights: Floats) -> Floats:
        counts = confusion.weighted_count(cells, weights)
        return np.column_stack(
            [
                ranking.weighted_average_precision(truth, scores, weights),
                counts.f1,
                counts.f2,
                reliability(weights),
            ]
        )

    rates = confusion.rate_estimates(truth, called, groups, confidence=draw.confidence)[0]
    drawn = draw.estimates(names, statistics, n, groups, positives)
    if len(np.unique(as_clusters(groups, n)[0][truth == 1])) < 2:
        # Drawing the only patient again and again does not show how another would have scored.
        for name in ("average_precision", "f1", "f2"):
            drawn[name] = replace(drawn[name], low=NAN, high=NAN, note="fewer than two positive patients")
    return rates | drawn
