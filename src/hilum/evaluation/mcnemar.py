"""Right and wrong calls of two models on the same films, tested film by film or patient by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, ndtr

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats, Ints, as_clusters
from hilum.evaluation.estimate import Estimate, quantile_of_normal


@dataclass(frozen=True)
class McNemar:
    """Two models' accuracies on the same films.

    Attributes
    ----------
    difference: share right of the first minus that of the second.
    only_first, only_second: films that only this model called rightly.
    p_exact: two-sided. Without repeated patients the exact binomial test of McNemar (1947).
    p_mid: half of what was seen counts as more extreme (Lancaster 1961; recommended by Fagerland 2013): not
        guaranteed, but near its level where the exact one is far below.
    p_normal: McNemar's chi-square without correction, with Obuchowski's variance (1998) by patient.
    method: "McNemar", or "McNemar by patient" where films were grouped.
    """

    difference: Estimate
    only_first: int
    only_second: int
    p_exact: float
    p_mid: float
    p_normal: float
    method: str


def mcnemar(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None, *, confidence: float = 0.95
) -> McNemar:
    """Is the share of right calls the same?

    With several films a patient, films are no independent trials. Each patient then counts as one: his net
    difference d (films that only the first got right, less those that only the second did) is, where the models
    are alike, as likely +d as -d. The exact test sums over all such signs, and is McNemar's exact binomial
    where each patient has one film. The normal one is sum(d)^2 / sum(d^2), times (K - 1) / K for K patients as
    in Obuchowski (Statistics in Medicine 17 (1998) 1495). The interval adds one made-up film for each
    side, of a patient of its own (Bonett & Price 2012), so that it exists without any disagreement too.

    Parameters
    ----------
    first, second: (n,) booleans, whether each model was right; films with unknown truth left out by the caller.
    groups: (n,) patients.
    """
    one, other = np.asarray(first), np.asarray(second)
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        raise EvaluationError(f"right calls {one.shape} and {other.shape} cannot be compared film by film")
    for values in (one, other):
        if not np.all((values == 0) | (values == 1)):
            raise EvaluationError("right calls hold values other than true and false")
    n, net_film = len(one), one.astype(np.int64) - other.astype(np.int64)
    cluster, patients = as_clusters(groups, n)
    films = np.bincount(cluster, minlength=patients)
    net = np.rint(np.bincount(cluster, net_film, minlength=patients)).astype(np.int64)
    method = "McNemar" if patients == n else "McNemar by patient"
    p_exact, p_mid = sign_test(net)
    low, high = _interval(net, films, confidence)
    value = float(net.sum() / n)
    return McNemar(
        difference=Estimate(value, min(value, low), max(value, high), n, None, method),
        only_first=int((net_film > 0).sum()),
        only_second=int((net_film < 0).sum()),
        p_exact=p_exact,
        p_mid=p_mid,
        p_normal=_p_normal(net, grouped=patients < n),
        method=method,
    )


def sign_test(net: Ints) -> tuple[float, float]:
    """Two-sided exact and mid-p of sum(net), (patients,), when each sign is as likely + as -.

    Patients of equal |net| are a binomial; the sum's distribution is those binomials' convolution.
    """
    sizes, counts = np.unique(np.abs(net[net != 0]), return_counts=True)
    if not len(sizes):
        return 1.0, 1.0
    chance = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        # (sum + greatest sum) / 2 of this size alone: 0, size, 2 size, ... for 0, 1, 2, ... patients at +
        steps = np.zeros(size * count + 1)
        steps[::size] = _heads(int(count))
        chance = np.convolve(chance, steps)
    greatest = int((sizes * counts).sum())
    totals = 2 * np.arange(len(chance)) - greatest
    seen = abs(int(net.sum()))
    beyond = float(chance[np.abs(totals) > seen].sum())
    equal = float(chance[np.abs(totals) == seen].sum())
    return min(1.0, beyond + equal), min(1.0, beyond + equal / 2)


def _heads(throws: int) -> Floats:
    """Chance of 0, 1, ..., `throws` heads of a fair coin."""
    heads = np.arange(throws + 1)
    return np.exp(gammaln(throws + 1) - gammaln(heads + 1) - gammaln(throws - heads + 1) - throws * np.log(2))


def _p_normal(net: Ints, grouped: bool) -> float:
    spread = float((net.astype(np.float64) ** 2).sum())
    if spread == 0:
        return 1.0
    z = abs(float(net.sum())) / np.sqrt(spread)
    if grouped:
        z *= np.sqrt(1 - 1 / len(net)) if len(net) > 1 else 0.0
    return float(2 * ndtr(-z))


def _interval(net: Ints, films: Ints, confidence: float) -> tuple[float, float]:
    net_films: Floats = np.append(net, [1, -1]).astype(np.float64)
    total: Floats = np.append(films, [1, 1]).astype(np.float64)
    centre = net_films.sum() / total.sum()
    deviation = np.sqrt(((net_films - centre * total) ** 2).sum()) / total.sum()
    half = quantile_of_normal(confidence) * deviation
    return float(max(-1.0, centre - half)), float(min(1.0, centre + half))
