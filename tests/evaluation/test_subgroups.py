from __future__ import annotations

import json

import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.evaluation import confusion, overlap, ranking, subgroups
from tests.evaluation.samples import labelled


def test_each_subgroup_is_measured_on_its_own_films():
    truth, scores, patients = labelled(400, 2)
    sex = np.where(patients % 2 == 0, "F", "M")
    view = np.where(np.arange(400) % 3 == 0, "AP", "PA")
    cuts = [0.4, 0.5]
    table = subgroups.subgroup_table(truth, scores, {"sex": sex, "view": view}, cuts, patients, ["a", "b"])
    found = {(row.attribute, row.value): row for row in table}
    assert list(found)[:4] == [("sex", "F"), ("sex", "M"), ("view", "AP"), ("view", "PA")]
    assert len(table) == 8
    films = (sex == "F") & (view == "AP")
    pair = found["sex & view", "F & AP"]
    assert pair.films == films.sum()
    assert pair.patients == len(np.unique(patients[films]))
    area = ranking.auc(truth[films], scores[films])
    assert [pair.auc["a"].value, pair.auc["b"].value] == pytest.approx(area)
    assert pair.macro_auc.value == pytest.approx(area.mean())
    counts = confusion.count(truth[films], confusion.call(scores[films], cuts))
    assert pair.sensitivity["b"].value == pytest.approx(counts.sensitivity[1])
    assert pair.specificity["a"].value == pytest.approx(counts.specificity[0])
    json.dumps([row.as_dict() for row in table], allow_nan=False)
    assert pair.row()["films"] == films.sum()


def test_missing_attributes_are_their_own_group_and_small_groups_say_so():
    truth, scores, _ = labelled(40, 1)
    truth[:3] = 0
    sex = np.array([None] * 3 + ["F"] * 37, dtype=object)
    table = subgroups.subgroup_table(truth, scores, {"sex": sex})
    unknown = next(row for row in table if row.value == "unknown")
    assert unknown.films == 3
    assert not unknown.macro_auc.defined
    assert unknown.auc["label_0"].note == "no positives"
    assert unknown.sensitivity == {}
    with pytest.raises(EvaluationError):
        subgroups.subgroup_table(truth, scores, {"sex": sex[:5]})


def test_age_bands_take_their_lower_edge():
    bands = subgroups.age_bands([0, 17.9, 18, 59, 60, 80, 101, np.nan, -1])
    expected = ["00-17", "00-17", "18-39", "40-59", "60-79", "80+", "80+", "unknown", "unknown"]
    assert bands.tolist() == expected


def test_masks_are_measured_in_the_same_subgroups():
    random = np.random.default_rng(2)
    scores = [
        overlap.overlap_scores(random.random((8, 8)) < 0.5, random.random((8, 8)) < 0.5) for _ in range(40)
    ]
    patients = np.arange(40) // 2
    sex = np.where(patients % 2 == 0, "F", "M")
    view = np.array(["AP"] * 2 + ["PA"] * 38)
    table = subgroups.overlap_subgroups(scores, {"sex": sex, "view": view}, patients, unit="mm")
    ranked = subgroups.subgroup_table(
        np.eye(2)[patients % 2], random.random((40, 2)), {"sex": sex, "view": view}
    )
    assert [(row.attribute, row.value) for row in table] == [(row.attribute, row.value) for row in ranked]
    found = {(row.attribute, row.value): row.overlap for row in table}
    dice = np.array([s.dice for s in scores])[sex == "F"]
    assert found["sex", "F"].dice.value == pytest.approx(dice.mean())
    assert (found["sex", "F"].films, found["sex", "F"].patients, found["sex", "F"].unit) == (20, 10, "mm")
    lone = found["view", "AP"].dice
    assert lone.defined
    assert np.isnan(lone.low)
    assert lone.note == "one patient"
    json.dumps([row.as_dict() for row in table], allow_nan=False)
