"""What embeddings are worth: how well findings are told by films' neighbours, and by one linear layer, on other films.

Unlike `probe`, which asks an embedding for attributes by cross-validation, both probes here learn from one set of films
(training) and are scored on another (validation). Unknown labels (NaN) take no part, label by label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats
from hilum.evaluation.estimate import NAN
from hilum.evaluation.logistic import Span, fit_in, span
from hilum.evaluation.ranking import auc

NEIGHBOURS = 20
SHARPNESS = 0.07
"""The temperature of the neighbours' weights (Wu 2018)."""


@dataclass(frozen=True)
class EmbeddingProbe:
    """Scores of each film and label by both probes, (n, labels), NaN where training could not tell; and each label's AUC."""

    knn: Floats
    linear: Floats
    knn_auc: Floats
    linear_auc: Floats

    @property
    def macro(self) -> tuple[float, float]:
        """Mean AUC over the labels that can be measured: by neighbours, and linear; NaN where none can."""
        return _mean(self.knn_auc), _mean(self.linear_auc)


def probe_embeddings(
    learnt_from: ArrayLike,
    labels: ArrayLike,
    embedding: ArrayLike,
    truth: ArrayLike,
    neighbours: int = NEIGHBOURS,
) -> EmbeddingProbe:
    """Both probes learnt from films `learnt_from` (n, features) with `labels` (n, k), scored on `embedding` with `truth`.

    Labels and truth are 1, 0 or NaN. EvaluationError for shapes that do not fit or features that are not finite.
    """
    known, asked = np.asarray(learnt_from, np.float64), np.asarray(embedding, np.float64)
    taught, right = np.asarray(labels, np.float64), np.asarray(truth, np.float64)
    if len(known) != len(taught) or len(asked) != len(right) or known.shape[1:] != asked.shape[1:]:
        raise EvaluationError(
            f"embeddings of {known.shape} and {asked.shape} do not fit labels of {taught.shape} and {right.shape}"
        )
    if not (np.isfinite(known).all() and np.isfinite(asked).all()):
        raise EvaluationError("the embeddings hold values that are not finite")
    knn = knn_scores(known, taught, asked, neighbours)
    linear = linear_scores(known, taught, asked)
    return EmbeddingProbe(knn, linear, _auc(right, knn), _auc(right, linear))


def knn_scores(known: Floats, labels: Floats, asked: Floats, neighbours: int = NEIGHBOURS) -> Floats:
    """Each label's share among a film's nearest known films, (n, labels); NaN where no training film knows the label.

    Films are compared by the cosine s of their embeddings; the `neighbours` nearest of those that know the label weigh
    exp(s / 0.07) each (Wu 2018, section 3.4).
    """
    likeness = _long_one(asked) @ _long_one(known).T
    out = np.full((len(asked), labels.shape[1]), NAN)
    for column, label in enumerate(labels.T):
        there = np.flatnonzero(~np.isnan(label))
        if not len(there):
            continue
        near = likeness[:, there]
        count = min(neighbours, len(there))
        place = np.argpartition(-near, count - 1, axis=1)[:, :count]
        alike = np.take_along_axis(near, place, 1)
        weight = np.exp((alike - alike.max(1, keepdims=True)) / SHARPNESS)
        out[:, column] = (weight * label[there][place]).sum(1) / weight.sum(1)
    return out


def linear_scores(known: Floats, labels: Floats, asked: Floats) -> Floats:
    """Each label's probability by a logistic regression on standardised features, (n, labels).

    NaN where training has films of one side only. The penalty is `logistic.STRENGTH`, fixed: nothing is chosen.
    """
    out = np.full((len(asked), labels.shape[1]), NAN)
    spans: dict[bytes, Span] = {}
    for column, label in enumerate(labels.T):
        there = ~np.isnan(label)
        if len(np.unique(label[there])) < 2:
            continue
        key = there.tobytes()
        if key not in spans:
            spans[key] = span(known[there])
        out[:, column] = fit_in(spans[key], label[there], 2).probabilities(asked)[:, 1]
    return out


def spread(embedding: ArrayLike) -> float:
    """How far embeddings (n, features) differ: their standard deviation at length 1, a mean over features, times the root
    of their number (Chen and He 2021, section 4.1).

    1 where they point all ways alike, 0 where all films have the same: a collapsed encoder. NaN for no films.
    """
    found = np.asarray(embedding, np.float64)
    if not len(found):
        return NAN
    return float(_long_one(found).std(0).mean() * np.sqrt(found.shape[1]))


def _long_one(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.where(length > 0, length, 1.0)
    return scaled


def _auc(truth: Floats, scores: Floats) -> Floats:
    """Of the labels that have scores; NaN for the others."""
    there = ~np.isnan(scores).any(0)
    out = np.full(truth.shape[1], NAN)
    if there.any():
        out[there] = auc(truth[:, there], scores[:, there])
    return out


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else NAN
