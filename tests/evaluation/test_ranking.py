from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from hilum.errors import EvaluationError
from hilum.evaluation import ranking
from tests.evaluation.samples import labelled


def test_auc_and_average_precision_agree_with_scikit_learn_with_ties_and_unknowns():
    truth, scores, _ = labelled(unknown=0.2)
    area, average = ranking.auc(truth, scores), ranking.average_precision(truth, scores)
    for i in range(truth.shape[1]):
        known = ~np.isnan(truth[:, i])
        assert area[i] == pytest.approx(metrics.roc_auc_score(truth[known, i], scores[known, i]), abs=1e-12)
        expected = metrics.average_precision_score(truth[known, i], scores[known, i])
        assert average[i] == pytest.approx(expected, abs=1e-12)


def test_auc_is_the_share_of_pairs_in_order():
    truth, scores, _ = labelled(80, 1, decimals=1)
    positive, negative = scores[truth == 1], scores[truth == 0]
    pairs = (positive[:, None] > negative).sum() + 0.5 * (positive[:, None] == negative).sum()
    assert ranking.auc(truth, scores)[0] == pytest.approx(pairs / (len(positive) * len(negative)), abs=1e-14)


def test_curves_agree_with_scikit_learn():
    truth, scores, _ = labelled(200, 1)
    curve = ranking.roc_curve(truth, scores)
    x, y, cuts = metrics.roc_curve(truth[:, 0], scores[:, 0], drop_intermediate=False)
    np.testing.assert_allclose(curve.x, x)
    np.testing.assert_allclose(curve.y, y)
    np.testing.assert_allclose(curve.thresholds, cuts)
    curve = ranking.precision_recall_curve(truth, scores)
    precision, recall, cuts = metrics.precision_recall_curve(truth[:, 0], scores[:, 0])
    np.testing.assert_allclose(curve.y[::-1], precision[:-1])
    np.testing.assert_allclose(curve.x[::-1], recall[:-1])
    np.testing.assert_allclose(curve.thresholds[::-1], cuts)


def test_weighted_average_precision_is_that_of_repeated_films():
    truth, scores, _ = labelled(120, 1)
    label, score = truth[:, 0], scores[:, 0]
    random = np.random.default_rng(1)
    weights = random.integers(0, 4, (6, 120)).astype(float)
    weights[0, label == 1] = 0
    weights[1, np.argmax(score)] = 0
    average = ranking.weighted_average_precision(label, score, weights)
    assert np.isnan(average[0])
    for row, p in zip(weights[1:].astype(int), average[1:], strict=True):
        again = np.repeat(np.arange(120), row)
        assert p == pytest.approx(metrics.average_precision_score(label[again], score[again]), abs=1e-12)


def test_what_is_undefined_is_nan_and_never_filled_in():
    scores = np.linspace(0, 1, 6)
    assert np.isnan(ranking.auc(np.zeros(6), scores)[0])
    assert np.isnan(ranking.auc(np.ones(6), scores)[0])
    assert np.isnan(ranking.auc(np.full(6, np.nan), scores)[0])
    assert np.isnan(ranking.average_precision(np.zeros(6), scores)[0])
    assert ranking.average_precision(np.ones(6), scores)[0] == 1
    nothing = ranking.weighted_average_precision(np.zeros(6), scores, np.ones((2, 6)))
    assert np.isnan(nothing).all()


@pytest.mark.parametrize(
    ("truth", "scores"),
    [([0, 2, 1], [0.1, 0.2, 0.3]), ([0, 1], [0.1, 0.2, 0.3]), ([0, 1, 1], [0.1, np.nan, 0.3])],
)
def test_arrays_that_do_not_fit_are_refused(truth, scores):
    with pytest.raises(EvaluationError):
        ranking.auc(truth, scores)


_films = st.lists(st.tuples(st.booleans(), st.integers(-20, 20)), min_size=2, max_size=40).filter(
    lambda films: len({label for label, _ in films}) == 2
)


@settings(max_examples=40, deadline=None)
@given(films=_films, seed=st.integers(0, 99))
def test_auc_depends_on_order_alone(films, seed):
    truth = np.array([label for label, _ in films], float)
    scores = np.array([score for _, score in films], float)
    area = ranking.auc(truth, scores)[0]
    assert ranking.auc(truth, np.exp(scores / 7) * 3 - 1)[0] == pytest.approx(area)
    assert ranking.auc(1 - truth, scores)[0] == pytest.approx(1 - area)
    assert ranking.auc(truth, -scores)[0] == pytest.approx(1 - area)
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    assert ranking.auc(truth[shuffled], scores[shuffled])[0] == pytest.approx(area)
    assert ranking.average_precision(truth[shuffled], scores[shuffled])[0] == pytest.approx(
        ranking.average_precision(truth, scores)[0]
    )
