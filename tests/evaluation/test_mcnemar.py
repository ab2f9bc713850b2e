from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from hilum.errors import EvaluationError
from hilum.evaluation.mcnemar import mcnemar, sign_test


def calls(n=200, seed=0, patients=None):
    random = np.random.default_rng(seed)
    return random.random(n) < 0.8, random.random(n) < 0.7


def test_without_repeated_patients_it_is_the_binomial_test():
    one, other = calls()
    b, c = int((one & ~other).sum()), int((~one & other).sum())
    for groups in (None, np.arange(200)):
        result = mcnemar(one, other, groups)
        assert (result.only_first, result.only_second) == (b, c)
        assert result.method == "McNemar"
        assert result.p_exact == pytest.approx(stats.binomtest(b, b + c).pvalue)
        mid = result.p_exact - stats.binom.pmf(min(b, c), b + c, 0.5)
        assert result.p_mid == pytest.approx(mid)
        chi_square = (b - c) ** 2 / (b + c)
        assert result.p_normal == pytest.approx(stats.chi2.sf(chi_square, 1))
        assert result.difference.value == pytest.approx(one.mean() - other.mean())


def test_the_interval_is_bonett_and_prices():
    one, other = calls()
    b, c, n = (one & ~other).sum() + 1, (~one & other).sum() + 1, 202
    centre = (b - c) / n
    half = 1.959964 * np.sqrt((b / n + c / n - centre**2) / n)
    result = mcnemar(one, other).difference
    assert (result.low, result.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_patients_by_every_pattern_of_signs():
    net = np.array([2, -1, 0, 3, 1, 1, -1, 2, 0, 1])
    sums = np.array([np.dot(net, signs) for signs in product([1, -1], repeat=len(net))])
    exact, mid = sign_test(net)
    assert exact == pytest.approx(np.mean(np.abs(sums) >= abs(net.sum())))
    equal = np.mean(np.abs(sums) == abs(net.sum()))
    assert mid == pytest.approx(exact - equal / 2)


def test_the_normal_test_is_obuchowskis():
    """Her estimate of variance under the null, with loops: pooled share, patients' sums, covariance between the arms."""
    one, other = calls(120, 4)
    patients = np.random.default_rng(1).integers(0, 50, 120)
    every = np.unique(patients)
    k, n = len(every), 120
    pooled = (one.mean() + other.mean()) / 2
    moved = [
        np.array([right[patients == p].sum() - (patients == p).sum() * pooled for p in every])
        for right in (one, other)
    ]
    variances = [
        k / (k - 1) * float(a @ b) / n**2 for a, b in zip(moved + moved[:1], moved + moved[1:], strict=True)
    ]
    chi_square = (one.mean() - other.mean()) ** 2 / (variances[0] + variances[1] - 2 * variances[2])
    assert mcnemar(one, other, patients).p_normal == pytest.approx(stats.chi2.sf(chi_square, 1))


def test_repeating_films_of_a_patient_adds_no_evidence():
    one, other = calls(60)
    once = mcnemar(one, other)
    patients = np.tile(np.arange(60), 3)
    by_patient = mcnemar(np.tile(one, 3), np.tile(other, 3), patients)
    assert by_patient.method == "McNemar by patient"
    assert by_patient.p_exact == pytest.approx(once.p_exact)
    assert by_patient.p_normal == pytest.approx(once.p_normal, rel=0.1)
    assert mcnemar(np.tile(one, 3), np.tile(other, 3)).p_exact < 0.5 * once.p_exact


def test_the_exact_test_keeps_its_level_with_several_films_a_patient():
    random = np.random.default_rng(5)
    by_patient = by_film = 0
    patients = np.repeat(np.arange(40), 5)
    for _ in range(400):
        lean = random.normal(0, 2, 40)[patients]  # some patients suit one model, some the other
        one, other = random.normal(lean) > 0, random.normal(-lean) > 0
        by_patient += mcnemar(one, other, patients).p_exact < 0.05
        by_film += mcnemar(one, other).p_exact < 0.05
    assert by_patient / 400 <= 0.07
    assert by_film / 400 > 0.2


def test_agreement_everywhere_is_no_evidence_and_has_an_interval():
    result = mcnemar([1, 0, 1], [1, 0, 1], [1, 1, 2])
    assert (result.p_exact, result.p_mid, result.p_normal) == (1, 1, 1)
    assert result.difference.low < 0 < result.difference.high


def test_thousands_of_patients_are_summed_without_loss():
    net = np.random.default_rng(0).integers(-4, 6, 4000)
    exact, mid = sign_test(net)
    z = net.sum() / np.sqrt((net**2).sum())
    assert exact == pytest.approx(2 * stats.norm.sf(z), rel=0.1)
    assert mid < exact


@pytest.mark.parametrize("wrong", [([1, 0], [1]), ([], []), ([0.5], [1])])
def test_what_is_no_call_is_refused(wrong):
    with pytest.raises(EvaluationError):
        mcnemar(*wrong)
