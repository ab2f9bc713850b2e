"""How well labels from text agree with the headings that people gave the same reports (Open-I's MeSH tags).

Reports are dealt into two halves by their names. Rules may be changed by what is seen in the half `development`;
`held-out` is only counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hilum.datasets.report_files import Report
from hilum.datasets.report_labels import ReportLabels
from hilum.errors import DataError
from hilum.evaluation import confusion
from hilum.evaluation.arrays import Floats
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.label_summary import Draw
from hilum.findings import NIH14

HALVES = ("development", "held-out")
VALUES = ("positive", "uncertain", "negated", None)
READINGS = {"uncertain as positive": ("positive", "uncertain"), "uncertain as negative": ("positive",)}
RATES = ("sensitivity", "specificity", "precision")
PLACE = Path(__file__).with_name("report_tags.yaml")


def half(name: str) -> str:
    """The half that a report of this name belongs to: the first bit of the SHA-256 of the name."""
    return HALVES[hashlib.sha256(name.encode()).digest()[0] >> 7]


def tagged(tags: Sequence[str]) -> dict[str, bool] | None:
    """Whether the headings of a report name each of `NIH14`; None where it was not tagged at all."""
    given = [_parts(tag) for tag in tags]
    known = _headings()
    if not given or any(parts[:1] in known["untagged"] for parts in given):
        return None
    return {
        finding: any(parts[: len(heading)] == heading for parts in given for heading in known[finding])
        for finding in NIH14
    }


def unknown_tags(tags: Sequence[str]) -> list[str]:
    """Headings of a report that `report_tags.yaml` does not know."""
    known = {heading[0] for headings in _headings().values() for heading in headings}
    return [tag for tag in tags if _parts(tag)[0] not in known]


def score(
    reports: Sequence[Report],
    labels: Mapping[str, ReportLabels],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """What labels and tags say of the same reports, by half: plain values for JSON.

    For each finding: `cells` (how many tagged and untagged reports have each value), `rates` by reading of uncertain
    (sensitivity, specificity and precision with Wilson's intervals, F1 with an interval from drawing reports), and
    averages of F1. Reports with a note (no text, another language), and untagged ones, are counted and left out.

    Raises DataError where no report has tags.
    """
    truth = {r.name: tagged(r.tags) for r in reports if r.tags is not None}
    if not any(truth.values()):
        raise DataError(
            "no report has tags to be scored against",
            mend="Open-I's XML files have, and tables with a MeSH column.",
        )
    strange = Counter(tag for r in reports for tag in unknown_tags(r.tags or ()))
    parts = {name: [r for r in reports if half(r.name) == name] for name in HALVES}
    return {
        "unknown_tags": dict(strange.most_common()),
        "replicates": replicates,
        "seed": seed,
        "halves": {
            name: _scored(part, labels, truth, Draw(replicates, seed, 0.95)) for name, part in parts.items()
        },
    }


def _scored(
    reports: Sequence[Report],
    labels: Mapping[str, ReportLabels],
    truth: Mapping[str, dict[str, bool] | None],
    draw: Draw,
) -> dict[str, Any]:
    without_text = [r for r in reports if labels[r.name].note]
    untagged = [r for r in reports if not labels[r.name].note and truth.get(r.name) is None]
    rows = [
        (labels[r.name].values, t) for r in reports if not labels[r.name].note and (t := truth.get(r.name))
    ]
    actual = np.array([[t[f] for f in NIH14] for _, t in rows], np.float64).reshape(-1, len(NIH14))
    cells = {
        finding: {
            str(value or "not mentioned"): [
                sum(v[finding] == value and t[finding] is there for v, t in rows) for there in (True, False)
            ]
            for value in VALUES
        }
        for finding in NIH14
    }
    found: dict[str, Any] = {
        "reports": len(reports),
        "without_text": len(without_text),
        "untagged": len(untagged),
        "scored": len(rows),
        "cells": cells,
        "readings": {},
    }
    for reading, values in READINGS.items():
        called = np.array([[v[f] in values for f in NIH14] for v, _ in rows], bool).reshape(-1, len(NIH14))
        found["readings"][reading] = _rates(actual, called, draw)
    return found


def _rates(actual: Floats, called: Any, draw: Draw) -> dict[str, Any]:
    if not len(actual):
        return {}
    cells = confusion.cells(actual, called)

    def f1(weights: Floats) -> Floats:
        counts = confusion.weighted_count(cells, weights)
        return np.column_stack([counts.f1, confusion.macro(counts.f1), counts.pooled().f1])

    drawn = draw.estimates((*NIH14, "macro", "micro"), f1, len(actual), None)
    rates = confusion.rate_estimates(actual, called)
    return {
        "findings": {
            finding: {**{rate: each[rate].as_dict() for rate in RATES}, "f1": drawn[finding].as_dict()}
            for finding, each in zip(NIH14, rates, strict=True)
        },
        "macro_f1": drawn["macro"].as_dict(),
        "micro_f1": drawn["micro"].as_dict(),
    }


def _parts(tag: str) -> tuple[str, ...]:
    """`Cardiac Shadow/enlarged/mild` in its parts, in lower case; the spaces of some headings are doubled."""
    return tuple(" ".join(part.split()).lower() for part in tag.split("/"))


@cache
def _headings() -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """Each finding's headings in their parts; under `untagged` and `others` those that are none."""
    page = yaml.safe_load(PLACE.read_text(encoding="utf-8"))
    every = {**page["findings"], "untagged": page["untagged"], "others": page["others"]}
    return {name: tuple(_parts(heading) for heading in headings) for name, headings in every.items()}
