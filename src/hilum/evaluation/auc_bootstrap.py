"""Bootstrap of AUCs by patient, all replicates at once. Exact: each replicate is the AUC of the films drawn.

An AUC under weights is, over positive films, their weight times the weight of the negatives below them. The films are
sorted once a label. A sparse matrix with a row for each distinct positive score then says how many negatives a patient
has between that score and the one before; times the draws of patients, and summed down the rows, it is the weight of
negatives below each positive score in every replicate. No film is copied and nothing is sorted again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from hilum.evaluation.arrays import Floats, Ints, as_clusters, as_pair
from hilum.evaluation.bootstrap import REPLICATES, cluster_draws, percentile_estimate
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.ranking import auc

# Draws of a block stay in the processor's cache: about 1 MB.
_BLOCK_VALUES = 250_000
# Whole and half numbers up to here are exact in float32, which is twice as fast as float64.
_EXACT = 2**22


def auc_replicates(
    truth: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Floats:
    """AUCs of each replicate, (replicates, labels); NaN where a replicate lacks positives or negatives.

    Truth (n, labels) in {0, 1, NaN}, scores (n, labels), groups (n,) patients, drawn as `bootstrap.replicate_weights`
    draws them with the same seed: all labels of a replicate are of the same patients.
    """
    labels, values = as_pair(truth, scores)
    cluster, count = as_clusters(groups, len(labels))
    ranked = [_Ranked.of(t, s, cluster, count) for t, s in zip(labels.T, values.T, strict=True)]
    most = int(np.bincount(cluster, minlength=1).max()) * count  # no draw can weigh more films than this
    kind = np.float32 if most < _EXACT else np.float64
    block = max(1, min(replicates, _BLOCK_VALUES // max(count, 1)))
    drawn = []
    for times in cluster_draws(count, replicates, seed, block):
        weights = np.ascontiguousarray(times.T, kind)
        drawn.append(np.column_stack([label.areas(weights) for label in ranked]))
    return np.concatenate(drawn)


def bootstrap_auc(
    truth: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[Estimate, ...]:
    """The AUC of each label with a percentile interval by drawing patients; arrays as in `auc_replicates`.

    `delong.auc_estimates` gives an interval without drawing, and better ones for few positives; this one is for those
    who ask for a bootstrap, and for statistics of several AUCs, which have the replicates at hand.
    """
    labels, values = as_pair(truth, scores)
    drawn = auc_replicates(labels, values, groups, replicates=replicates, seed=seed)
    return tuple(
        percentile_estimate(
            float(area),
            column,
            int((~np.isnan(label)).sum()),
            positives=int((label == 1).sum()),
            by_patient=groups is not None,
            confidence=confidence,
        )
        for area, column, label in zip(auc(labels, values), drawn.T, labels.T, strict=True)
    )


@dataclass(frozen=True)
class _Ranked:
    """One label's films, sorted once: matrices (distinct positive scores, patients).

    positives: films with this score. negatives: those between this score and the one before; one that ties with a
    positive score counts half for it and half for the next.
    """

    positives: csr_array
    negatives: csr_array
    all_negatives: csr_array

    @classmethod
    def of(cls, truth: Floats, scores: Floats, cluster: Ints, count: int) -> _Ranked:
        positive, negative = truth == 1, truth == 0
        distinct, row = np.unique(scores[positive], return_inverse=True)
        shape = (len(distinct), count)
        # The first positive score not below a negative, and the first above it: the same but for ties.
        above = [np.searchsorted(distinct, scores[negative], side) for side in ("left", "right")]
        owner = cluster[negative]
        return cls(
            positives=_matrix(row, cluster[positive], 1.0, shape),
            negatives=_matrix(np.concatenate(above), np.concatenate([owner, owner]), 0.5, shape),
            all_negatives=_matrix(np.zeros(len(owner), np.int64), owner, 1.0, (1, count)),
        )

    def areas(self, weights: np.ndarray) -> Floats:
        """AUCs of (patients, replicates) draws: (replicates,)."""
        own = self.positives.astype(weights.dtype) @ weights
        below = np.cumsum(self.negatives.astype(weights.dtype) @ weights, axis=0, dtype=np.float64)
        pairs = own.sum(0, dtype=np.float64) * (self.all_negatives @ weights)[0].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pairs > 0, (own * below).sum(0) / pairs, np.nan)


def _matrix(row: Ints, column: Ints, value: float, shape: tuple[int, int]) -> csr_array:
    """Sums of `value` at each (row, column); rows past the last are left out."""
    kept = row < shape[0]
    data = np.full(int(kept.sum()), value, np.float32)
    return csr_array((data, (row[kept], column[kept])), shape=shape)
