"""Multinomial logistic regression on a few thousand features of a few hundred films, cross-validated by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from hilum.evaluation.arrays import Floats, Ints
from hilum.evaluation.estimate import NAN

FOLDS = 5
STRENGTH = 0.01
"""The inverse penalty C of the regression on standardised features: strong, for there are more features than films."""


def out_of_fold(
    features: Floats,
    number: Ints,
    cluster: Ints,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    strength: float = STRENGTH,
) -> Floats:
    """Probabilities (n, classes) of each film by a regression that saw none of its patient's films.

    features: (n, f). number: (n,) classes 0 to k - 1. cluster: (n,) patient numbers.
    """
    fold = folds_by_patient(number, cluster, folds, seed)
    classes = int(number.max()) + 1
    out = np.full((len(number), classes), NAN)
    for held in range(folds):
        train, test = fold != held, fold == held
        if test.any():
            out[test] = fit(features[train], number[train], classes, strength).probabilities(features[test])
    return out


@dataclass(frozen=True)
class Regression:
    """A multinomial logistic regression on standardised features: `weights` (features, classes), `bias` (classes,)."""

    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats

    def probabilities(self, features: ArrayLike) -> Floats:
        """(n, features) to (n, classes)."""
        standard = (np.asarray(features, np.float64) - self.mean) / self.scale
        found: Floats = softmax(standard @ self.weights + self.bias, axis=1)
        return found


@dataclass(frozen=True)
class Span:
    """Features standardised and written in the span of the films: `films` (n, rank) times `right` (rank, features)."""

    mean: Floats
    scale: Floats
    films: Floats
    right: Floats


def span(features: ArrayLike) -> Span:
    """What several regressions on the same films share, (n, features)."""
    given = np.asarray(features, np.float64)
    mean, scale = given.mean(0), given.std(0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    left, sizes, right = np.linalg.svd((given - mean) / scale, full_matrices=False)
    return Span(mean, scale, left * sizes, right)


def fit(features: ArrayLike, number: ArrayLike, classes: int, strength: float = STRENGTH) -> Regression:
    """Least of: cross-entropy summed over films + |weights|^2 / (2 strength), by L-BFGS; the bias is free.

    The optimum lies in the span of the films, so with more features than films it is sought there, which is exact.
    """
    return fit_in(span(features), number, classes, strength)


def fit_in(known: Span, number: ArrayLike, classes: int, strength: float = STRENGTH) -> Regression:
    """`fit`, on features whose span is known."""
    truth, films = np.asarray(number, np.int64), known.films
    rank = films.shape[1]
    one_hot = np.eye(classes)[truth]

    def cost(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(rank + 1, classes)
        logits = films @ weights[:-1] + weights[-1]
        total = logsumexp(logits, axis=1)
        away = np.exp(logits - total[:, None]) - one_hot
        gradient = np.vstack([films.T @ away + weights[:-1] / strength, away.sum(0)])
        value = total.sum() - (logits * one_hot).sum() + (weights[:-1] ** 2).sum() / (2 * strength)
        return float(value), gradient.ravel()

    start = np.zeros((rank + 1, classes))
    start[-1] = np.log(np.maximum(one_hot.mean(0), 1e-3))
    found = minimize(
        cost, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12}
    )
    weights = found.x.reshape(rank + 1, classes)
    return Regression(known.mean, known.scale, known.right.T @ weights[:-1], weights[-1])


def fit_labels(
    features: ArrayLike, truth: ArrayLike, strength: float = STRENGTH
) -> tuple[Regression | None, ...]:
    """`fit` of two classes for each label of truth (n, labels) in {0, 1, NaN}, on the films that know it, or None.

    Labels that the same films know share the span of the features.
    """
    given, labels = np.asarray(features, np.float64), np.asarray(truth, np.float64)
    spans: dict[bytes, Span] = {}
    found: list[Regression | None] = []
    for column in labels.T:
        known = ~np.isnan(column)
        key = known.tobytes()
        if known.any() and key not in spans:
            spans[key] = span(given[known])
        found.append(
            fit_in(spans[key], column[known].astype(np.int64), 2, strength) if key in spans else None
        )
    return tuple(found)


def folds_by_patient(number: Ints, cluster: Ints, folds: int, seed: int) -> Ints:
    """(n,) fold of each film: patients shuffled, then dealt in turn, class after class, so that folds are alike."""
    patients, first = np.unique(cluster, return_index=True)
    order = np.random.default_rng(seed).permutation(len(patients))
    order = order[np.argsort(number[first[order]], kind="stable")]
    dealt = np.empty(len(patients), np.int64)
    dealt[order] = np.arange(len(patients)) % folds
    return dealt[np.searchsorted(patients, cluster)]
