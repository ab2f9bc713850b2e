"""F1 of findings that may stand together, averaged over findings: each alike (macro), or by how many films have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation import confusion
from hilum.evaluation.arrays import Floats, as_clusters, as_pair, label_names
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.estimate import NAN, Estimate
from hilum.evaluation.label_summary import Draw


@dataclass(frozen=True)
class F1Scores:
    """`weighted` by each label's films (scikit-learn's `average='weighted'`); `macro`, labels without a positive film and
    without a call left out (its `zero_division=nan`); `each` by label.
    """

    weighted: Estimate
    macro: Estimate
    each: dict[str, Estimate]


def f1_scores(
    truth: ArrayLike,
    called: ArrayLike,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> F1Scores:
    """F1 with intervals by drawing patients; all of a replicate are of the same patients.

    truth (n, labels) in {0, 1, NaN}, unknown labels not counted; called (n, labels) booleans, at thresholds chosen on other
    films; groups (n,) patients.
    """
    labels, calls = as_pair(truth, np.asarray(called, np.float64))
    called_so = label_names(names, labels.shape[1])
    cells = confusion.cells(labels, calls == 1)

    def scores(weights: Floats) -> Floats:
        counts = confusion.weighted_count(cells, weights)
        whole = confusion.macro(counts.f1, counts.support), confusion.macro(counts.f1)
        return np.column_stack([*whole, counts.f1])

    cluster, _ = as_clusters(groups, len(labels))
    keys = ("weighted", "macro", *(f"of {name}" for name in called_so))
    found = Draw(replicates, seed, confidence).estimates(keys, scores, len(labels), groups)
    each = {}
    for name, column in zip(called_so, labels.T, strict=True):
        known, positives = int((~np.isnan(column)).sum()), int((column == 1).sum())
        one = replace(found[f"of {name}"], n=known, positives=positives)
        if len(np.unique(cluster[column == 1])) < 2:
            # Drawing the only patient again and again does not show how another would have scored.
            one = replace(one, low=NAN, high=NAN, note="fewer than two positive patients")
        each[name] = one
    return F1Scores(found["weighted"], found["macro"], each)
