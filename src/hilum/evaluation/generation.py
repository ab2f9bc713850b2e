"""How good a set of synthetic films is: FID, KID, density and coverage, on features of synthetic and of real films.

All take features (n, d) of whatever network; a figure means nothing without that network's name, the size of the films and
how many there are. Intervals by half-samples: the figure is taken again of halves of both sets, drawn without replacement
(real films by patient). The deviation of a mean over a half drawn so is that of the mean over the whole, so the deviation of
the figure over halves stands for that of the figure over all (McCarthy 1969; Politis and Romano 1994).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, Ints, as_clusters
from hilum.evaluation.estimate import Estimate, proportion, quantile_of_normal

HALVES = 100
NEIGHBOURS = 5
"""k of density and coverage, as Naeem et al. 2020 choose it."""

Figure = Callable[[Floats, Floats], float]


@dataclass(frozen=True)
class Closeness:
    """How close synthetic films (n, d) come to real ones. Fields are `Estimate`s; n counts the synthetic films."""

    fid: Estimate
    kid: Estimate
    density: Estimate
    coverage: Estimate


def closeness(
    synthetic: ArrayLike,
    real: ArrayLike,
    patients: ArrayLike | None = None,
    *,
    neighbours: int = NEIGHBOURS,
    halves: int = HALVES,
    seed: int = 0,
) -> Closeness:
    """All figures of synthetic films (n, d) beside real ones (m, d), whose patients are `patients` (m,)."""
    a, b = features(synthetic), features(real)
    if a.shape[1] != b.shape[1]:
        raise EvaluationError(f"synthetic films have {a.shape[1]} features, real ones {b.shape[1]}")
    groups, count = as_clusters(patients, len(b))
    dense, covered = density_and_coverage(a, b, neighbours)
    return Closeness(
        fid=_halved(frechet_distance, a, b, groups, count, halves, seed, "FID"),
        kid=_halved(kernel_distance, a, b, groups, count, halves, seed, "KID"),
        density=_mean(dense, "density"),
        coverage=proportion(covered, patients),
    )


def frechet_distance(synthetic: ArrayLike, real: ArrayLike) -> float:
    """||m1 - m2||^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of means and covariances (Heusel 2017; Dowson and Landau 1982).

    With A and B the centred features over the root of n - 1, C1 C2 has the non-zero eigenvalues of (A B')(A B')', so that
    the trace of its root is the sum of the singular values of A B', an n x m matrix: exact, and well-conditioned with
    fewer films than features. It falls as films are added, to a limit: compare only figures of as many films.
    """
    a, b = features(synthetic), features(real)
    shift = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    first, second = ((x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (a, b))
    if (
        len(a) * len(b) > a.shape[1] ** 2
    ):  # fewer features than films: the roots of the covariances are smaller
        first, second = (np.linalg.qr(x, mode="r") for x in (first, second))
    shared = float(np.linalg.svd(first @ second.T, compute_uv=False).sum())
    return max(0.0, shift + float((first**2).sum()) + float((second**2).sum()) - 2 * shared)


def kernel_distance(synthetic: ArrayLike, real: ArrayLike) -> float:
    """The unbiased squared MMD with the kernel (x'y / d + 1)^3 (Binkowski 2018, equation 4; Gretton 2012, lemma 6).

    It may be below 0, and is 0 in the mean where both sets come from one distribution, however few the films.
    """
    a, b = features(synthetic), features(real)

    def kernel(x: Floats, y: Floats) -> Floats:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)

    def within(x: Floats) -> float:
        values = kernel(x, x)
        return float(values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def density_and_coverage(
    synthetic: ArrayLike, real: ArrayLike, neighbours: int = NEIGHBOURS
) -> tuple[Floats, Floats]:
    """What density and coverage are the means of (Naeem 2020, equations 3 and 4): (n,) and (m,).

    A real film's ball reaches to its `neighbours`-th nearest real film. Of each synthetic film: in how many balls it lies,
    over `neighbours`; of each real film: whether its ball holds a synthetic one.
    """
    a, b = features(synthetic), features(real)
    if not 1 <= neighbours < len(b):
        raise EvaluationError(
            f"{len(b)} real films have no {neighbours}-th neighbour",
            mend="Give more films, or fewer neighbours",
        )
    reach = np.partition(cdist(b, b), neighbours, axis=1)[
        :, neighbours
    ]  # the film itself is the nearest, at 0
    inside = cdist(a, b) <= reach
    return inside.sum(1) / neighbours, inside.any(0).astype(np.float64)


def features(values: ArrayLike) -> Floats:
    """Features (n, d) as float64; EvaluationError where there are fewer than two films, or one has no numbers."""
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or len(array) < 2:
        raise EvaluationError(f"features of shape {array.shape}; (n, d) of two films or more is wanted")
    if not np.isfinite(array).all():
        raise EvaluationError("a film's features are not finite", mend="Look at what the generator gives")
    return array


def _halved(
    figure: Figure, a: Floats, b: Floats, groups: Ints, count: int, halves: int, seed: int, name: str
) -> Estimate:
    value = figure(a, b)
    if len(a) < 8 or count < 8:
        return Estimate(value, math.nan, math.nan, len(a), method=name, note="too few films for an interval")
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(halves):
        some = chance.permutation(len(a))[: len(a) // 2]
        patients = np.zeros(count, bool)
        patients[chance.permutation(count)[: count // 2]] = True
        rows = patients[groups]
        if rows.sum() >= 2:
            found.append(figure(a[some], b[rows]))
    half = quantile_of_normal(0.95) * float(np.std(found, ddof=1))
    low = value - half if name == "KID" else max(0.0, value - half)
    return Estimate(value, low, value + half, len(a), method="half-samples, real films by patient")


def _mean(values: Floats, name: str) -> Estimate:
    mean = float(values.mean())
    half = quantile_of_normal(0.95) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, max(0.0, mean - half), mean + half, len(values), method=f"normal, {name} a film")
