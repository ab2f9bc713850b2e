from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics

from hilum.errors import EvaluationError
from hilum.evaluation import reliability, summary
from hilum.evaluation.label_summary import METRICS
from tests.evaluation.samples import labelled

CUTS = np.array([0.3, 0.45, 0.6])


def test_labels_hold_every_metric_as_scikit_learn_has_it():
    truth, scores, patients = labelled(unknown=0.15)
    result = summary.multilabel_summary(truth, scores, CUTS, patients, ["a", "b", "c"], replicates=200)
    assert result.films == 300
    assert result.patients == len(np.unique(patients))
    for i, label in enumerate(result.labels):
        known = ~np.isnan(truth[:, i])
        t, s = truth[known, i], scores[known, i]
        called = s >= CUTS[i]
        expected = {
            "auc": metrics.roc_auc_score(t, s),
            "average_precision": metrics.average_precision_score(t, s),
            "sensitivity": metrics.recall_score(t, called),
            "specificity": metrics.recall_score(1 - t, ~called),
            "precision": metrics.precision_score(t, called),
            "accuracy": metrics.accuracy_score(t, called),
            "f1": metrics.f1_score(t, called),
            "f2": metrics.fbeta_score(t, called, beta=2),
            "brier": metrics.brier_score_loss(t, s),
            "log_loss": metrics.log_loss(t, np.clip(s, 1e-12, 1 - 1e-12)),
        }
        assert tuple(label.metrics) == METRICS
        for name, value in expected.items():
            assert label.metrics[name].value == pytest.approx(value), name
        for name, estimate in label.metrics.items():
            assert estimate.low <= estimate.value <= estimate.high, name
        assert (label.n, label.positives) == (known.sum(), t.sum())
    assert result.macro_auc.value == pytest.approx(np.mean([x.metrics["auc"].value for x in result.labels]))


def test_averages_over_labels_are_scikit_learns():
    truth, scores, patients = labelled()
    result = summary.multilabel_summary(truth, scores, CUTS, patients, replicates=100)
    for kind in ("macro", "micro"):
        for name, reference in (("f1", metrics.f1_score), ("sensitivity", metrics.recall_score)):
            expected = reference(truth, scores >= CUTS, average=kind)
            assert result.overall[f"{kind}_{name}"].value == pytest.approx(expected)


def test_classes_are_scikit_learns():
    random = np.random.default_rng(4)
    truth = random.integers(0, 3, 240)
    p = softmax(random.normal(size=(240, 3)) + 1.5 * np.eye(3)[truth], axis=1)
    patients = np.arange(240) // 2
    names = ["normal", "bacterial", "viral"]
    result = summary.multiclass_summary(truth, p, patients, names, replicates=200)
    found = p.argmax(1)
    overall = {name: estimate.value for name, estimate in result.overall.items()}
    assert overall["accuracy"] == pytest.approx(metrics.accuracy_score(truth, found))
    assert overall["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, found))
    assert overall["macro_auc"] == pytest.approx(metrics.roc_auc_score(truth, p, multi_class="ovr"))
    assert overall["weighted_f1"] == pytest.approx(metrics.f1_score(truth, found, average="weighted"))
    assert overall["classwise_ece"] == pytest.approx(reliability.classwise_calibration_error(truth, p))
    assert result.confusion == tuple(map(tuple, metrics.confusion_matrix(truth, found).tolist()))
    recall = metrics.recall_score(truth, found, average=None)
    assert [label.metrics["sensitivity"].value for label in result.labels] == pytest.approx(recall)
    with_unknown = summary.multiclass_summary(
        np.append(truth, -1), np.vstack([p, p[:1]]), np.append(patients, 999), names, replicates=200
    )
    assert with_unknown.as_dict() == result.as_dict()


def test_tiny_labels_say_why_they_have_no_number():
    truth, scores, _ = labelled(100, 3)
    truth[:, 0] = 0
    truth[:, 1] = np.eye(100)[4]
    truth[:, 2] = np.nan
    result = summary.multilabel_summary(truth, scores, [0.5, 0.5, np.nan], replicates=50)
    none, one, unknown = result.labels
    assert none.metrics["auc"].note == "no positives"
    assert not none.metrics["average_precision"].defined
    assert none.metrics["specificity"].defined
    assert one.metrics["auc"].defined
    for name in ("auc", "average_precision", "f1"):
        assert np.isnan(one.metrics[name].low), name
    assert unknown.n == 0
    assert not any(estimate.defined for estimate in unknown.metrics.values())
    text = json.dumps(result.as_dict(), allow_nan=False)
    assert json.loads(text)["labels"][2]["auc"]["value"] is None


def test_a_label_without_a_threshold_has_no_rates_and_takes_no_part_in_averages():
    truth, scores, _ = labelled(200, 2)
    result = summary.multilabel_summary(truth, scores, [0.4, np.nan], replicates=50)
    second = result.labels[1].metrics
    assert second["auc"].defined
    assert second["f1"].note == second["sensitivity"].note == "no threshold was chosen"
    assert result.overall["macro_f1"].value == pytest.approx(result.labels[0].metrics["f1"].value)


def test_table_is_flat_and_the_same_seed_gives_the_same_numbers():
    truth, scores, patients = labelled(120, 2)
    first, again = (
        summary.multilabel_summary(truth, scores, [0.4, 0.5], patients, replicates=60, seed=5)
        for _ in range(2)
    )
    assert first.as_dict() == again.as_dict()
    row = first.table()[1]
    assert row["name"] == "label_1"
    assert row["auc_low"] < row["auc"] < row["auc_high"]


def test_what_does_not_fit_is_refused():
    truth, scores, _ = labelled(50, 3)
    with pytest.raises(EvaluationError):
        summary.multilabel_summary(truth, scores, [0.5])
    with pytest.raises(EvaluationError):
        summary.multilabel_summary(truth, scores, CUTS, names=["a"])
    with pytest.raises(EvaluationError):
        summary.multiclass_summary(np.zeros(4), np.zeros((3, 2)))


def test_calibration_errors_before_a_calibration_stand_beside_those_after():
    truth, scores, patients = labelled(unknown=0.15)
    raw = scores**2
    plain = summary.multilabel_summary(truth, scores, CUTS, patients, replicates=60)
    result = summary.multilabel_summary(truth, scores, CUTS, patients, uncalibrated=raw, replicates=60)
    before = reliability.expected_calibration_error(truth, raw)
    after = reliability.expected_calibration_error(truth, scores)
    for i, label in enumerate(result.labels):
        metric = label.metrics["ece_uncalibrated"]
        assert metric.value == pytest.approx(before[i])
        assert metric.low <= metric.value <= metric.high
        assert label.metrics["ece"].value == pytest.approx(after[i])
        assert "ece_uncalibrated" not in plain.labels[i].metrics
        assert {k: v for k, v in label.metrics.items() if k != "ece_uncalibrated"} == plain.labels[i].metrics


def test_calibration_errors_of_classes_before_and_after():
    random = np.random.default_rng(4)
    truth = random.integers(-1, 3, 240)
    logits = random.normal(size=(240, 3)) + 1.5 * np.eye(3)[truth]
    p, raw = softmax(logits, axis=1), softmax(3 * logits, axis=1)
    result = summary.multiclass_summary(truth, p, uncalibrated=raw, replicates=60)
    plain = summary.multiclass_summary(truth, p, replicates=60)
    of_top = reliability.expected_calibration_error(*reliability.top_label(truth, raw))
    assert result.overall["ece_uncalibrated"].value == pytest.approx(float(of_top[0]))
    of_each = reliability.classwise_calibration_error(truth, raw)
    assert result.overall["classwise_ece_uncalibrated"].value == pytest.approx(of_each)
    assert result.labels[1].metrics["ece_uncalibrated"].defined
    assert {k: v for k, v in result.overall.items() if "uncalibrated" not in k} == plain.overall
    with pytest.raises(EvaluationError):
        summary.multiclass_summary(truth, p, uncalibrated=raw[:, :2], replicates=60)
