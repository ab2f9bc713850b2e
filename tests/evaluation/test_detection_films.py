"""Films called by their boxes, and whether a box's score means what it says."""

from __future__ import annotations

import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_films import box_calibration_error, box_truth, film_scores
from hilum.evaluation.ranking import auc
from hilum.evaluation.reliability import expected_calibration_error
from tests.evaluation.boxes_for_tests import drawn, one_by_one


def test_a_film_has_its_best_boxs_score():
    boxes = drawn(4, films=20)
    truth, scores = film_scores(boxes)
    for film in range(20):
        for kind in range(2):
            mine = boxes.scores[(boxes.film == film) & (boxes.kind == kind)]
            assert scores[film, kind] == mine.max(initial=0)
            assert truth[film, kind] == np.any((boxes.true_film == film) & (boxes.true_kind == kind))
    assert auc(truth, scores).shape == (2,)


def test_calibration_error_is_that_of_finds():
    boxes = drawn(8, films=40)
    truth = np.zeros(len(boxes.scores))
    for kind in range(2):
        for word, row in zip(*one_by_one(boxes, 0.4, kind), strict=True):
            truth[row] = word == "find"
    np.testing.assert_array_equal(box_truth(boxes), truth)
    found = box_calibration_error(boxes, replicates=200)
    assert found.value == pytest.approx(expected_calibration_error(truth, boxes.scores)[0])
    assert found.low < found.value < found.high
    assert found.positives == truth.sum()


def test_scores_that_are_no_probabilities_have_no_calibration():
    boxes = Detections([[0, 0, 1, 1]], [1.5], [0], [0], [[0, 0, 1, 1]], [0], [0], 1, 1)
    with pytest.raises(EvaluationError, match="outside"):
        box_calibration_error(boxes)
