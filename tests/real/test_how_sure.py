"""Calibration, selective prediction and risk control on real predictions, by the functions of `benchmarks.how_sure`."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import how_sure

from hilum.evaluation import risk_control, selective
from hilum.evaluation.auc_bootstrap import bootstrap_auc
from hilum.evaluation.delong import auc_estimates


@pytest.fixture(scope="module")
def films(real_data):
    return how_sure.load(real_data)


@pytest.fixture(scope="module")
def halves(films):
    return how_sure.parted(films)


def test_the_halves_share_no_patient(films, halves):
    fit, test = films.patients[halves.fit], films.patients[halves.test]
    assert not set(fit.tolist()) & set(test.tolist())
    assert len(fit) + len(test) == 22433


def test_calibration_of_one_half_gains_on_the_other(films, halves):
    found = how_sure.calibration(films, halves, replicates=100)
    gained = found["gained"]["pooled"]
    assert gained["log_loss"].low > 0
    assert gained["brier"].low > 0
    assert found["after"]["pooled"]["ece"].high < found["before"]["pooled"]["ece"].low
    assert set(found["after"]) == {*films.names, "pooled"}


def test_the_chance_of_an_error_finds_errors(films, halves):
    calls = how_sure.calls_of(films, halves)
    areas = [selective.augrc(calls.errors, doubt) for doubt in (calls.chance, calls.nearness)]
    assert np.all(areas[0] < areas[1])
    random = np.random.default_rng(0).permuted(calls.chance, axis=0)
    assert np.all(areas[1] < selective.augrc(calls.errors, random))


def test_over_many_halves_the_mean_share_missed_is_what_was_allowed(films):
    """The guarantee is of the mean; halves of one set are no independent samples, so a tenth of slack is left."""
    found = how_sure.over_splits(films, 20)
    for name, mean in found["expected"]["mean"].items():
        assert mean <= 1.1 * how_sure.ALPHA + 0.01, name
        assert found["surely"]["mean"][name] < mean


def test_a_finding_of_too_few_patients_is_called_everywhere(films, halves):
    control = risk_control.control_misses_surely(
        films.truth[halves.fit], films.raw[halves.fit], 0.1, 0.1, films.patients[halves.fit]
    )
    hernia = films.names.index("Hernia")
    assert control.patients[hernia] < 22 == np.ceil(np.log(0.1) / np.log(0.9))
    assert control.thresholds[hernia] == -np.inf


def test_bootstrap_and_delong_agree_on_thousands_of_films(films):
    drawn = bootstrap_auc(films.truth, films.raw, films.patients, replicates=300)
    for mine, other in zip(drawn, auc_estimates(films.truth, films.raw, films.patients), strict=True):
        assert mine.value == pytest.approx(other.value)
        if mine.positives > 100:
            assert mine.high - mine.low == pytest.approx(other.high - other.low, rel=0.25)
