"""Performance by sex, age band, view and their pairs: where a model is worse, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import EvaluationError
from hilum.evaluation import confusion, delong
from hilum.evaluation.arrays import Bools, as_clusters, as_pair, label_names
from hilum.evaluation.estimate import Estimate, finite
from hilum.evaluation.overlap import OverlapScores, OverlapSummary, summarise_overlap

UNKNOWN = "unknown"
AGE_EDGES = (0, 18, 40, 60, 80)


@dataclass(frozen=True)
class Subgroup:
    """Films that share a value of an attribute (or of two, joined by " & ").

    `auc`, `sensitivity` and `specificity` hold an estimate for each label; the rates are empty without
    thresholds.
    """

    attribute: str
    value: str
    films: int
    patients: int
    macro_auc: Estimate
    auc: dict[str, Estimate]
    sensitivity: dict[str, Estimate]
    specificity: dict[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        measures = {
            measure: {name: estimate.as_dict() for name, estimate in getattr(self, measure).items()}
            for measure in ("auc", "sensitivity", "specificity")
        }
        return {
            "attribute": self.attribute,
            "value": self.value,
            "films": self.films,
            "patients": self.patients,
            "macro_auc": self.macro_auc.as_dict(),
            **measures,
        }

    def row(self) -> dict[str, Any]:
        """A flat row for printing: the macro AUC with its interval, and what it leaves out."""
        return {
            "attribute": self.attribute,
            "value": self.value,
            "films": self.films,
            "patients": self.patients,
            "macro_auc": finite(self.macro_auc.value),
            "low": finite(self.macro_auc.low),
            "high": finite(self.macro_auc.high),
            "note": self.macro_auc.note,
        }


@dataclass(frozen=True)
class OverlapSubgroup:
    """Films with masks that share a value of an attribute (or of two, joined by " & ")."""

    attribute: str
    value: str
    overlap: OverlapSummary

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"attribute": self.attribute, "value": self.value, **self.overlap.as_dict()}


def subgroup_table(
    truth: ArrayLike,
    scores: ArrayLike,
    attributes: Mapping[str, ArrayLike],
    thresholds: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
) -> tuple[Subgroup, ...]:
    """Every value of every attribute, then every pair of values of every two attributes, as far as films have
    it.

    Parameters
    ----------
    truth: (n, labels) in {0, 1, NaN}; exclusive classes as one column each.
    scores: (n, labels).
    attributes: a name ("sex", "age", "view") to (n,) values; None, "" and NaN become "unknown".
    thresholds: (labels,), for the rates.
    groups: (n,) patients.

    A macro AUC covers only the labels that have films enough in its subgroup, and its note names the others:
    compare two subgroups' macro AUCs only where the notes agree, else compare label by label.
    """
    labels, values = as_pair(truth, scores)
    called = label_names(names, labels.shape[1])
    patients = as_clusters(groups, len(labels))[0]
    table = []
    for attribute, value, films in _divided(attributes, len(labels)):
        ranked = delong.delong(labels[films], values[films], patients[films])
        areas = delong.estimates_of(ranked, confidence)
        rates: dict[str, dict[str, Estimate]] = {"sensitivity": {}, "specificity": {}}
        if thresholds is not None:
            found = confusion.call(values[films], thresholds)
            each = confusion.rate_estimates(labels[films], found, patients[films], confidence=confidence)
            rates = {rate: {n: label[rate] for n, label in zip(called, each, strict=True)} for rate in rates}
        table.append(
            Subgroup(
                attribute,
                value,
                int(films.sum()),
                len(np.unique(patients[films])),
                delong.macro_of(ranked, called, confidence),
                dict(zip(called, areas, strict=True)),
                **rates,
            )
        )
    return tuple(table)


def overlap_subgroups(
    scores: Sequence[OverlapScores],
    attributes: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    *,
    unit: str = "pixel",
    confidence: float = 0.95,
) -> tuple[OverlapSubgroup, ...]:
    """`subgroup_table` of masks: `scores` a film each; attributes, groups and the order as there."""
    patients = as_clusters(groups, len(scores))[0]
    return tuple(
        OverlapSubgroup(
            attribute,
            value,
            summarise_overlap(
                [score for score, inside in zip(scores, films, strict=True) if inside],
                patients[films],
                unit=unit,
                confidence=confidence,
            ),
        )
        for attribute, value, films in _divided(attributes, len(scores))
    )


def _divided(attributes: Mapping[str, ArrayLike], n: int) -> Iterator[tuple[str, str, Bools]]:
    """Every value of every attribute and of every pair of attributes, with the films (n,) that have it."""
    columns = {name: _named(column, name, n) for name, column in attributes.items()}
    for (one, first), (other, second) in combinations(list(columns.items()), 2):
        columns[f"{one} & {other}"] = np.char.add(np.char.add(first, " & "), second)
    for attribute, column in columns.items():
        for value in np.unique(column):
            yield attribute, str(value), column == value


def age_bands(ages: ArrayLike, edges: Sequence[float] = AGE_EDGES) -> NDArray[np.str_]:
    """Ages in years (n,) as names of bands: "00-17", "18-39", "40-59", "60-79", "80+"; NaN and negative:
    "unknown".

    Each band takes its lower edge in and its upper edge out.
    """
    years = np.asarray(ages, np.float64)
    starts = np.asarray(edges)
    names = [f"{low:02g}-{high - 1:02g}" for low, high in pairwise(starts)]
    names.append(f"{starts[-1]:g}+")
    number = np.searchsorted(starts, years, side="right") - 1
    known = ~np.isnan(years) & (number >= 0)
    return np.where(known, np.array(names)[np.clip(number, 0, len(names) - 1)], UNKNOWN)


def _named(values: ArrayLike, attribute: str, n: int) -> NDArray[np.str_]:
    column = np.asarray(values)
    if column.shape != (n,):
        raise EvaluationError(f"attribute '{attribute}' is {column.shape} for {n} films")
    missing = {"", "None", "nan"}
    return np.array([UNKNOWN if str(value) in missing else str(value) for value in column], dtype=np.str_)
