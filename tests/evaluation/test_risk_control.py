from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hilum.errors import EvaluationError
from hilum.evaluation import risk_control
from tests.evaluation.samples import labelled

LIKELY = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 8)), min_size=1, max_size=40)


def patients(count, random, harder=0.5):
    """Positive films of patients of one to six: scores, patients. Patients of many films are harder, or easier."""
    films = random.integers(1, 7, count)
    patient = np.repeat(np.arange(count), films)
    lean = random.normal(0, 1, count) - harder * films
    return 2 + lean[patient] + random.normal(0, 0.3, len(patient)), patient


def risk_of(threshold, scores, patient):
    """The mean over patients of the share of their films below the threshold."""
    missed = np.bincount(patient, scores < threshold) / np.bincount(patient)
    return missed.mean()


def plain_threshold(scores, patient, alpha):
    """The definition: every distinct score tried."""
    _, patient = np.unique(patient, return_inverse=True)
    n = patient.max() + 1
    good = [s for s in scores if (n * risk_of(s, scores, patient) + 1) / (n + 1) <= alpha + 1e-9]
    return max(good, default=-np.inf)


@settings(max_examples=60, deadline=None)
@given(LIKELY, st.floats(0.02, 0.9))
def test_the_threshold_is_the_highest_that_the_definition_allows(films, alpha):
    scores = np.array([score for score, _ in films], float) / 10
    patient = np.array([owner for _, owner in films])
    found = risk_control.control_misses(np.ones(len(films)), scores, alpha, patient)
    assert found.thresholds[0] == plain_threshold(scores, patient, alpha)
    assert found.patients == (len(set(patient.tolist())),)


@settings(max_examples=40, deadline=None)
@given(LIKELY, st.floats(0.02, 0.9), st.floats(0.02, 0.9))
def test_more_risk_allowed_never_calls_more(films, one, other):
    scores = np.array([score for score, _ in films], float) / 10
    patient = np.array([owner for _, owner in films])
    truth = np.ones(len(films))
    strict, lax = sorted((one, other))
    for control in (
        risk_control.control_misses,
        risk_control.control_missed_share,
        lambda t, s, a, g: risk_control.control_misses_surely(t, s, a, 0.1, g),
    ):
        few, many = (control(truth, scores, level, patient).calls(scores) for level in (lax, strict))
        assert np.all(few <= many)
    few, many = (
        risk_control.control_false_alarms(1 - truth, scores, level, patient).calls(scores)
        for level in (strict, lax)
    )
    assert np.all(few <= many)


def test_the_expected_risk_stays_below_alpha_and_near_it():
    random = np.random.default_rng(0)
    pool, owner = patients(4000, random)
    for alpha, n in ((0.1, 40), (0.2, 15)):
        risks = []
        for _ in range(1500):
            scores, patient = patients(n, random)
            threshold = risk_control.control_misses(np.ones(len(scores)), scores, alpha, patient).thresholds[
                0
            ]
            risks.append(risk_of(threshold, pool, owner))
        error = np.std(risks) / np.sqrt(len(risks))
        assert np.mean(risks) <= alpha + 3 * error
        # What is lost to finite samples is at most two films in n + 1 (Angelopoulos et al., theorem 2).
        assert np.mean(risks) >= alpha - 2 / (n + 1) - 3 * error


def test_taking_films_for_patients_breaks_the_promise():
    """Patients of many films are the easier ones here: by film they hide that the others are missed."""
    random = np.random.default_rng(1)
    pool, owner = patients(4000, random, harder=-0.5)
    risks: dict[str, list[float]] = {"by film": [], "by patient": []}
    for _ in range(200):
        scores, patient = patients(60, random, harder=-0.5)
        for name, groups in (("by film", None), ("by patient", patient)):
            threshold = risk_control.control_misses(np.ones(len(scores)), scores, 0.2, groups).thresholds[0]
            risks[name].append(risk_of(threshold, pool, owner))
    assert np.mean(risks["by film"]) > 0.25
    assert np.mean(risks["by patient"]) <= 0.2 + 3 * np.std(risks["by patient"]) / np.sqrt(200)


def test_surely_holds_for_all_but_a_share_of_calibration_sets():
    random = np.random.default_rng(2)
    pool, owner = patients(4000, random)
    alpha, delta = 0.25, 0.2
    for several in (True, False):
        broken, thresholds = 0, []
        for _ in range(600):
            scores, patient = patients(60, random) if several else (random.normal(size=60), np.arange(60))
            found = risk_control.control_misses_surely(np.ones(len(scores)), scores, alpha, delta, patient)
            risk = (
                risk_of(found.thresholds[0], pool, owner) if several else stats.norm.cdf(found.thresholds[0])
            )
            broken += risk > alpha
            thresholds.append(found.thresholds[0])
        assert broken / 600 <= delta + 3 * np.sqrt(delta * (1 - delta) / 600)
        assert np.isfinite(thresholds).all()
        if not several:  # the binomial p-value gives nothing away but what whole films cost
            assert broken / 600 > delta / 4


def test_surely_by_the_definition_of_its_p_values():
    scores = np.arange(1, 41) / 40
    found = risk_control.control_misses_surely(np.ones(40), scores, 0.2, 0.1).thresholds[0]
    missed = (scores < found).sum()
    assert stats.binom.cdf(missed, 40, 0.2) <= 0.1 < stats.binom.cdf(missed + 1, 40, 0.2)
    risk = np.linspace(0, 0.19, 20)
    bound = risk_control._bounded_p(risk, 100, 0.2, single=False)
    for r, p in zip(risk, bound, strict=True):
        divergence = stats.entropy([r, 1 - r], [0.2, 0.8])
        bentkus = np.e * stats.binom.cdf(np.ceil(100 * r - 1e-9), 100, 0.2)
        assert p == pytest.approx(min(np.exp(-100 * divergence), bentkus))


def test_false_alarms_are_misses_seen_from_the_other_side():
    truth, scores, owner = labelled(500, 2, unknown=0.1)
    alarms = risk_control.control_false_alarms(truth, scores, 0.1, owner)
    mirrored = risk_control.control_misses(1 - truth, 1 - scores, 0.1, owner)
    np.testing.assert_array_equal(alarms.calls(scores), ~mirrored.calls(1 - scores))
    assert alarms.patients == mirrored.patients


def test_missed_findings_of_a_film_by_the_definition():
    truth, scores, owner = labelled(400, 4, decimals=1)
    found = risk_control.control_missed_share(truth, scores, 0.2, owner)
    kept = truth.any(1)
    n = len(set(owner[kept].tolist()))

    def risk(threshold):
        film = ((truth == 1) & (scores < threshold)).sum(1)[kept] / truth.sum(1)[kept]
        return np.mean([film[owner[kept] == p].mean() for p in set(owner[kept].tolist())])

    good = [t for t in np.unique(scores) if (n * risk(t) + 1) / (n + 1) <= 0.2]
    assert found.thresholds == (max(good),) * 4
    assert found.patients == (n,) * 4


def test_too_few_patients_guarantee_by_calling_everything():
    truth = np.array([[1, 0], [1, 0], [0, 0], [np.nan, 0]])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3], [0.5, 0.4]])
    found = risk_control.control_misses(truth, scores, 0.1)
    assert found.thresholds == (-np.inf, -np.inf)
    assert found.calls(scores).all()
    assert found.patients == (2, 0)
    assert risk_control.control_misses_surely(truth, scores, 0.1).thresholds == (-np.inf, -np.inf)
    assert not risk_control.control_false_alarms(truth, scores, 0.1).calls(scores).any()
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["thresholds"] == [None, None]
    # Nine patients are enough for a tenth: the worst of them may not be missed.
    assert risk_control.control_misses(np.ones(9), np.arange(9.0) / 10, 0.1).thresholds[0] == 0


def test_measured_shares_are_means_over_patients():
    truth = np.array([1, 1, 1, 1, 0, np.nan])
    called = np.array([1, 0, 0, 1, 0, 0])
    owner = np.array([7, 7, 7, 8, 8, 9])
    (share,) = risk_control.missed_shares(truth, called, owner)
    assert share.value == pytest.approx((2 / 3 + 0) / 2)
    assert share.n == 4
    assert share.low < share.value < share.high
    assert not risk_control.missed_shares([0, 0], [0, 1])[0].defined
    none = risk_control.mean_by_patient(np.zeros(5))
    assert none.low == 0 < none.high


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_a_risk_outside_its_range_is_refused(alpha):
    for control in (risk_control.control_misses, risk_control.control_misses_surely):
        with pytest.raises(EvaluationError):
            control([1, 1], [0.1, 0.2], alpha)


def test_json_tells_a_threshold_that_calls_all_from_one_that_calls_none():
    found = risk_control.RiskControl((float("-inf"), 0.25, float("inf")), 0.1, (3, 90, 4), "")
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False)) == {
        "thresholds": [None, 0.25, None],
        "calls": ["all", "at threshold", "none"],
        "alpha": 0.1,
        "patients": [3, 90, 4],
        "guarantee": "",
    }
    assert found.calls([[0.0, 0.25, 1.0]]).tolist() == [[True, True, False]]
