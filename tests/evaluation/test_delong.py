from __future__ import annotations

import numpy as np
import pytest

from hilum.evaluation import delong, ranking
from tests.evaluation.samples import labelled


def plain_covariance(truth, scores):
    """DeLong 1988, eqs. 5 to 7, by comparing every positive with every negative."""
    positive, negative = scores[truth == 1], scores[truth == 0]
    order = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])  # (m, n, k)
    return np.cov(order.mean(1).T) / len(positive) + np.cov(order.mean(0).T) / len(negative)


def plain_obuchowski(truth, scores, patients):
    """Obuchowski 1997, eq. 3, of one column, with loops over patients."""
    positive, negative = truth == 1, truth == 0
    order = (scores[positive][:, None] > scores[negative]) + 0.5 * (
        scores[positive][:, None] == scores[negative]
    )
    area, m, n = order.mean(), positive.sum(), negative.sum()
    ten = {p: (order.mean(1) - area)[patients[positive] == p].sum() for p in set(patients[positive])}
    one = {p: (order.mean(0) - area)[patients[negative] == p].sum() for p in set(patients[negative])}
    every = set(patients)
    s10 = sum(v**2 for v in ten.values()) * len(ten) / ((len(ten) - 1) * m)
    s01 = sum(v**2 for v in one.values()) * len(one) / ((len(one) - 1) * n)
    s11 = sum(ten.get(p, 0) * one.get(p, 0) for p in every) * len(every) / (len(every) - 1)
    return s10 / m + s01 / n + 2 * s11 / (m * n)


def test_covariance_of_models_is_delongs():
    truth, scores, _ = labelled(150, 3, decimals=1)
    result = delong.delong(truth[:, 0], scores)
    np.testing.assert_allclose(result.covariance, plain_covariance(truth[:, 0], scores), rtol=1e-10)
    np.testing.assert_allclose(result.auc, ranking.auc(truth[:, 0], scores), rtol=1e-12)


def test_films_of_one_patient_count_as_obuchowski_says():
    truth, scores, patients = labelled(400, 1, decimals=1)
    result = delong.delong(truth, scores, patients)
    expected = plain_obuchowski(truth[:, 0], scores[:, 0], patients)
    # Only the factor of the cross term differs, by about 1 / patients with positives.
    assert result.covariance[0, 0] == pytest.approx(expected, rel=0.01)
    assert result.covariance[0, 0] > delong.delong(truth, scores).covariance[0, 0]


def test_repeating_every_film_in_its_patient_changes_nothing():
    truth, scores, _ = labelled(200, 2)
    once = delong.delong(truth, scores)
    twice = delong.delong(np.vstack([truth] * 2), np.vstack([scores] * 2), np.tile(np.arange(200), 2))
    np.testing.assert_allclose(twice.covariance, once.covariance, rtol=1e-10)
    fooled = delong.delong(np.vstack([truth] * 2), np.vstack([scores] * 2))
    assert np.all(np.diag(fooled.covariance) < 0.55 * np.diag(once.covariance))


def test_unknown_labels_are_left_out_label_by_label():
    truth, scores, patients = labelled(200, 3, unknown=0.3)
    together = delong.auc_estimates(truth, scores, patients)
    for i, estimate in enumerate(together):
        known = ~np.isnan(truth[:, i])
        alone = delong.auc_estimates(truth[known, i], scores[known, i], patients[known])[0]
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
            (alone.value, alone.low, alone.high)
        )
        assert (estimate.n, estimate.positives) == (known.sum(), (truth[:, i] == 1).sum())


def test_tiny_classes_get_a_reason_and_no_number():
    scores = np.linspace(0, 1, 20)
    none = delong.auc_estimates(np.zeros(20), scores)[0]
    assert np.isnan(none.value)
    assert none.note == "no positives"
    one = delong.auc_estimates(np.eye(20)[7], scores)[0]
    assert one.value == pytest.approx(7 / 19)
    assert np.isnan(one.low)
    assert np.isnan(one.high)
    assert "fewer than two" in one.note
    one_patient = delong.auc_estimates(np.eye(20)[7] + np.eye(20)[8], scores, np.arange(20) // 9)[0]
    assert np.isnan(one_patient.low)
    perfect = delong.auc_estimates((scores > 0.5).astype(float), scores)[0]
    assert perfect.value == 1
    assert np.isnan(perfect.low)
    assert "separate" in perfect.note


def test_macro_auc_names_the_labels_it_leaves_out():
    truth, scores, _ = labelled(200, 3)
    truth[:, 1] = 0
    macro = delong.macro_auc(truth, scores, names=["a", "b", "c"])
    assert macro.value == pytest.approx(ranking.auc(truth, scores)[[0, 2]].mean())
    assert "b" in macro.note.split(": ")[1]
    assert not delong.macro_auc(np.zeros((9, 2)), np.ones((9, 2))).defined


def test_macro_interval_covers_what_the_bootstrap_covers():
    truth, scores, patients = labelled(500, 4)
    macro = delong.macro_auc(truth, scores, patients)
    random = np.random.default_rng(3)
    films = [np.flatnonzero(patients == p) for p in np.unique(patients)]
    drawn = []
    for _ in range(400):
        again = np.concatenate([films[i] for i in random.integers(0, len(films), len(films))])
        drawn.append(ranking.auc(truth[again], scores[again]).mean())
    assert (macro.high - macro.low) / (2 * 1.96) == pytest.approx(np.std(drawn), rel=0.12)


def test_interval_covers_the_true_auc_as_often_as_it_says():
    random = np.random.default_rng(5)
    true_auc, covered, rounds = 0.7602, 0, 600  # Phi(1 / sqrt 2) for two unit normals one apart
    truth = np.repeat([1.0, 0.0], [30, 120])
    for _ in range(rounds):
        estimate = delong.auc_estimates(truth, random.normal(size=150) + truth)[0]
        covered += estimate.low <= true_auc <= estimate.high
    assert 0.91 <= covered / rounds <= 0.98


def test_paired_comparison_is_delongs_test():
    truth, scores, _ = labelled(250, 2)
    truth = truth[:, 0]
    compared = delong.compare_auc(truth, scores[:, 0], scores[:, 1])[0]
    covariance = plain_covariance(truth, scores)
    deviation = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    area = ranking.auc(truth, scores)
    assert compared.z == pytest.approx((area[0] - area[1]) / deviation)
    assert compared.difference.high - compared.difference.low == pytest.approx(2 * 1.959964 * deviation)
    assert 0 <= compared.p_value <= 1
    same = delong.compare_auc(truth, scores[:, 0], scores[:, 0])[0]
    assert same.difference.value == 0
    assert np.isnan(same.p_value)


def test_paired_macro_comparison_is_tighter_than_two_intervals():
    truth, scores, patients = labelled(400, 3)
    other = np.clip(scores + np.random.default_rng(1).normal(scale=0.05, size=scores.shape), 0, 1)
    compared = delong.compare_macro_auc(truth, scores, other, patients)
    one, two = delong.macro_auc(truth, scores, patients), delong.macro_auc(truth, other, patients)
    assert compared.difference.value == pytest.approx(one.value - two.value)
    assert compared.difference.high - compared.difference.low < 0.5 * (one.high - one.low)


def test_p_values_of_equal_models_are_uniform():
    random = np.random.default_rng(11)
    truth = np.repeat([1.0, 0.0], [60, 90])
    p = []
    for _ in range(300):
        base = random.normal(size=150) + truth
        first, second = base + random.normal(size=150), base + random.normal(size=150)
        p.append(delong.compare_auc(truth, first, second)[0].p_value)
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)
