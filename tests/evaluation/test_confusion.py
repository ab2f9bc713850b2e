from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from hilum.errors import EvaluationError
from hilum.evaluation import confusion
from tests.evaluation.samples import labelled

CUTS = np.array([0.3, 0.45, 0.6])


@pytest.fixture
def films():
    truth, scores, patients = labelled(250, 3)
    return truth, confusion.call(scores, CUTS), patients


def test_rates_of_labels_agree_with_scikit_learn(films):
    truth, called, _ = films
    counts = confusion.count(truth, called)
    np.testing.assert_allclose(counts.precision, metrics.precision_score(truth, called, average=None))
    np.testing.assert_allclose(counts.sensitivity, metrics.recall_score(truth, called, average=None))
    np.testing.assert_allclose(counts.f1, metrics.f1_score(truth, called, average=None))
    np.testing.assert_allclose(counts.f2, metrics.fbeta_score(truth, called, beta=2, average=None))
    for i in range(3):
        t, c = truth[:, i], called[:, i]
        tn, fp, fn, tp = metrics.confusion_matrix(t, c).ravel()
        assert counts.specificity[i] == tn / (tn + fp)
        assert counts.negative_predictive_value[i] == tn / (tn + fn)
        assert (counts.tp[i], counts.fp[i], counts.fn[i], counts.tn[i]) == (tp, fp, fn, tn)
        assert counts.accuracy[i] == pytest.approx(metrics.accuracy_score(t, c))
        assert counts.balanced_accuracy[i] == pytest.approx(metrics.balanced_accuracy_score(t, c))


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_averages_over_labels_agree_with_scikit_learn(films, average):
    truth, called, _ = films
    counts = confusion.count(truth, called)
    for name, reference in (
        ("precision", metrics.precision_score),
        ("sensitivity", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        if average == "micro":
            ours = getattr(counts.pooled(), name)[0]
        else:
            ours = confusion.macro(getattr(counts, name), counts.support if average == "weighted" else None)
        assert ours == pytest.approx(reference(truth, called, average=average)), name


def test_unknown_labels_are_not_counted(films):
    truth, called, _ = films
    some = truth.copy()
    some[::3, 1] = np.nan
    kept = np.arange(250) % 3 != 0
    counts, alone = confusion.count(some, called), confusion.count(truth[kept, 1], called[kept, 1])
    assert counts.f1[1] == alone.f1[0]
    assert counts.f1[0] == confusion.count(truth, called).f1[0]


def test_an_empty_denominator_is_nan_and_left_out_of_averages():
    truth, called = np.array([[0, 1], [0, 1], [0, 0]]), np.array([[0, 1], [0, 0], [0, 0]])
    counts = confusion.count(truth, called)
    assert np.isnan(counts.sensitivity[0])
    assert np.isnan(counts.precision[0])
    assert np.isnan(counts.f1[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = metrics.recall_score(truth, called, average="macro", zero_division=np.nan)
    assert confusion.macro(counts.sensitivity) == expected == 0.5


def test_weights_count_many_replicates_at_once(films):
    truth, called, _ = films
    weights = np.random.default_rng(0).integers(0, 3, (4, 250))
    many = confusion.weighted_count(confusion.cells(truth, called), weights.astype(float))
    for row, w in enumerate(weights):
        again = np.repeat(np.arange(250), w)
        np.testing.assert_allclose(many.f2[row], confusion.count(truth[again], called[again]).f2)


def test_exclusive_classes_agree_with_scikit_learn():
    random = np.random.default_rng(2)
    truth = random.integers(0, 4, 200)
    found = np.where(random.random(200) < 0.6, truth, random.integers(0, 4, 200))
    matrix = confusion.confusion_matrix(truth, found, 4)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(truth, found))
    counts = confusion.one_vs_rest(matrix)
    np.testing.assert_allclose(counts.f1, metrics.f1_score(truth, found, average=None))
    np.testing.assert_array_equal(
        np.stack([counts.tn, counts.fp, counts.fn, counts.tp], 1).reshape(4, 2, 2),
        metrics.multilabel_confusion_matrix(truth, found),
    )
    assert confusion.macro(counts.precision, counts.support) == pytest.approx(
        metrics.precision_score(truth, found, average="weighted")
    )
    weights = random.integers(0, 3, (3, 200))
    many = confusion.weighted_confusion_matrix(truth, found, 4, weights.astype(float))
    for w, one in zip(weights, many, strict=True):
        np.testing.assert_allclose(one, metrics.confusion_matrix(truth, found, sample_weight=w))


def test_an_unknown_class_is_left_out_and_an_impossible_one_refused():
    matrix = confusion.confusion_matrix([0, -1, 1], [0, 1, 0], 2)
    np.testing.assert_array_equal(matrix, [[1, 0], [1, 0]])
    with pytest.raises(EvaluationError):
        confusion.confusion_matrix([0, 2], [0, 1], 2)


def test_estimates_hold_the_rates_with_wilson_intervals(films):
    truth, called, patients = films
    counts = confusion.count(truth, called)
    for i, rates in enumerate(confusion.rate_estimates(truth, called)):
        for name in confusion.RATES:
            assert rates[name].value == pytest.approx(getattr(counts, name)[i])
        expected = binomtest(int(counts.tp[i]), int(counts.support[i])).proportion_ci(0.95, "wilson")
        assert (rates["sensitivity"].low, rates["sensitivity"].high) == pytest.approx(
            (expected.low, expected.high)
        )
        assert rates["sensitivity"].n == counts.support[i]
    by_patient = confusion.rate_estimates(truth, called, patients)[0]["specificity"]
    assert by_patient.method == "Wilson by patient"


def test_nothing_reaches_a_threshold_that_was_never_chosen():
    assert not confusion.call(np.ones((5, 2)), [np.nan, 0.5])[:, 0].any()
