from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as log_loss_of_scikit_learn

from hilum.errors import EvaluationError
from hilum.evaluation import reliability
from tests.evaluation.samples import labelled


def test_brier_and_log_loss_agree_with_scikit_learn():
    truth, scores, _ = labelled(unknown=0.2)
    brier, loss = reliability.brier_score(truth, scores), reliability.log_loss(truth, scores)
    for i in range(3):
        known = ~np.isnan(truth[:, i])
        t, s = truth[known, i], scores[known, i]
        assert brier[i] == pytest.approx(brier_score_loss(t, s))
        assert loss[i] == pytest.approx(log_loss_of_scikit_learn(t, np.clip(s, 1e-12, 1 - 1e-12)))


def test_curve_agrees_with_scikit_learn():
    truth, scores, _ = labelled(400, 1, decimals=6)
    curve = reliability.reliability_curve(truth, scores, 10)
    observed, predicted = calibration_curve(truth[:, 0], scores[:, 0], n_bins=10)
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.predicted, predicted)
    assert curve.count.sum() == 400


def test_calibration_error_is_the_curves_mean_gap():
    truth, scores, _ = labelled(400, 2, decimals=6)
    error = reliability.expected_calibration_error(truth, scores, 15)
    for i in range(2):
        curve = reliability.reliability_curve(truth[:, i], scores[:, i], 15)
        gap = np.abs(curve.observed - curve.predicted)
        assert error[i] == pytest.approx(np.average(gap, weights=curve.count))


def test_adaptive_error_has_bins_of_equally_many_films():
    random = np.random.default_rng(0)
    p = random.random(300) ** 4
    truth = (random.random(300) < p).astype(float)
    order = np.argsort(p)
    gaps = [abs(truth[part].mean() - p[part].mean()) for part in np.array_split(order, 15)]
    assert reliability.adaptive_calibration_error(truth, p, 15)[0] == pytest.approx(np.mean(gaps), abs=1e-12)
    assert set(np.bincount(reliability.equal_mass_bins(p, 15))) == {20}


def test_known_values():
    assert reliability.expected_calibration_error([0, 1, 0, 1], [0.5] * 4)[0] == 0
    assert reliability.expected_calibration_error([0, 0, 0, 0], [0.9] * 4)[0] == pytest.approx(0.9)
    assert reliability.expected_calibration_error([1, 1], [1.0, 1.0])[0] == 0
    assert np.isnan(reliability.brier_score([np.nan, np.nan], [0.5, 0.5])[0])
    assert np.isfinite(reliability.log_loss([1.0], [0.0])[0])


def test_weighted_error_is_the_error_of_repeated_films():
    truth, p, _ = labelled(150, 1, decimals=6)
    truth, p = truth[:, 0], p[:, 0]
    weights = np.random.default_rng(0).integers(0, 3, (3, 150))
    gaps = reliability.bin_gaps(truth, p, reliability.equal_width_bins(p, 15))
    many = reliability.weighted_calibration_error(gaps, weights.astype(float))
    for w, error in zip(weights, many, strict=True):
        again = np.repeat(np.arange(150), w)
        assert error == pytest.approx(reliability.expected_calibration_error(truth[again], p[again])[0])


def test_pooled_and_top_label():
    truth, scores, _ = labelled(50, 3, unknown=0.1)
    flat, p = reliability.pooled(truth, scores)
    known = ~np.isnan(truth)
    expected = np.mean((scores[known] - truth[known]) ** 2)
    assert reliability.brier_score(flat, p)[0] == pytest.approx(expected)
    right, sureness = reliability.top_label([0, 1, -1], [[0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    np.testing.assert_array_equal(right, [1, 0, np.nan])
    np.testing.assert_array_equal(sureness, [0.7, 0.6, 0.8])


def test_logits_are_refused():
    with pytest.raises(EvaluationError, match="outside"):
        reliability.brier_score([0, 1], [-2.0, 3.0])


def test_class_wise_error_is_the_mean_over_classes():
    random = np.random.default_rng(6)
    p = random.dirichlet([4, 3, 0.3], 300)
    truth = random.integers(0, 3, 300)
    expected = []
    for c in range(3):
        number = np.minimum((p[:, c] * 15).astype(int), 14)
        gaps = [abs((truth[number == b] == c).mean() - p[number == b, c].mean()) for b in np.unique(number)]
        expected.append(np.average(gaps, weights=np.unique(number, return_counts=True)[1]))
    found = reliability.classwise_calibration_error(truth, p)
    assert found == pytest.approx(np.mean(expected))
    with_unknown = reliability.classwise_calibration_error(np.append(truth, -1), np.vstack([p, p[:1]]))
    assert with_unknown == pytest.approx(found)
    with pytest.raises(EvaluationError):
        reliability.classwise_calibration_error([0], [[0.5, 0.5], [0.5, 0.5]])
