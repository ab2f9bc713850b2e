"""Sensitivity first: the rates of the class that a study looks for, and what they are at a chosen sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.confusion import call, count, rate_estimates
from hilum.evaluation.label_summary import Draw, label_summaries
from hilum.evaluation.thresholds import target_sensitivity
from hilum.studies.results import ArmResult, Predictions, read
from hilum.studies.study import Study, Variant
from hilum.studies.tables import HERE, PRINTED, Table, films_notes, final, percent

RATES = ("sensitivity", "specificity", "precision", "f1", "f2", "accuracy")
COUNTS = ("true negatives", "false positives", "false negatives", "true positives")
TARGET = 0.97
"""The sensitivity that an operating point is chosen for; the paper's own models reach 0.94 to 0.99."""


def rates(study: Study, variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Of the positive class, per cent: the paper's and ours, and the four counts that they come of."""
    rows: list[dict[str, Any]] = []
    for result in results:
        arm = variant.arms[result.arm]
        if arm.published.rates:
            printed = {rate: f"{arm.published.rates[rate]:g}" for rate in RATES}
            counts = arm.published.counts
            rows.append({"arm": arm.title, "whose": PRINTED, **printed, **_counts(counts)})
        truth, score, p = _positive(study, final(result))
        called = p.called[:, [p.labels.index(str(study.positive))]]
        summary = label_summaries(
            truth,
            score,
            called,
            np.full(1, np.nan),
            np.ones(1, bool),
            p.patients,
            None,
            Draw(REPLICATES, 0, 0.95),
        )[0]
        found = count(truth, called)
        cells = tuple(int(each[0]) for each in (found.tn, found.fp, found.fn, found.tp))
        row = {rate: percent(summary.metrics[rate]) for rate in RATES}
        rows.append({"arm": arm.title, "whose": HERE, **row, **_counts(cells)})
    notes = (
        "The most probable class is called. Precision, F1 and F2 move with how common the class is among the films.",
        *films_notes(variant, results),
    )
    return Table(f"{study.positive}: rates, %", rows, notes)


def operating_points(study: Study, variant: Variant, results: Sequence[ArmResult]) -> Table:
    """The same at the threshold by which each run found `TARGET` of its validation films of the class."""
    rows = []
    for result in results:
        cut = float(np.mean([_cut(study, job.folder) for job in result.jobs]))
        truth, score, p = _positive(study, final(result))
        found = rate_estimates(truth, call(score, [cut]), p.patients)[0]
        cells = {
            rate: percent(found[rate]) for rate in ("sensitivity", "specificity", "precision", "accuracy")
        }
        rows.append({"arm": variant.arms[result.arm].title, "threshold": f"{cut:.4g}", **cells})
    notes = (
        f"The threshold is the highest by which {100 * TARGET:g} % of the validation films of {study.positive} are found,"
        " the mean over an arm's runs; test films had no part in it.",
        *films_notes(variant, results),
    )
    return Table(f"{study.positive}: at the sensitivity of {100 * TARGET:g} % on validation", rows, notes)


def _cut(study: Study, run: Any) -> float:
    truth, score, _ = _positive(study, read(run / "validation" / "predictions.parquet"))
    return target_sensitivity(truth[:, 0], score[:, 0], TARGET).value


def _positive(study: Study, p: Predictions) -> tuple[NDArray[np.float64], NDArray[np.float64], Predictions]:
    """Truth and probability of the positive class, (n, 1) each, and where they come from."""
    column = [p.labels.index(str(study.positive))]
    return p.truth[:, column], p.probability[:, column], p


def _counts(values: Sequence[int] | None) -> dict[str, str | None]:
    return {name: None if values is None else f"{values[i]:,}" for i, name in enumerate(COUNTS)}
