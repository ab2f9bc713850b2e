"""Intervals for any statistic by drawing patients with replacement (the clustered bootstrap)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation.arrays import Floats, Ints, as_clusters
from hilum.evaluation.estimate import NAN, Estimate

REPLICATES = 1000
# Weight matrices are made a block at a time, so that memory stays near 32 MB for any number of films.
_BLOCK_VALUES = 4_000_000


def replicate_weights(
    n: int, groups: ArrayLike | None = None, replicates: int = REPLICATES, seed: int = 0
) -> Iterator[Floats]:
    """Blocks (some replicates, n) of how often each film is drawn when patients are drawn with replacement.

    A statistic that takes weights sees all replicates of a block in a few array operations.
    """
    cluster, count = as_clusters(groups, n)
    block = max(1, _BLOCK_VALUES // max(n, 1))
    for times in cluster_draws(count, replicates, seed, block):
        yield times.astype(np.float64)[:, cluster]


def cluster_draws(count: int, replicates: int, seed: int, block: int) -> Iterator[Ints]:
    """Blocks (at most `block` replicates, count) of how often each of `count` patients is drawn.

    The draws depend on the seed alone, not on the size of the blocks.
    """
    random = np.random.default_rng(seed)
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        drawn = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)


def bootstrap_weighted(
    statistic: Callable[[Floats], Floats],
    n: int,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Floats:
    """Replicates of a statistic of weights: (b, n) in, (b,) or (b, k) out; all blocks stacked."""
    return np.concatenate([statistic(block) for block in replicate_weights(n, groups, replicates, seed)])


def bootstrap(
    statistic: Callable[[Ints], float],
    n: int,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Percentile interval of any statistic of film numbers.

    Parameters
    ----------
    statistic: takes film numbers (m,), some repeated, and gives a number, or NaN where they leave it
        undefined.
    n: number of films.
    groups: (n,) patients; without them films are drawn.
    """
    value = float(statistic(np.arange(n)))
    drawn = [
        statistic(np.repeat(np.arange(n), weights.astype(np.int64)))
        for block in replicate_weights(n, groups, replicates, seed)
        for weights in block
    ]
    return percentile_estimate(
        value, np.array(drawn, np.float64), n, by_patient=groups is not None, confidence=confidence
    )


def percentile_estimate(
    value: float,
    replicates: ArrayLike,
    n: int,
    *,
    positives: int | None = None,
    by_patient: bool = False,
    confidence: float = 0.95,
) -> Estimate:
    """The percentile interval of replicates (b,); undefined ones are left out and counted in the note.

    With more than half of them undefined there is no interval.
    """
    drawn = np.asarray(replicates, np.float64)
    method = "bootstrap by patient" if by_patient else "bootstrap"
    if np.isnan(value):
        return Estimate.undefined("undefined on these films", n, positives, method)
    defined = drawn[~np.isnan(drawn)]
    missing = len(drawn) - len(defined)
    note = f"{missing} of {len(drawn)} replicates undefined" if missing else ""
    if 2 * missing > len(drawn) or len(defined) < 2:
        return Estimate(value, NAN, NAN, n, positives, method, note or "too few replicates")
    low, high = np.quantile(defined, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(value, float(low), float(high), n, positives, method, note)


def mean_over_patients(
    values: ArrayLike,
    patients: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """The mean over patients of each patient's mean over films, with an interval from drawing patients.

    values: (n,), one a film; NaN is left out and counted in the note. Without `patients` each film is its own.
    """
    scores = np.asarray(values, np.float64)
    cluster, count = as_clusters(patients, len(scores))
    known = ~np.isnan(scores)
    films = np.bincount(cluster[known], minlength=count)
    sums = np.bincount(cluster[known], scores[known], minlength=count)
    measured = films > 0
    by_patient = np.divide(sums, films, out=np.zeros(count), where=measured)

    def mean(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            means: Floats = (weights @ by_patient) / (weights @ measured)
            return means

    value = float(mean(np.ones((1, count)))[0]) if count else NAN
    drawn = bootstrap_weighted(mean, count, replicates=replicates, seed=seed) if count else np.empty(0)
    found = percentile_estimate(
        value, drawn, int(known.sum()), by_patient=patients is not None, confidence=confidence
    )
    missing = len(scores) - found.n
    note = f"{missing} films without a value left out" if missing else found.note
    if measured.sum() != 1:
        return replace(found, note=note)
    # Drawing the only patient again and again does not show how another would have scored.
    return replace(found, low=NAN, high=NAN, note="; ".join(filter(None, (note, "one patient"))))


def centred(value: float, replicates: ArrayLike) -> Floats:
    """Replicates shifted so that their median is the value, floored at 0.

    For statistics that are absolute values of noise (calibration error), every replicate lies above the value
    it was drawn from, and the plain percentile interval can miss its own estimate.
    """
    drawn = np.asarray(replicates, np.float64)
    if np.isnan(value) or np.all(np.isnan(drawn)):
        return drawn
    return np.maximum(0.0, drawn - (np.nanmedian(drawn) - value))
