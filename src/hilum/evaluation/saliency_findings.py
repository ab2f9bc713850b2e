"""Scores of heatmaps by finding, with a note where a low share of heat in the lungs is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import EvaluationError
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.saliency import Score, summarise_scores
from hilum.findings import VOCABULARY

BY_NATURE = "lies at least partly outside the lungs by nature: a low share of heat in them is no fault"

Summarise = Callable[[Sequence[Score], NDArray[np.generic] | None], Estimate]


def by_finding(
    findings: Sequence[str],
    scores: Sequence[Score],
    patients: ArrayLike | None = None,
    *,
    summarise: Summarise = summarise_scores,
) -> dict[str, Estimate]:
    """One model's scores of many films and findings to an estimate with interval for each finding.

    Parameters
    ----------
    findings, scores, patients: one entry a heatmap: of which finding it is, its score, whose film it is.
    summarise: `summarise_scores` (the mean over patients), `hit_rate` of the pointing game, or either with options bound.

    Findings stand in the order in which they first come. One that lies outside the lungs by nature (`outside_lungs` in the
    vocabulary) says so in its note, beside what was left out. Raises EvaluationError where lengths differ. Two models on the
    same films are compared by the same call on their `differences`.
    """
    names = np.asarray(findings)
    people = None if patients is None else np.asarray(patients)
    if len(names) != len(scores) or (people is not None and len(people) != len(scores)):
        raise EvaluationError(
            f"{len(names)} findings and {'no' if people is None else len(people)} patients for {len(scores)} scores",
            mend="Give one of each a heatmap.",
        )
    found = {}
    for name in dict.fromkeys(findings):
        rows = np.flatnonzero(names == name)
        estimate = summarise([scores[i] for i in rows.tolist()], None if people is None else people[rows])
        known = VOCABULARY.get(name)
        if known is not None and known.outside_lungs:
            estimate = replace(estimate, note="; ".join(n for n in (estimate.note, BY_NATURE) if n))
        found[name] = estimate
    return found
