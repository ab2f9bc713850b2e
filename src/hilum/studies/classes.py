"""Exclusive classes one by one, and what is left of the figures without a class that its source gives away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.evaluation.confusion import confusion_matrix, rate_estimates
from hilum.evaluation.delong import macro_auc
from hilum.evaluation.estimate import proportion
from hilum.studies.results import ArmResult
from hilum.studies.study import Variant
from hilum.studies.tables import Table, films_notes, final, percent

RATES = ("sensitivity", "specificity", "precision")


def by_class(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Sensitivity, specificity and precision of each class against the others, Wilson's intervals by patient."""
    rows = []
    for result in results:
        p = final(result)
        found = rate_estimates(p.truth, p.called, p.patients)
        for i, label in enumerate(p.labels):
            cells = {rate: found[i][rate].as_dict() for rate in RATES}
            row = {"arm": variant.arms[result.arm].title, "class": label}
            rows.append({**row, "films": int(np.nansum(p.truth[:, i])), **cells})
    return Table("Calls by class", rows, films_notes(variant, results))


def without(apart: str, variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Accuracy and macro AUC on the films of the other classes alone."""
    rows = []
    others = tuple(label for label in final(results[0]).labels if label != apart)
    for result in results:
        p = final(result)
        column = p.labels.index(apart)
        films, rest = p.truth[:, column] == 0, np.arange(len(p.labels)) != column
        area = macro_auc(
            p.truth[films][:, rest], p.probability[films][:, rest], p.patients[films], names=others
        )
        rows.append(
            {
                "arm": variant.arms[result.arm].title,
                "films": int(films.sum()),
                "accuracy, %": percent(proportion(p.right[films], p.patients[films])),
                "macro AUC": area.as_dict(),
                f"called {apart}": int(p.called[films, column].sum()),
            }
        )
    notes = (
        f"Films that are truly {', '.join(others[:-1])} or {others[-1]}. The model still chooses among all"
        f" classes, so that a call of {apart} is an error here.",
        *films_notes(variant, results),
    )
    return Table(f"Without {apart}", rows, notes)


def confusions(variant: Variant, results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Each arm's counts, rows the truth, columns the call; for machines."""
    out = []
    for result in results:
        p = final(result)
        counts = confusion_matrix(p.truth.argmax(1), p.probability.argmax(1), len(p.labels))
        title = variant.arms[result.arm].title
        out.append({"arm": title, "classes": list(p.labels), "counts": counts.astype(int).tolist()})
    return out
