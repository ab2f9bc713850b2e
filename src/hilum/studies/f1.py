"""F1 of each arm's findings, at thresholds that validation films chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.evaluation.f1 import F1Scores, f1_scores
from hilum.studies.results import ArmResult, Predictions
from hilum.studies.study import Variant
from hilum.studies.tables import HERE, PRINTED, Table, films_notes, final, without_empty


def table(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """F1 of each finding, macro, and weighted by each finding's films, beside what the paper prints of the last."""
    measured = [(variant.arms[result.arm], measure(final(result))) for result in results]
    labels = list(measured[0][1].each)
    rows: list[dict[str, Any]] = []
    for label in [*labels, "macro", "weighted"]:
        row: dict[str, Any] = {"label": label}
        for arm, found in measured:
            printed = arm.published.weighted_f1 if label == "weighted" else None
            row[f"{arm.title}, {PRINTED}"] = None if printed is None else f"{printed:g}"
            one = found.each[label] if label in found.each else getattr(found, label)
            row[f"{arm.title}, {HERE}"] = one.as_dict()
        rows.append(row)
    notes = (
        "Calls are made at each model's own thresholds, chosen on its validation films; intervals by drawing patients."
        " Weighted: by how many films have the finding, as the paper weights it. F1 moves with how common a finding is, so"
        " that films of another mix have another F1 by the same model.",
        *films_notes(variant, results),
    )
    return Table("F1 of findings", without_empty(rows), notes)


def measure(films: Predictions) -> F1Scores:
    """A finding without a threshold counts as unknown: nothing would ever be called."""
    assert films.cuts is not None
    truth = np.where(np.isnan(films.cuts), np.nan, films.truth)
    return f1_scores(truth, films.called, films.patients, films.labels)
