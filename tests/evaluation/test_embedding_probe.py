"""Probes of embeddings: loops, scikit-learn, and embeddings that know something or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from hilum.errors import EvaluationError
from hilum.evaluation.embedding_probe import knn_scores, linear_scores, probe_embeddings, spread
from hilum.evaluation.logistic import STRENGTH

NAN = np.nan


def films(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first tells the first label; a third of the second label is unknown."""
    chance = np.random.default_rng(seed)
    features = chance.normal(size=(n, 6))
    labels = np.column_stack([features[:, 0] > 0, chance.random(n) > 0.5]).astype(float)
    labels[chance.random(n) < 0.3, 1] = NAN
    return features, labels


def test_neighbours_are_weighed_by_their_likeness():
    (known, labels), (asked, _) = films(0), films(1, 7)
    ours = knn_scores(known, labels, asked, neighbours=5)
    for film, vector in enumerate(asked):
        likeness = np.array([vector @ k / np.linalg.norm(vector) / np.linalg.norm(k) for k in known])
        for column in range(2):
            there = [i for i in range(len(known)) if not np.isnan(labels[i, column])]
            near = sorted(there, key=lambda i: -likeness[i])[:5]
            weights = np.exp(likeness[near] / 0.07)
            assert ours[film, column] == pytest.approx((weights * labels[near, column]).sum() / weights.sum())


def test_the_linear_probe_is_scikit_learns():
    (known, labels), (asked, _) = films(0), films(1, 9)
    ours = linear_scores(known, labels, asked)
    for column in range(2):
        there = ~np.isnan(labels[:, column])
        scale = StandardScaler().fit(known[there])
        # Two logits penalised alike are one with half the penalty.
        theirs = LogisticRegression(C=2 * STRENGTH, tol=1e-10, max_iter=2000).fit(
            scale.transform(known[there]), labels[there, column]
        )
        wanted = theirs.predict_proba(scale.transform(asked))[:, 1]
        assert np.allclose(ours[:, column], wanted, atol=1e-4)


def test_aucs_are_of_known_labels_and_the_macro_is_their_mean():
    (known, labels), (asked, truth) = films(0), films(1)
    found = probe_embeddings(known, labels, asked, truth)
    there = ~np.isnan(truth[:, 1])
    assert found.linear_auc[1] == pytest.approx(roc_auc_score(truth[there, 1], found.linear[there, 1]))
    assert found.knn_auc[0] == pytest.approx(roc_auc_score(truth[:, 0], found.knn[:, 0]))
    assert found.macro == pytest.approx((found.knn_auc.mean(), found.linear_auc.mean()))
    assert found.linear_auc[0] > 0.9


def test_a_label_that_training_knows_one_side_of_is_left_out():
    (known, labels), (asked, truth) = films(0), films(1)
    labels[:, 1] = NAN
    found = probe_embeddings(known, labels, asked, truth)
    assert np.isnan(found.linear_auc[1])
    assert np.isnan(found.knn_auc[1])
    assert found.macro[1] == found.linear_auc[0]
    labels[:, 1] = 1
    assert np.isnan(probe_embeddings(known, labels, asked, truth).linear_auc[1])


def test_shapes_and_values_that_do_not_fit_are_refused():
    known, labels = films(0)
    with pytest.raises(EvaluationError, match="do not fit"):
        probe_embeddings(known, labels[:5], known, labels)
    broken = known.copy()
    broken[0, 0] = NAN
    with pytest.raises(EvaluationError, match="not finite"):
        probe_embeddings(known, labels, broken, labels)


def test_spread_is_one_all_round_and_nothing_where_films_are_alike():
    every_way = np.random.default_rng(0).normal(size=(4000, 16))
    assert spread(every_way) == pytest.approx(1, abs=0.02)
    assert spread(np.ones((10, 16))) == pytest.approx(0, abs=1e-12)
    assert spread(np.ones((10, 16)) + 1e-5 * every_way[:10]) < 1e-3
    assert np.isnan(spread(np.zeros((0, 4))))
