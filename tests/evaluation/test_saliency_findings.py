"""Scores by finding: each as if summarised alone, with a note on those that lie outside the lungs by nature."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.evaluation.saliency import NO_HEAT, Score, differences, hit_rate, summarise_scores
from hilum.evaluation.saliency_findings import BY_NATURE, by_finding

FEW = partial(summarise_scores, replicates=200)


def rows(seed: int = 0):
    random = np.random.default_rng(seed)
    findings = random.permutation(["Mass"] * 30 + ["Cardiomegaly"] * 20 + ["Our Own"] * 5).tolist()
    return findings, [Score(v) for v in random.random(55)], random.integers(0, 12, 55)


def test_each_finding_is_summarised_alone():
    findings, scores, patients = rows()
    found = by_finding(findings, scores, patients, summarise=FEW)
    assert list(found) == list(dict.fromkeys(findings))
    for name, estimate in found.items():
        here = [i for i, other in enumerate(findings) if other == name]
        alone = FEW([scores[i] for i in here], patients[here])
        assert (estimate.value, estimate.low, estimate.high, estimate.n) == (
            alone.value, alone.low, alone.high, len(here)
        )  # fmt: skip
        assert estimate.low < estimate.value < estimate.high


def test_findings_outside_the_lungs_say_so_beside_what_was_left_out():
    findings, scores, patients = rows()
    scores[findings.index("Cardiomegaly")] = Score.undefined(NO_HEAT)
    found = by_finding(findings, scores, patients, summarise=FEW)
    assert found["Cardiomegaly"].note == f"1 of 20 films left out ({NO_HEAT}: 1); {BY_NATURE}"
    assert found["Mass"].note == found["Our Own"].note == ""
    partly = by_finding(["Pneumothorax", "Hernia", "Nodule"], [Score(0.5)] * 3)
    assert [BY_NATURE in e.note for e in partly.values()] == [True, True, False]


def test_hits_and_differences_of_two_models_go_the_same_way():
    findings, scores, patients = rows()
    hits = [Score(float(score.value > 0.5)) for score in scores]
    found = by_finding(findings, hits, patients, summarise=hit_rate)
    assert all(0 <= e.low <= e.value <= e.high <= 1 for e in found.values())
    _, others, _ = rows(1)
    gap = by_finding(findings, differences(scores, others), patients, summarise=FEW)
    assert all(-1 < e.low < e.value < e.high < 1 for e in gap.values())


def test_what_cannot_be_measured_is_undefined_with_a_reason():
    (only,) = by_finding(["Mass", "Mass"], [Score.undefined(NO_HEAT)] * 2).values()
    assert not only.defined
    assert NO_HEAT in only.note
    for findings, patients in ((["Mass"], None), (["Mass"] * 2, ["a"])):
        with pytest.raises(EvaluationError, match="for 2 scores"):
            by_finding(findings, [Score(0.1)] * 2, patients)
    assert by_finding([], []) == {}
