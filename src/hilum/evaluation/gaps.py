"""The gap between the best and the worst subgroup, over the labels that all of them can be compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation import delong
from hilum.evaluation.arrays import as_clusters, as_pair, label_names
from hilum.evaluation.estimate import NAN, Estimate

FEWEST_FILMS, FEWEST_PATIENTS = 25, 10
"""A subgroup with fewer is named and not compared."""


@dataclass(frozen=True)
class Gap:
    """Best less worst subgroup by macro AUC.

    Attributes
    ----------
    gap: its interval is widened (Bonferroni) for the pairs that best and worst were chosen among; undefined says why.
    best, worst: the values. macro: each compared value's macro AUC over `labels`, those with an AUC and an interval in all.
    too_small: values not compared, with how many films they have.
    """

    gap: Estimate
    best: str
    worst: str
    macro: dict[str, float]
    labels: tuple[str, ...]
    too_small: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "gap": self.gap.as_dict(), "labels": list(self.labels)}


def gap(
    truth: ArrayLike,
    scores: ArrayLike,
    values: Sequence[str | None],
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
) -> Gap:
    """How far the best and the worst value of an attribute are apart.

    Parameters
    ----------
    truth, scores: (n, labels), truth in {0, 1, NaN}. values: a name a film, None unknown (left out). groups: (n,) patients.

    All AUCs come from one `delong`, so that patients with films in two subgroups are known to it.
    """
    labels, score = as_pair(truth, scores)
    called = label_names(names, labels.shape[1])
    cluster, _ = as_clusters(groups, len(labels))
    named = np.array(["" if value is None else str(value) for value in values])
    large, small = [], {}
    for value in np.unique(named[named != ""]):
        films = named == value
        if films.sum() >= FEWEST_FILMS and len(np.unique(cluster[films])) >= FEWEST_PATIENTS:
            large.append(str(value))
        else:
            small[str(value)] = int(films.sum())
    n = int(np.isin(named, large).sum())
    if len(large) < 2:
        note = f"fewer than two subgroups have {FEWEST_FILMS} films of {FEWEST_PATIENTS} patients"
        return Gap(Estimate.undefined(note, n), "", "", {}, (), small)
    columns = np.hstack([np.where((named == value)[:, None], labels, NAN) for value in large])
    ranked = delong.delong(columns, np.tile(score, len(large)), cluster)
    sure = ~np.isnan(np.diag(ranked.covariance)).reshape(len(large), -1)
    shared = np.asarray(sure.all(0))
    if not shared.any():
        note = "no label has two positive and two negative patients in every subgroup"
        return Gap(Estimate.undefined(note, n), "", "", {}, (), small)
    macro = ranked.auc.reshape(len(large), -1)[:, shared].mean(1)
    best, worst = int(macro.argmax()), int(macro.argmin())
    contrast = np.zeros(sure.shape)
    contrast[best, shared] += 1 / shared.sum()
    contrast[worst, shared] -= 1 / shared.sum()
    pairs = len(large) * (len(large) - 1) / 2
    found = delong.weighted(ranked, contrast.ravel(), n, None, confidence=1 - (1 - confidence) / pairs)
    estimate = replace(found, method=f"{ranked.method}, {pairs:.0f} pairs")
    return Gap(
        estimate,
        large[best],
        large[worst],
        {value: float(m) for value, m in zip(large, macro, strict=True)},
        tuple(name for name, kept in zip(called, shared, strict=True) if kept),
        small,
    )
