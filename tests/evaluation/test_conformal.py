from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from hilum.errors import EvaluationError
from hilum.evaluation import conformal


def films(count, random, spread=1.0, classes=4):
    """Classes (the last one rare), probabilities that are somewhat wrong, and patients of one to four films."""
    owner = np.repeat(np.arange(count), random.integers(1, 5, count))
    lean = random.normal(size=(count, classes))[owner]
    truth = random.choice(classes, len(owner), p=[0.4, 0.3, 0.22, 0.08])
    logits = 1.2 * np.eye(classes)[truth] + spread * lean + random.normal(size=(len(owner), classes))
    return truth, softmax(1.7 * logits, axis=1), owner


def coverage(truth, sets, owner):
    right = sets[np.arange(len(truth)), truth].astype(float)
    return (np.bincount(owner, right) / np.bincount(owner)).mean()


@pytest.mark.parametrize("make", [conformal.lac_scores, conformal.aps_scores], ids=["lac", "aps"])
def test_sets_of_new_patients_hold_the_class_as_often_as_promised(make):
    random = np.random.default_rng(0)
    pool, probabilities, owner = films(3000, random)
    scores, found = make(probabilities), []
    for alpha, n in ((0.1, 40), (0.25, 12)):
        found = []
        for _ in range(500):
            truth, p, patient = films(n, random)
            found.append(
                coverage(pool, conformal.fit_sets(truth, make(p), alpha, patient).sets(scores), owner)
            )
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) >= 1 - alpha - 3 * error
        assert np.mean(found) <= 1 - alpha + 2 / (n + 1) + 3 * error


def test_with_one_film_a_patient_it_is_the_quantile_of_split_conformal():
    random = np.random.default_rng(1)
    for n, alpha in ((19, 0.1), (40, 0.13), (8, 0.1)):
        truth, p = random.integers(0, 3, n), softmax(random.normal(size=(n, 3)), axis=1)
        own = np.sort(1 - p[np.arange(n), truth])
        rank = int(np.ceil((n + 1) * (1 - alpha)))
        expected = own[rank - 1] if rank <= n else np.inf
        assert conformal.fit_sets(truth, conformal.lac_scores(p), alpha).cuts == (expected,) * 3


def doubting(probabilities):
    """As of a model that saw few of the rare class: too low for it."""
    lowered = probabilities * [1, 1, 1, 0.2]
    return lowered / lowered.sum(1, keepdims=True)


def test_a_rare_class_is_covered_on_its_own():
    random = np.random.default_rng(2)
    pool, probabilities, owner = films(3000, random)
    scores = conformal.lac_scores(doubting(probabilities))
    rare = pool == 3
    found = {"together": [], "by class": []}
    for _ in range(200):
        truth, p, patient = films(150, random)
        own = conformal.lac_scores(doubting(p))
        for name, fit in (("together", conformal.fit_sets), ("by class", conformal.fit_sets_by_class)):
            sets = fit(truth, own, 0.2, patient).sets(scores)
            found[name].append(
                coverage(pool[rare], sets[rare], np.unique(owner[rare], return_inverse=True)[1])
            )
    assert np.mean(found["together"]) < 0.8 - 0.03
    assert np.mean(found["by class"]) >= 0.8 - 3 * np.std(found["by class"]) / np.sqrt(200)


def test_a_class_of_too_few_patients_is_in_every_set():
    truth, p = np.array([0] * 30 + [1]), np.tile([0.9, 0.1], (31, 1))
    fitted = conformal.fit_sets_by_class(truth, conformal.lac_scores(p), 0.1)
    assert fitted.cuts[1] == np.inf
    assert fitted.patients == (30, 1)
    assert fitted.sets(conformal.lac_scores(p))[:, 1].all()
    assert json.loads(json.dumps(fitted.as_dict(), allow_nan=False))["cuts"][1] is None


def test_adaptive_scores_by_hand():
    p = np.array([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    u = np.random.default_rng(9).random(2)
    scores = conformal.aps_scores(p, seed=9)
    np.testing.assert_allclose(scores[0], [0.5 * u[0], 0.8 + 0.2 * u[0], 0.5 + 0.3 * u[0]])
    np.testing.assert_allclose(scores[1], [0.8 + 0.1 * u[1], 0.9 + 0.1 * u[1], 0.8 * u[1]])


def test_of_true_probabilities_adaptive_sets_hold_exactly_their_share():
    random = np.random.default_rng(3)
    p = random.dirichlet(np.ones(4), 20000)
    truth = (random.random((20000, 1)) > np.cumsum(p, axis=1)).sum(1)
    own = conformal.aps_scores(p, seed=4)[np.arange(20000), truth]
    for alpha in (0.1, 0.5):
        assert np.mean(own <= 1 - alpha) == pytest.approx(1 - alpha, abs=0.012)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.6), st.floats(0.02, 0.6))
def test_sets_are_nested_in_alpha(seed, one, other):
    truth, p, owner = films(25, np.random.default_rng(seed))
    strict, lax = sorted((one, other))
    for make in (conformal.lac_scores, conformal.aps_scores):
        for fit in (conformal.fit_sets, conformal.fit_sets_by_class):
            large, small = (fit(truth, make(p), level, owner).sets(make(p)) for level in (strict, lax))
            assert np.all(small <= large)


def test_how_sets_did():
    sets = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
    scores = conformal.score_sets([0, 1, 1, 1, -1], sets, ["a", "a", "b", "b", "c"])
    assert scores.coverage.value == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert scores.coverage.n == 4
    assert [x.value for x in scores.by_class[:2]] == pytest.approx([1, 1 / 4])
    assert not scores.by_class[2].defined
    assert (scores.size, scores.single, scores.empty) == pytest.approx((1, 0.5, 0.25))


def test_unknown_films_are_left_out_and_what_does_not_fit_is_refused():
    truth, p, owner = films(30, np.random.default_rng(5))
    scores = conformal.lac_scores(p)
    fitted = conformal.fit_sets(truth, scores, 0.2, owner)
    again = conformal.fit_sets(
        np.append(truth, -1), np.vstack([scores, scores[:1]]), 0.2, np.append(owner, 99)
    )
    assert again == fitted
    with pytest.raises(EvaluationError):
        fitted.sets(scores[:, :2])
    with pytest.raises(EvaluationError):
        conformal.fit_sets([4], scores[:1], 0.1)
    with pytest.raises(EvaluationError):
        conformal.lac_scores([[0.9, 0.9]])
