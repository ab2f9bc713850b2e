"""How far readers agree: kappa over films, and the overlap of the boxes that two of them drew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array

from hilum.boxes import as_boxes, iou, paired_iou
from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, Ints, as_truth
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, percentile_estimate
from hilum.evaluation.estimate import Estimate


def cohen_kappa(
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Cohen's kappa of two readers (Cohen 1960): agreement beyond what their own rates give by chance.

    Parameters
    ----------
    first, second: (n,) marks of each reader, 1, 0, or NaN where one did not read the film. Or (n, k), a column a
        finding (or a pair of readers): then each column has its own chance, and the columns are pooled (De Vries et
        al., Field Methods 20, 2008), sum(n (p_o - p_e)) / sum(n (1 - p_e)) with n the films read by both.
    groups: (n,) patients, drawn as a whole; without them films are drawn.

    Undefined where chance alone agrees always: nobody marks anything, or everybody everything.
    """
    a, b = as_truth(first), as_truth(second)
    if a.shape != b.shape:
        raise EvaluationError(f"marks of shape {a.shape} beside {b.shape}")
    known = ~(np.isnan(a) | np.isnan(b))
    # Sparse: of many pairs of readers each film has few, and most findings are absent.
    both, one, two = (csr_array(known & (marks == 1), dtype=np.float64) for marks in (a * b, a, b))
    read = csr_array(known, dtype=np.float64)

    def kappa(weights: Floats) -> Floats:
        n = weights @ read
        with np.errstate(invalid="ignore", divide="ignore"):
            p, q, pq = (weights @ one) / n, (weights @ two) / n, (weights @ both) / n
            agreed, chance = 1 - p - q + 2 * pq, p * q + (1 - p) * (1 - q)
            return _beyond_chance(np.where(n > 0, n * agreed, 0), np.where(n > 0, n * chance, 0), n)

    positives = int(np.where(known, (a == 1) | (b == 1), False).any(1).sum())
    return _estimate(kappa, len(a), int(known.any(1).sum()), groups, replicates, seed, confidence, positives)


def fleiss_kappa(
    counts: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Fleiss' kappa (Fleiss 1971) of films that were each read by the same number of readers, not always the same ones.

    counts: (n, categories), how many of a film's readers chose each category; every row has one sum, of 2 or more.
    groups: (n,) patients. Undefined where one category holds everything.
    """
    table = np.asarray(counts, np.float64)
    if table.ndim != 2:
        raise EvaluationError(f"counts of shape {table.shape}", mend="Give (films, categories).")
    readers = table.sum(1)
    if len(table) and (np.any(readers != readers[0]) or readers[0] < 2 or np.any(table < 0)):
        mend = "Leave out the films that others have read more often."
        raise EvaluationError("films with different numbers of readers, or fewer than two", mend=mend)
    m = readers[0] if len(table) else 2.0
    agreed = ((table**2).sum(1) - m) / (m * (m - 1))

    def kappa(weights: Floats) -> Floats:
        n = weights.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = weights @ table / (m * n)[:, None]
            chance = (shares**2).sum(1)
            return _beyond_chance((weights @ agreed)[:, None], (n * chance)[:, None], n[:, None])

    return _estimate(kappa, len(table), len(table), groups, replicates, seed, confidence, None)


def ratio_of_sums(
    parts: ArrayLike,
    wholes: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Sum of parts over sum of wholes, both (n,) a film, with an interval from drawing films (or patients).

    The mean over boxes where films have different numbers of them. Films whose whole is 0 say nothing and are not drawn.
    """
    part, whole = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    told = whole > 0
    both = np.stack([part, whole], 1)[told]
    groups = None if groups is None else np.asarray(groups)[told]

    def ratio(weights: Floats) -> Floats:
        sums = weights @ both
        return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)

    return _estimate(ratio, len(both), len(both), groups, replicates, seed, confidence, None)


def match(
    first: ArrayLike, second: ArrayLike, first_groups: ArrayLike, second_groups: ArrayLike
) -> tuple[Ints, Ints, Floats]:
    """Boxes of two readers, each with at most one of the other's in its group, so that the sum of IoU is the greatest.

    Parameters
    ----------
    first (n, 4), second (m, 4): boxes; first_groups (n,), second_groups (m,): whole numbers, film and finding of each.

    Returns
    -------
    rows of `first` (k,), rows of `second` (k,), and their IoU (k,), above 0: boxes that do not meet are no match.
    """
    a, b = as_boxes(first), as_boxes(second)
    left, right = np.asarray(first_groups, np.int64), np.asarray(second_groups, np.int64)
    by_left, by_right = np.argsort(left, kind="stable"), np.argsort(right, kind="stable")
    both = np.intersect1d(left, right)
    starts, ends = (np.searchsorted(left[by_left], both, side) for side in ("left", "right"))
    begins, stops = (np.searchsorted(right[by_right], both, side) for side in ("left", "right"))
    single = (ends - starts == 1) & (stops - begins == 1)
    rows, columns = [by_left[starts[single]]], [by_right[begins[single]]]
    overlap = [paired_iou(a[rows[0]], b[columns[0]])]
    for cell in np.flatnonzero(~single):
        here, there = by_left[starts[cell] : ends[cell]], by_right[begins[cell] : stops[cell]]
        each = iou(a[here], b[there])
        i, j = linear_sum_assignment(each, maximize=True)
        rows.append(here[i])
        columns.append(there[j])
        overlap.append(each[i, j])
    found = np.concatenate(overlap)
    meets = found > 0
    return np.concatenate(rows)[meets], np.concatenate(columns)[meets], found[meets]


def _beyond_chance(agreed: Floats, chance: Floats, n: Floats) -> Floats:
    """(sum of agreement less chance) / (sum of n less chance) over columns; NaN where nothing is left to chance."""
    room = (n - chance).sum(1)
    # Rounding leaves some 1e-16 of room where there is none.
    return np.divide(
        (agreed - chance).sum(1), room, out=np.full(len(room), np.nan), where=room > 1e-9 * n.sum(1)
    )


def _estimate(
    statistic: Callable[[Floats], Floats],
    n: int,
    counted: int,
    groups: ArrayLike | None,
    replicates: int,
    seed: int,
    confidence: float,
    positives: int | None,
) -> Estimate:
    if n == 0:
        return Estimate.undefined("no films to count", 0, positives, "bootstrap")
    value = float(statistic(np.ones((1, n)))[0])
    if np.isnan(value):
        return Estimate.undefined("undefined on these films", counted, positives, "bootstrap")
    drawn = bootstrap_weighted(statistic, n, groups, replicates=replicates, seed=seed)
    return percentile_estimate(
        value, drawn, counted, positives=positives, by_patient=groups is not None, confidence=confidence
    )
