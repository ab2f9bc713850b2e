from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from hilum.errors import EvaluationError
from hilum.evaluation.estimate import Estimate, proportion


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (1, 12), (7, 12), (12, 12), (40, 357)])
def test_a_share_has_wilsons_interval(hits, n):
    estimate = proportion(np.arange(n) < hits)
    expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high))
    assert estimate.value == hits / n


def test_films_of_one_patient_widen_it_as_if_there_were_fewer():
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), 5)
    alike = np.repeat(random.random(100) < 0.3, 5)
    by_patient, once = proportion(alike, patients), proportion(alike[::5])
    assert by_patient.value == once.value
    assert by_patient.high - by_patient.low == pytest.approx(once.high - once.low, rel=0.02)
    all_right = proportion(np.ones(500), patients)
    assert all_right.low == pytest.approx(binomtest(100, 100).proportion_ci(0.95, "wilson").low)


def test_patients_that_differ_within_never_narrow_it():
    balanced = np.tile([True, False], 50)
    within = proportion(balanced, np.repeat(np.arange(50), 2))
    plain = proportion(balanced)
    assert (within.low, within.high) == pytest.approx((plain.low, plain.high))


def test_reads_well_and_goes_to_json_without_nan():
    assert str(Estimate(0.812, 0.771, 0.853, 357, 12)) == "0.812 (0.771–0.853), n=357, 12 positive"
    assert str(Estimate(0.5, np.nan, np.nan, 20, 1)) == "0.500 (no interval), n=20, 1 positive"
    nothing = Estimate.undefined("no positives", 30, 0)
    assert str(nothing) == "undefined (no positives), n=30, 0 positive"
    assert not nothing.defined
    data = json.loads(json.dumps(nothing.as_dict(), allow_nan=False))
    assert data["value"] is None
    assert data["note"] == "no positives"


def test_nothing_counted_is_undefined():
    assert not proportion([]).defined


def test_patients_must_be_as_many_as_films():
    with pytest.raises(EvaluationError):
        proportion([1, 0, 1], ["a", "b"])
