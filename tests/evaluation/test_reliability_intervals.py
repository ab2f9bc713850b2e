from __future__ import annotations

import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.evaluation import reliability
from hilum.evaluation.reliability_intervals import (
    MEASURES,
    calibration_gains,
    reliability_estimates,
    weighted_reliability,
)
from tests.evaluation.samples import labelled

FUNCTIONS = {
    "ece": reliability.expected_calibration_error,
    "adaptive_ece": reliability.adaptive_calibration_error,
    "brier": reliability.brier_score,
    "log_loss": reliability.log_loss,
}


def test_values_are_those_of_the_plain_measures_with_an_interval_each():
    truth, probabilities, patients = labelled(300, 3, unknown=0.15)
    table = reliability_estimates(truth, probabilities, patients, ["a", "b", "c"], replicates=150)
    assert list(table) == ["a", "b", "c", "pooled"]
    flat = reliability.pooled(truth, probabilities)
    for name, pair in {"a": (truth[:, 0], probabilities[:, 0]), "pooled": flat}.items():
        for measure in MEASURES:
            estimate = table[name][measure]
            assert estimate.value == pytest.approx(FUNCTIONS[measure](*pair)[0]), (name, measure)
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.method == "bootstrap by patient"
    assert table["pooled"]["brier"].n == (~np.isnan(truth)).sum()


def test_a_weighting_is_the_film_repeated():
    truth, probabilities, _ = labelled(80, 2, unknown=0.2)
    weights = np.random.default_rng(0).integers(0, 4, (4, 80)).astype(float)
    found = weighted_reliability(truth, probabilities)(weights)
    for weight, row in zip(weights, found, strict=True):
        films = np.repeat(np.arange(80), weight.astype(int))
        label, value = reliability.pooled(truth[films], probabilities[films])
        for measure in ("ece", "brier", "log_loss"):  # the adaptive bins are those of all films
            assert row[MEASURES.index(measure)] == pytest.approx(FUNCTIONS[measure](label, value)[0])


def test_gains_are_differences_and_see_what_calibration_did():
    random = np.random.default_rng(1)
    right = random.random((4000, 2)) * 0.6
    truth = (random.random((4000, 2)) < right).astype(float)
    sure = right**2
    gains = calibration_gains(truth, sure, right, np.arange(4000) // 2, replicates=200)
    for name, column in (("label_0", 0), ("pooled", slice(None))):
        for measure in ("brier", "log_loss"):
            plain = [
                FUNCTIONS[measure](*reliability.pooled(truth[:, column], p[:, column]))[0]
                for p in (sure, right)
            ]
            assert gains[name][measure].value == pytest.approx(plain[0] - plain[1])
            assert gains[name][measure].low > 0
    none = calibration_gains(truth, sure, sure, replicates=20)
    assert none["pooled"]["brier"].low == none["pooled"]["brier"].high == 0


def test_a_label_without_truth_and_shapes_that_differ():
    truth, probabilities, _ = labelled(40, 2)
    truth[:, 1] = np.nan
    assert not reliability_estimates(truth, probabilities, replicates=20)["label_1"]["ece"].defined
    with pytest.raises(EvaluationError):
        calibration_gains(truth[:, 0], probabilities, probabilities[:, :1])
