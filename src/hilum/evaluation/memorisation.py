"""Whether a generator gives back films that it learnt from: how near its films come to them, and how near strangers come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, Ints, as_clusters
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.generation import features

REPLICATES = 1_000
PERCENTILES = (1.0, 5.0)
CHUNK = 256


@dataclass(frozen=True)
class Memorisation:
    """How near synthetic films come to training films.

    Attributes
    ----------
    nearer: by percentile p, the share of synthetic films that are nearer to a training film than p % of the held-out films
        are; p / 100 where synthetic films are as far away as strangers' are, 1 where all are copies.
    distance, held_out: the distance of each synthetic (n,) and each held-out film (m,) to its nearest training film.
    nearest: (n,) which training film that is.
    """

    nearer: dict[float, Estimate]
    distance: Floats
    held_out: Floats
    nearest: Ints


def memorisation(
    synthetic: ArrayLike,
    training: ArrayLike,
    held_out: ArrayLike,
    patients: ArrayLike | None = None,
    *,
    percentiles: Sequence[float] = PERCENTILES,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Memorisation:
    """Features (n, d), (t, d) and (m, d); `patients` (m,) of the held-out films. Distances are Euclidean.

    Intervals: a bootstrap over synthetic films and over held-out patients at once, for the percentile is an estimate too.
    """
    made, learnt, strangers = features(synthetic), features(training), features(held_out)
    if len({x.shape[1] for x in (made, learnt, strangers)}) > 1:
        raise EvaluationError("synthetic, training and held-out films have unlike numbers of features")
    distance, nearest = nearest_of(made, learnt)
    other, _ = nearest_of(strangers, learnt)
    groups, count = as_clusters(patients, len(other))
    chance = np.random.default_rng(seed)
    drawn = {p: np.empty(replicates) for p in percentiles}
    for i in range(replicates):
        times = np.bincount(chance.integers(count, size=count), minlength=count)[groups]
        there = np.repeat(other, times)
        some = distance[chance.integers(len(distance), size=len(distance))]
        for p in percentiles:
            drawn[p][i] = (some < np.percentile(there, p)).mean()
    nearer = {}
    for p in percentiles:
        value = float((distance < np.percentile(other, p)).mean())
        low, high = np.percentile(drawn[p], (2.5, 97.5))
        nearer[p] = Estimate(
            value,
            min(value, float(low)),
            max(value, float(high)),
            len(distance),
            method="bootstrap, held-out by patient",
        )
    return Memorisation(nearer, distance, other, nearest)


def nearest_of(points: Floats, among: Floats) -> tuple[Floats, Ints]:
    """The distance (n,) of each of `points` (n, d) to the nearest of `among` (t, d), and which that is (n,)."""
    distance, which = np.empty(len(points)), np.empty(len(points), np.int64)
    for start in range(0, len(points), CHUNK):
        table = cdist(points[start : start + CHUNK], among)
        rows = slice(start, start + len(table))
        which[rows] = table.argmin(1)
        distance[rows] = table.min(1)
    return distance, which
