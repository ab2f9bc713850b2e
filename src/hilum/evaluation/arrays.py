"""What every metric asks of its arrays, checked in one place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import EvaluationError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def as_truth(truth: ArrayLike) -> Floats:
    """Truth (n,) or (n, labels) in {0, 1, NaN} as float64 (n, labels); NaN is "unknown"."""
    array = _columns(truth, "truth")
    if not np.all(np.isnan(array) | (array == 0) | (array == 1)):
        raise EvaluationError(
            "truth holds values other than 0, 1 and NaN", mend="Encode unknown labels as NaN."
        )
    return array


def as_pair(truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Truth and scores, both (n, labels) float64.

    One column of truth beside several columns of scores is read as several models on the same label.
    Raises EvaluationError where shapes differ or where a known label has no score.
    """
    labels, values = as_truth(truth), _columns(scores, "scores")
    if labels.shape[1] == 1 and values.shape[1] > 1:
        labels = np.broadcast_to(labels, (len(labels), values.shape[1]))
    if labels.shape != values.shape:
        raise EvaluationError(f"truth is {labels.shape} and scores are {values.shape}")
    if np.any(np.isnan(values) & ~np.isnan(labels)):
        raise EvaluationError(
            "a score is NaN where the label is known", mend="Score every film, or drop its row."
        )
    return labels, values


def as_clusters(groups: ArrayLike | None, n: int) -> tuple[Ints, int]:
    """Cluster number of each film (n,), and how many there are; without groups each film is its own."""
    if groups is None:
        return np.arange(n), n
    names = np.asarray(groups)
    if names.shape != (n,):
        raise EvaluationError(f"groups are {names.shape} for {n} films", mend="Give one patient a film.")
    if names.dtype == object:
        names = names.astype(str)
    unique, inverse = np.unique(names, return_inverse=True)
    return inverse.astype(np.int64), len(unique)


def label_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The names given, checked for their number, or label_0, label_1, ..."""
    if names is None:
        return tuple(f"label_{i}" for i in range(count))
    if len(names) != count:
        raise EvaluationError(f"{len(names)} names for {count} labels")
    return tuple(names)


def _columns(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise EvaluationError(f"{what} has {array.ndim} dimensions; (n,) or (n, labels) is wanted")
    return array
