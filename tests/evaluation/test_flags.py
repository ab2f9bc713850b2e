from __future__ import annotations

import json

import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.evaluation.flags import PAPER_DEVIATION, compare_flags


def calls(n=600, seed=0):
    """Errors, a poor uncertainty and a good one, patients of three films."""
    random = np.random.default_rng(seed)
    errors = (random.random(n) < 0.2).astype(float)
    return errors, random.random(n) * 0.2, np.round(errors + random.normal(0, 0.7, n), 1), np.arange(n) // 3


def test_each_flag_at_its_own_threshold_is_counted():
    errors, poor, good, patients = calls()
    errors[::50] = np.nan
    result = compare_flags(errors, poor, PAPER_DEVIATION, good, 0.5, patients, replicates=100)
    known = ~np.isnan(errors)
    for rates, flag in ((result.first, poor > 0.1), (result.second, good > 0.5)):
        wrong, flagged = errors[known] == 1, flag[known]
        assert rates.rate.value == pytest.approx(flagged.mean())
        assert rates.caught.value == pytest.approx(flagged[wrong].mean())
        assert rates.precision.value == pytest.approx(wrong[flagged].mean())
        assert rates.caught.low < rates.caught.value < rates.caught.high


def test_at_equal_rate_ties_at_the_cut_are_shared_as_by_every_shuffle():
    errors, poor, good, _ = calls(200)
    result = compare_flags(errors, poor, 0.1, good, 0.5, replicates=50)
    budget = int((poor > 0.1).sum())
    random = np.random.default_rng(1)
    caught = [
        errors[np.lexsort((random.random(200), -good))[:budget]].sum() / errors.sum() for _ in range(3000)
    ]
    equal = result.second_at_equal_rate
    assert equal.rate.value == pytest.approx(result.first.rate.value)
    assert equal.caught.value == pytest.approx(np.mean(caught), abs=0.002)
    assert equal.precision.value == pytest.approx(equal.caught.value * errors.sum() / budget)
    assert result.more_caught.value == pytest.approx(equal.caught.value - result.first.caught.value)


def test_the_better_flag_is_found_and_the_same_flag_is_no_better():
    errors, poor, good, patients = calls()
    better = compare_flags(errors, poor, 0.1, good, 0.5, patients, replicates=200).more_caught
    assert better.low > 0.1
    assert better.method == "bootstrap by patient"
    same = compare_flags(errors, good, 0.5, 3 * good, 99, patients, replicates=50)
    assert (same.more_caught.low, same.more_caught.high) == pytest.approx((0, 0))
    assert same.second.rate.value == 0


def test_a_flag_that_never_rises_says_so():
    errors, poor, good, _ = calls(60)
    result = compare_flags(errors, poor, 1.0, good, 0.5, replicates=50)
    assert result.first.rate.value == result.first.caught.value == 0
    assert not result.first.precision.defined
    assert not result.second_at_equal_rate.precision.defined
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["first"]["precision"]["value"] is None
    nothing = compare_flags(np.full(60, np.nan), poor, 0.1, good, 0.5)
    assert not nothing.more_caught.defined


def test_flags_that_do_not_fit_are_refused():
    for wrong in (([1.0], [0.1, 0.2], [0.1]), ([1.0], [np.nan], [0.1])):
        with pytest.raises(EvaluationError):
            compare_flags(wrong[0], wrong[1], 0.1, wrong[2], 0.1)
