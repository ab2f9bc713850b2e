"""Sums of films say what the arrays themselves say: the values, and intervals that agree."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from hilum.errors import EvaluationError
from hilum.evaluation import ranking, reliability, streamed
from hilum.evaluation.delong import macro_auc
from hilum.evaluation.streamed import Totals, patient_hashes
from hilum.evaluation.streamed_estimates import RATES, jackknife, streamed_subgroups, streamed_summary
from hilum.evaluation.subgroups import subgroup_table
from hilum.evaluation.summary import multilabel_summary

FILMS = 12_000
CUTS = (0.3, 0.1, np.nan)
NAMES = ("Mass", "Effusion", "Hernia")


def films(seed: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    """Truth with unknowns, probabilities that rank and are a little too high, three films a patient that resemble."""
    chance = np.random.default_rng(seed)
    patient = np.arange(FILMS) // 3
    ill = chance.normal(0, 1, (FILMS // 3, 3))[patient]
    truth = (ill + chance.normal(0, 0.7, (FILMS, 3)) > (0.8, 1.6, 2.2)).astype(float)
    logits = 1.5 * ill + 1.2 * truth + chance.normal(0, 1, (FILMS, 3)) - (1.0, 2.5, 4.0)
    truth[chance.random((FILMS, 3)) < 0.1] = np.nan
    return truth, expit(logits), np.char.add("p", patient.astype(str))


@pytest.fixture(scope="module")
def material() -> tuple[NDArray, NDArray, NDArray]:
    return films()


@pytest.fixture(scope="module")
def totals(material: tuple[NDArray, NDArray, NDArray]) -> Totals:
    found = Totals.empty(CUTS)
    for part in np.array_split(np.random.default_rng(1).permutation(FILMS), 7):  # in any order, in chunks
        truth, p, patients = (each[part] for each in material)
        found.add(truth, p, patient_hashes(patients))
    return found


def test_values_are_those_of_the_arrays(totals: Totals, material: tuple[NDArray, NDArray, NDArray]):
    truth, p, _ = material
    exact = ranking.auc(truth, p)
    binned = streamed.auc_of(totals.fine)
    assert np.all(np.abs(binned - exact) <= streamed.auc_uncertainty(totals.fine))
    np.testing.assert_allclose(binned, exact, atol=1e-6)
    np.testing.assert_allclose(
        streamed.average_precision_of(totals.fine), ranking.average_precision(truth, p), atol=1e-3
    )
    whole = streamed_summary(totals, NAMES)
    arrays = multilabel_summary(truth, p, CUTS, names=NAMES, replicates=10)
    for ours, theirs in zip(whole.labels, arrays.labels, strict=True):
        assert (ours.name, ours.n, ours.positives) == (theirs.name, theirs.n, theirs.positives)
        for metric in (*RATES, "ece", "brier", "log_loss"):
            mine, other = ours.metrics[metric].value, theirs.metrics[metric].value
            np.testing.assert_allclose(mine, other, rtol=1e-9, err_msg=metric)


def test_intervals_agree_with_those_of_the_arrays(totals: Totals, material: tuple[NDArray, NDArray, NDArray]):
    truth, p, patients = material
    whole = streamed_summary(totals, NAMES)
    by_array = multilabel_summary(truth, p, CUTS, patients, NAMES, replicates=400)
    for ours, theirs in zip(whole.labels, by_array.labels, strict=True):
        for metric in ("auc", "average_precision", "brier", "log_loss", "sensitivity", "f1"):
            mine, other = ours.metrics[metric], theirs.metrics[metric]
            if not other.defined:
                assert not mine.defined, metric
                continue
            assert mine.high - mine.low == pytest.approx(other.high - other.low, rel=0.3), metric
            assert abs(mine.low - other.low) < 0.3 * (other.high - other.low), metric
    macro, other = whole.macro_auc, macro_auc(truth, p, patients, names=NAMES)
    assert macro.value == pytest.approx(other.value, abs=1e-6)
    assert macro.high - macro.low == pytest.approx(other.high - other.low, rel=0.3)


def test_films_of_a_patient_that_are_alike_are_one(material: tuple[NDArray, NDArray, NDArray]):
    truth, p, patients = (each[:3_000] for each in material)
    intervals = []
    for times in (1, 4):
        found = Totals.empty(CUTS)
        found.add(
            *(np.repeat(each, times, 0) for each in (truth, p)), patient_hashes(np.repeat(patients, times))
        )
        intervals.append([label.metrics["auc"] for label in streamed_summary(found).labels])
    for once, often in zip(*intervals, strict=True):
        assert often.n == 4 * once.n
        assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-9)


def test_intervals_cover_as_often_as_they_say():
    """Of 150 sets of 3,000 films, the share whose interval holds the AUC of a million."""
    truth, p, _ = (
        np.concatenate(parts) for parts in zip(*(films(seed) for seed in range(100, 130)), strict=True)
    )
    true = ranking.auc(truth[:, :1], p[:, :1])[0]
    held = 0
    for seed in range(150):
        truth, p, patients = (each[:3_000] for each in films(seed))
        found = Totals.empty(CUTS[:1], fine=4_096, coarse=512)
        found.add(truth[:, :1], p[:, :1], patient_hashes(patients))
        auc = streamed_summary(found).labels[0].metrics["auc"]
        held += auc.low <= true <= auc.high
    assert 0.89 < held / 150 < 0.99


def test_totals_of_two_processes_are_merged(totals: Totals, material: tuple[NDArray, NDArray, NDArray]):
    halves = [Totals.empty(CUTS) for _ in range(2)]
    for half, part in zip(halves, np.array_split(np.arange(FILMS), 2), strict=True):
        half.add(*(each[part] for each in material[:2]), patient_hashes(material[2][part]))
    halves[0].merge(halves[1])
    for name, value in vars(totals).items():
        np.testing.assert_allclose(getattr(halves[0], name), value, rtol=1e-9, err_msg=name)
    with pytest.raises(EvaluationError, match="other labels"):
        halves[0].merge(Totals.empty(CUTS[:2]))


def test_subgroups_are_those_of_the_arrays(material: tuple[NDArray, NDArray, NDArray]):
    truth, p, patients = material
    sex = np.where(np.arange(FILMS) // 3 % 2, "F", "M")
    parts = {}
    for value in ("F", "M"):
        rows = sex == value
        parts["sex", value] = Totals.empty(CUTS)
        parts["sex", value].add(truth[rows], p[rows], patient_hashes(patients[rows]))
    for ours, theirs in zip(
        streamed_subgroups(parts, NAMES),
        subgroup_table(truth, p, {"sex": sex}, CUTS, patients, NAMES),
        strict=True,
    ):
        assert (ours.attribute, ours.value, ours.films) == (theirs.attribute, theirs.value, theirs.films)
        assert ours.macro_auc.value == pytest.approx(theirs.macro_auc.value, abs=1e-5)
        assert ours.sensitivity["Mass"].value == pytest.approx(theirs.sensitivity["Mass"].value, abs=1e-9)


def test_what_cannot_be_said_is_not():
    found = Totals.empty([0.5, 0.5])
    truth = np.zeros((500, 2))
    truth[:, 1] = np.nan
    found.add(truth, np.full((500, 2), 0.2), np.arange(500, dtype=np.uint64))
    first, second = streamed_summary(found).labels
    assert first.metrics["auc"].note == "no positives"
    assert first.metrics["specificity"].value == 1
    assert second.metrics["brier"].note == "no known labels"
    assert not streamed_summary(found).macro_auc.defined
    assert "too few" in jackknife(0.5, np.full(5, 0.5), 9, 3, True).note
    with pytest.raises(EvaluationError, match=r"outside \[0, 1\]"):
        found.add([[1.0, 0.0]], [[1.5, 0.1]], np.zeros(1, np.uint64))


def test_extreme_probabilities_have_bins():
    assert streamed.logit_bins(np.array([0.0, 1e-30, 0.5, 1.0]), 64).tolist() == [0, 0, 32, 63]
    assert Totals.empty([0.5]).held.shape[-1] == reliability.BINS
