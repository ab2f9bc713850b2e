"""The probe is scikit-learn's logistic regression; what an attribute tells and carries is what pairs counted by hand say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from hilum.errors import EvaluationError
from hilum.evaluation.logistic import fit, folds_by_patient
from hilum.evaluation.probe import probe, told_by, within


@pytest.mark.parametrize(("films", "features"), [(90, 12), (60, 150)])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_the_regression_is_scikit_learns(films, features, strength):
    rng = np.random.default_rng(3)
    number = rng.integers(0, 3, films)
    x = rng.normal(2, 3, (films, features)) + number[:, None] * rng.normal(0, 0.4, features)
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(scaler.transform(x), number)
    other = rng.normal(2, 3, (20, features))
    found = fit(x, number, 3, strength).probabilities(other)
    np.testing.assert_allclose(found, theirs.predict_proba(scaler.transform(other)), atol=2e-3)


def test_of_two_classes_it_is_scikit_learns_at_half_the_penalty():
    """Two rows of weights, w/2 and -w/2, have half the square of the one row that scikit-learn has."""
    rng = np.random.default_rng(4)
    number = rng.integers(0, 2, 80)
    x = rng.normal(0, 1, (80, 5)) + number[:, None]
    standard = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=0.2, max_iter=5000, tol=1e-8).fit(standard, number)
    np.testing.assert_allclose(
        fit(x, number, 2, 0.1).probabilities(x), theirs.predict_proba(standard), atol=2e-3
    )


def test_a_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    patients = np.arange(120) // 2
    view = np.where(patients % 3 == 0, "AP", "PA")
    noise = rng.normal(size=(120, 40))
    blind = probe(noise, view.tolist(), patients)
    assert blind.auc.low < 0.5 < blind.auc.high + 0.1
    seeing = probe(noise + 3 * (view == "AP")[:, None], view.tolist(), patients)
    assert seeing.auc.value > 0.98
    assert set(seeing.each) == {"AP", "PA"}


def test_a_probe_that_knows_the_patient_is_not_rewarded_for_it():
    """Each patient has features of his own and a value drawn by lot: only a split by film could name it."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(60), 4)
    own = rng.normal(size=(60, 30))[patients] + 0.01 * rng.normal(size=(240, 30))
    value = np.where(rng.random(60) < 0.5, "F", "M")[patients]
    assert abs(probe(own, value.tolist(), patients).auc.value - 0.5) < 0.2
    assert probe(own, value.tolist()).auc.value > 0.8


def test_what_cannot_be_probed_says_why():
    x = np.random.default_rng(0).normal(size=(40, 3))
    assert "'PA'" in probe(x, ["PA"] * 40).auc.note
    assert probe(x, [None] * 40).auc.note == "no film says"
    few = probe(x, ["PA"] * 36 + ["AP"] * 4)
    assert not few.auc.defined
    assert few.left_out == {"AP": 4}
    assert "only 'PA'" in few.auc.note
    assert "fewer than two" in probe(x, ["PA", "AP"] * 20, ["one"] * 40).auc.note
    with pytest.raises(EvaluationError, match="does not fit"):
        probe(x, ["PA"] * 3)
    with pytest.raises(EvaluationError, match="finite"):
        probe(np.full((4, 2), np.nan), ["PA"] * 4)


def test_folds_hold_patients_and_balance_classes():
    cluster = np.arange(200) // 2
    number = (cluster % 4 == 0).astype(np.int64)
    fold = folds_by_patient(number, cluster, 5, 0)
    assert all(len(set(fold[cluster == c])) == 1 for c in range(100))
    assert [number[fold == k].sum() for k in range(5)] == [10] * 5


def test_what_an_attribute_tells():
    rng = np.random.default_rng(2)
    truth = (np.arange(400) % 4 == 0).astype(float)
    hospital = np.where(truth == 1, "A", "B")
    assert told_by(truth, hospital.tolist())["label_0"].value == 1.0
    drawn = rng.choice(["A", "B", "C"], 400)
    blind = told_by(truth, drawn.tolist())["label_0"]
    assert blind.low < 0.5 < blind.high
    assert not told_by(truth, ["A"] * 400)["label_0"].defined
    assert "no known" in told_by(np.full(4, np.nan), ["A", "B"] * 2)["label_0"].note
    half = np.where(rng.random(400) < 0.8, hospital, np.where(hospital == "A", "B", "A"))
    found = told_by(np.column_stack([truth, 1 - truth]), half.tolist(), names=["x", "y"])
    plain = roc_auc_score(truth, half == "A")
    assert abs(found["x"].value - plain) < 0.02
    assert abs(found["y"].value - plain) < 0.02


def test_within_counts_pairs_of_one_value():
    rng = np.random.default_rng(5)
    truth, score = rng.integers(0, 2, 60).astype(float), rng.normal(size=60)
    value = rng.choice(["AP", "PA"], 60)
    score += truth + 2 * (value == "AP")
    ordered = [
        float(score[i] > score[j])
        for i in range(60)
        for j in range(60)
        if truth[i] == 1 and truth[j] == 0 and value[i] == value[j]
    ]
    found = within(truth, score, value.tolist())
    np.testing.assert_allclose(found.within.value, np.mean(ordered))
    np.testing.assert_allclose(found.overall.value, roc_auc_score(truth, score))
    np.testing.assert_allclose(found.carried.value, found.overall.value - found.within.value)
    assert found.carried.low < found.carried.value < found.carried.high


def test_an_attribute_that_does_all_carries_all():
    rng = np.random.default_rng(6)
    value = np.array(["AP", "PA"] * 200)
    truth = (rng.random(400) < np.where(value == "AP", 0.8, 0.2)).astype(float)
    score = (value == "AP") + 0.1 * rng.normal(size=400)
    found = within(truth, score, value.tolist())
    assert abs(found.within.value - 0.5) < 0.08
    assert found.carried.low > 0.2
    assert not within(np.zeros(10), rng.normal(size=10), ["A"] * 10).within.defined
