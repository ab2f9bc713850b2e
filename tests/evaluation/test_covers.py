"""What a cover leaves is what `delong` and `mcnemar` say of each pair."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.evaluation import delong
from hilum.evaluation.covers import ACCURACY, MACRO, covered_accuracy, covered_aucs

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 2, (80, 2)).astype(float)
PATIENTS = np.arange(80) // 2
WHOLE = TRUTH + RNG.normal(size=(80, 2))
NOISE = RNG.normal(size=(80, 2))


def test_each_quantity_of_each_cover():
    table = covered_aucs(TRUTH, {"none": WHOLE, "lungs": NOISE}, PATIENTS, ["a", "b"])
    assert [(c.cover, c.quantity) for c in table] == [
        (cover, quantity) for cover in ("none", "lungs") for quantity in (MACRO, "a", "b")
    ]
    at = {(c.cover, c.quantity): c for c in table}
    assert at["lungs", "b"].value == delong.auc_estimates(TRUTH, NOISE, PATIENTS)[1]
    paired = delong.compare_macro_auc(TRUTH, NOISE, WHOLE, PATIENTS)
    assert at["lungs", MACRO].difference == paired.difference
    assert at["lungs", MACRO].p_value == paired.p_value
    whole, left = at["none", MACRO].value.value, at["lungs", MACRO].value.value
    assert at["lungs", MACRO].kept == pytest.approx((left - 0.5) / (whole - 0.5))
    assert at["none", MACRO].kept == 1
    assert not at["none", MACRO].difference.defined
    assert at["none", MACRO].as_dict()["difference"]["value"] is None


def test_accuracy_beside_the_most_frequent_class():
    classes = np.array([0] * 50 + [1] * 25 + [-1] * 5)
    sure = np.eye(2)[np.maximum(classes, 0)]
    guess = np.tile([1.0, 0.0], (80, 1))
    whole, covered = covered_accuracy(classes, {"none": sure, "border": guess})
    assert whole.quantity == ACCURACY
    assert whole.value.value == 1
    assert covered.value.value == pytest.approx(2 / 3)
    assert covered.chance == pytest.approx(2 / 3)
    assert covered.kept == pytest.approx(0)
    assert covered.value.n == 75
    assert covered.difference.high < 0


def test_a_model_that_knows_nothing_keeps_nothing():
    worse = covered_aucs(TRUTH, {"none": -WHOLE, "lungs": NOISE}, PATIENTS)
    assert all(np.isnan(c.kept) for c in worse)
    none = covered_accuracy(np.full(4, -1), {"none": np.eye(4)})
    assert not none[0].value.defined


def test_the_whole_film_must_be_there():
    with pytest.raises(EvaluationError, match="none of 'none'"):
        covered_aucs(TRUTH, {"lungs": NOISE})
    with pytest.raises(EvaluationError, match="none of 'none'"):
        covered_accuracy(np.zeros(80, int), {"lungs": NOISE})
