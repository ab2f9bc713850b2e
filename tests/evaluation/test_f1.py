"""F1 averaged over findings, held to scikit-learn; unknown labels take no part."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sklearn
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.evaluation.f1 import f1_scores


def case(seed: int, films: int = 40, labels: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((films, labels)) < rng.uniform(0.1, 0.6, labels)).astype(np.float64)
    return truth, rng.random((films, labels)) < 0.4, np.repeat(np.arange(films // 2), 2)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_averages_are_scikit_learns(seed: int):
    truth, called, patients = case(seed)
    found = f1_scores(truth, called, patients, replicates=2)
    for kind in ("weighted", "macro"):
        expected = sklearn.f1_score(truth, called, average=kind, zero_division=np.nan)
        assert getattr(found, kind).value == pytest.approx(expected, nan_ok=True)
    each = sklearn.f1_score(truth, called, average=None, zero_division=np.nan)
    np.testing.assert_allclose([one.value for one in found.each.values()], each)


def test_unknown_labels_take_no_part():
    truth, called, patients = case(1)
    unknown = truth.copy()
    unknown[:10, 0] = np.nan
    found = f1_scores(unknown, called, patients, ["a", "b", "c", "d"], replicates=50)
    assert found.each["a"].value == pytest.approx(sklearn.f1_score(truth[10:, 0], called[10:, 0]))
    assert (found.each["a"].n, found.each["b"].n) == (30, 40)
    support = np.nansum(unknown, 0)
    each = np.array([one.value for one in found.each.values()])
    assert found.weighted.value == pytest.approx((each * support).sum() / support.sum())


def test_intervals_draw_patients():
    truth, called, patients = case(2, films=200)
    found = f1_scores(truth, called, patients, replicates=300, seed=5)
    assert found.weighted.low < found.weighted.value < found.weighted.high
    rng, drawn = np.random.default_rng(0), []
    for _ in range(300):
        rows = np.concatenate([[2 * p, 2 * p + 1] for p in rng.integers(0, 100, 100)])
        drawn.append(sklearn.f1_score(truth[rows], called[rows], average="weighted"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.weighted.low, found.weighted.high) == pytest.approx((low, high), abs=0.02)


def test_one_positive_patient_gives_no_interval():
    truth, called = np.zeros((6, 1)), np.zeros((6, 1), bool)
    truth[0] = 1
    found = f1_scores(truth, called, np.arange(6), replicates=20).each["label_0"]
    assert found.value == 0
    assert np.isnan(found.low)
    assert "positive patients" in found.note
