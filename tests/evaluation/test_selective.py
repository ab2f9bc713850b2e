from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from hilum.errors import EvaluationError
from hilum.evaluation import reliability, selective
from tests.evaluation.samples import labelled


def areas_in_order(errors):
    """AURC and AUGRC of films that enter one by one in this order, by their definitions."""
    lost = np.cumsum(errors)
    kept = np.arange(1, len(errors) + 1)
    generalised = np.trapezoid(np.append(0, lost) / len(errors), np.append(0, kept) / len(errors))
    return np.mean(lost / kept), generalised


def every_order(errors, uncertainty):
    """The mean over every order that puts surer films first."""
    orders = [
        list(order)
        for order in permutations(range(len(errors)))
        if np.all(np.diff(uncertainty[list(order)]) >= 0)
    ]
    return np.mean([areas_in_order(errors[order]) for order in orders], axis=0)


def test_ties_are_the_mean_over_every_order():
    random = np.random.default_rng(0)
    for _ in range(6):
        errors = random.choice([0.0, 1.0, 0.3], 7)
        uncertainty = random.integers(0, 3, 7).astype(float)
        expected = every_order(errors, uncertainty)
        assert selective.aurc(errors, uncertainty)[0] == pytest.approx(expected[0])
        assert selective.augrc(errors, uncertainty)[0] == pytest.approx(expected[1])
        best = areas_in_order(np.sort(errors))[0]
        assert selective.excess_aurc(errors, uncertainty)[0] == pytest.approx(expected[0] - best)


def test_without_ties_it_is_the_plain_loop():
    random = np.random.default_rng(1)
    errors, uncertainty = (random.random(500) < 0.3).astype(float), random.random(500)
    expected = areas_in_order(errors[np.argsort(uncertainty)])
    assert selective.aurc(errors, uncertainty)[0] == pytest.approx(expected[0], rel=1e-12)
    assert selective.augrc(errors, uncertainty)[0] == pytest.approx(expected[1], rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_augrc_is_traubs_formula(films):
    errors = np.array([wrong for wrong, _ in films], float)
    uncertainty = np.array([doubt for _, doubt in films], float)
    accuracy = 1 - errors.mean()
    found = selective.augrc(errors, uncertainty)[0]
    if 0 < accuracy < 1:
        missed = 1 - metrics.roc_auc_score(errors, uncertainty)
        assert found == pytest.approx(missed * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2)
    else:
        assert found == pytest.approx((1 - accuracy) / 2)
    assert -1e-12 <= selective.excess_aurc(errors, uncertainty)[0] <= 1


def test_a_weighting_is_the_film_repeated():
    random = np.random.default_rng(2)
    errors, uncertainty = random.random(40), random.integers(0, 12, 40).astype(float)
    weights = random.integers(0, 4, (5, 40)).astype(float)
    risk, generalised = selective.weighted_areas(errors, uncertainty, weights)
    for i, weight in enumerate(weights):
        films = np.repeat(np.arange(40), weight.astype(int))
        assert risk[i] == pytest.approx(selective.aurc(errors[films], uncertainty[films])[0])
        assert generalised[i] == pytest.approx(selective.augrc(errors[films], uncertainty[films])[0])


def test_risk_falls_as_the_most_uncertain_are_handed_over():
    coverage, risk = selective.risk_coverage([0, 0, 1, 1, np.nan], [0.1, 0.2, 0.8, 0.8, 0.0])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 1.0])
    np.testing.assert_allclose(risk, [0, 0, 0.5])
    for wrong in (([], []), ([np.nan], [0.1]), ([1.0], [np.nan]), ([-1.0], [0.2]), ([1.0], [1.0, 2.0])):
        with pytest.raises(EvaluationError):
            selective.risk_coverage(*wrong)


def test_labels_with_unknowns_and_their_intervals():
    truth, probabilities, patients = labelled(400, 3, unknown=0.2)
    truth[:, 2] = np.nan
    called = probabilities >= 0.5
    errors = selective.wrong_calls(truth, called)
    np.testing.assert_array_equal(np.isnan(errors), np.isnan(truth))
    unsure = selective.chance_of_error(probabilities, called)
    np.testing.assert_allclose(unsure, np.minimum(probabilities, 1 - probabilities))
    table = selective.selective_estimates(errors, unsure, patients, ["a", "b", "c"], replicates=200)
    for i, name in enumerate("ab"):
        known = ~np.isnan(errors[:, i])
        e, u = errors[known, i], unsure[known, i]
        expected = {
            "error_rate": e.mean(),
            "aurc": selective.aurc(e, u)[0],
            "excess_aurc": selective.excess_aurc(e, u)[0],
            "augrc": selective.augrc(e, u)[0],
            "error_auc": metrics.roc_auc_score(e, u),
        }
        assert tuple(table[name]) == selective.MEASURES
        for measure, value in expected.items():
            estimate = table[name][measure]
            assert estimate.value == pytest.approx(value), measure
            assert estimate.low < value < estimate.high, measure
            assert "by patient" in estimate.method
            assert (estimate.n, estimate.positives) == (known.sum(), e.sum())
    assert not any(estimate.defined for estimate in table["c"].values())
    assert np.isnan(selective.aurc(errors, unsure)[2])


def test_exclusive_classes_go_the_same_way():
    classes = np.array([0, 1, 2, 2, -1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0, 0.1, 0.9], [0.4, 0.3, 0.3], [1, 0, 0]])
    right, sureness = reliability.top_label(classes, probabilities)
    coverage, risk = selective.risk_coverage(1 - right, 1 - sureness)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 0.5])


def test_calls_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError):
        selective.chance_of_error([0.1, 0.2], [True])
