"""All numbers at once are those of the modules that make them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hilum.evaluation.detection_ap import voc_ap, voc_map
from hilum.evaluation.detection_coco import coco
from hilum.evaluation.detection_films import film_scores
from hilum.evaluation.detection_summary import detection_summary
from hilum.evaluation.froc import sensitivity_at
from hilum.evaluation.ranking import auc
from tests.evaluation.boxes_for_tests import drawn


def test_the_summary_holds_each_modules_numbers():
    boxes = drawn(21, films=50, classes=3)
    names = ("Effusion", "Mass", "No Finding")
    found = detection_summary(boxes, names, np.arange(50) // 2, replicates=100)
    assert found.ap.mean.value == pytest.approx(voc_map(boxes))
    assert [e.value for e in found.ap.classes] == pytest.approx(voc_ap(boxes))
    assert found.coco.ap == coco(boxes).ap
    lesions = boxes.of_classes([0, 1])
    assert [e.value for e in found.froc[:-1]] == pytest.approx(sensitivity_at(lesions))
    assert found.calibration_error.n == len(lesions.boxes)
    assert [label.metrics["auc"].value for label in found.as_films.labels] == pytest.approx(
        auc(*film_scores(boxes))
    )
    assert found.patients == 25
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert set(plain["voc"]["classes"]) == set(names)
    assert list(plain["froc"]["sensitivity"]) == ["0.125", "0.25", "0.5", "1", "2", "4", "8"]
    assert plain["films"] == 50


def test_nothing_predicted_is_a_score_too():
    boxes = drawn(2, films=10)
    none = np.empty(0, int)
    blind = replace(boxes, boxes=np.empty((0, 4)), scores=none, film=none, kind=none)
    found = detection_summary(blind, replicates=20)
    assert found.ap.mean.value == 0
    assert found.froc[-1].value == 0
    assert not found.calibration_error.defined


def test_a_truth_without_boxes_leaves_only_what_can_be_said():
    boxes = drawn(2, films=10)
    none = np.empty(0, int)
    healthy = replace(boxes, true_boxes=np.empty((0, 4)), true_film=none, true_kind=none)
    found = detection_summary(healthy, replicates=20)
    assert not found.ap.mean.defined
    assert not found.froc[-1].defined
    assert found.calibration_error.positives == 0
    json.dumps(found.as_dict(), allow_nan=False)
