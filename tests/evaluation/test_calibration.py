from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from hilum.errors import EvaluationError
from hilum.evaluation import calibration, ranking, reliability


def drawn(n, slope, intercept, seed=0):
    """Logits whose true probabilities are sigmoid(slope * logit + intercept)."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 2, (n, len(slope)))
    truth = (random.random(logits.shape) < expit(logits * slope + intercept)).astype(float)
    return truth, logits


def test_platt_finds_the_truth_and_agrees_with_scikit_learn():
    truth, logits = drawn(6000, np.array([0.4, 1.0, 2.0]), np.array([0.5, -1.0, 0.0]))
    fitted = calibration.fit_platt(truth, logits)
    np.testing.assert_allclose(fitted.slope, [0.4, 1.0, 2.0], rtol=0.1)
    np.testing.assert_allclose(fitted.intercept, [0.5, -1.0, 0.0], atol=0.15)
    for i in range(3):
        plain = LogisticRegression(C=np.inf).fit(logits[:, [i]], truth[:, i])
        assert fitted.slope[i] == pytest.approx(plain.coef_[0, 0], rel=5e-3)  # the prior is that weak
        assert fitted.intercept[i] == pytest.approx(plain.intercept_[0], abs=5e-3)


def test_temperature_is_the_slope_of_least_penalised_loss():
    truth, logits = drawn(2000, np.array([0.5]), np.array([0.0]))
    fitted = calibration.fit_temperature(truth, logits)
    grid = np.exp(np.linspace(-2, 2, 4001))
    value = grid * logits
    cost = (np.logaddexp(0, value) - truth * value).sum(0) + np.log(grid) ** 2 / 2
    assert fitted.slope[0] == pytest.approx(grid[np.argmin(cost)], rel=2e-3)
    assert fitted.intercept == (0.0,)


def test_softmax_temperature_is_the_slope_of_least_penalised_loss():
    random = np.random.default_rng(3)
    logits = random.normal(size=(1500, 4)) * 4
    truth = np.array([random.choice(4, p=p) for p in softmax(logits / 3, axis=1)])
    fitted = calibration.fit_softmax_temperature(truth, logits)
    grid = np.exp(np.linspace(-3, 1, 2001))
    cost = [
        -np.log(softmax(logits * g, axis=1)[np.arange(1500), truth]).sum() + np.log(g) ** 2 / 2 for g in grid
    ]
    assert fitted.slope[0] == pytest.approx(grid[np.argmin(cost)], rel=5e-3)
    np.testing.assert_allclose(fitted.apply(logits).sum(1), 1)
    with_unknown = calibration.fit_softmax_temperature(np.append(truth, -1), np.vstack([logits, logits[:1]]))
    assert with_unknown.slope == fitted.slope


def test_it_lowers_the_error_on_other_films_and_keeps_the_ranking():
    slope, intercept = np.array([0.3, 0.5]), np.array([-1.0, 1.0])
    fitted = calibration.fit_platt(*drawn(1500, slope, intercept, seed=1))
    truth, logits = drawn(1500, slope, intercept, seed=2)
    before, after = expit(logits), fitted.apply(logits)
    assert np.all(
        reliability.expected_calibration_error(truth, after)
        < 0.5 * reliability.expected_calibration_error(truth, before)
    )
    assert np.all(reliability.brier_score(truth, after) < reliability.brier_score(truth, before))
    np.testing.assert_allclose(ranking.auc(truth, after), ranking.auc(truth, before))


@pytest.mark.parametrize("fit", [calibration.fit_platt, calibration.fit_temperature])
def test_few_positives_do_not_explode_and_none_leave_the_logits_alone(fit):
    logits = np.linspace(-3, 3, 200)[:, None]
    separated = (logits > 2.95).astype(
        float
    )  # two positives, perfectly ranked: the plain fit runs to infinity
    fitted = fit(separated, logits)
    assert 0.1 < fitted.slope[0] < 12
    assert abs(fitted.intercept[0]) < 30
    alone = fit(np.zeros((200, 1)), logits)
    assert (alone.slope, alone.intercept) == ((1.0,), (0.0,))
    assert (alone.n, alone.positives) == ((200,), (0,))


def test_unknown_labels_do_not_take_part():
    truth, logits = drawn(400, np.array([0.7]), np.array([0.2]))
    some = truth.copy()
    some[::4] = np.nan
    known = ~np.isnan(some[:, 0])
    assert calibration.fit_platt(some, logits).slope == pytest.approx(
        calibration.fit_platt(truth[known], logits[known]).slope
    )


def test_goes_through_json_and_back():
    fitted = calibration.fit_platt(*drawn(300, np.array([0.7, 1.0]), np.array([0.0, 0.0])))
    assert calibration.Calibration.from_dict(json.loads(json.dumps(fitted.as_dict()))) == fitted
    np.testing.assert_allclose(calibration.Calibration.none(2).apply([[0.0, 2.0]]), [[0.5, expit(2.0)]])
    np.testing.assert_allclose(calibration.Calibration.none_softmax().apply([0.0, 0.0]), [0.5, 0.5])


def test_what_cannot_be_a_calibration_is_refused():
    with pytest.raises(EvaluationError):
        calibration.Calibration("isotonic", (1.0,), (0.0,))
    with pytest.raises(EvaluationError):
        calibration.Calibration("platt", (-1.0,), (0.0,))
    with pytest.raises(EvaluationError):
        calibration.Calibration("platt", (float("nan"),), (0.0,))
    with pytest.raises(EvaluationError):
        calibration.Calibration.none(3).apply(np.zeros((5, 2)))
