"""The competition's average precision, held to the plain loop and to a case worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import EvaluationError
from hilum.evaluation.bootstrap import replicate_weights
from hilum.evaluation.detection import Detections, match, pairs
from hilum.evaluation.detection_ap import ranked_finds, voc_ap, voc_ap_estimates, voc_map
from tests.evaluation.boxes_for_tests import drawn, one_by_one, repeated

seeds = st.integers(0, 2**32 - 1)


def area_under(said: list[str], total: int) -> float:
    """All points: precision made monotone from the right, summed over the recall gained."""
    if not total:
        return np.nan
    points, true = [], 0
    for i, word in enumerate(said, 1):
        true += word == "find"
        points.append((true / total, true / i))
    area, before = 0.0, 0.0
    for i, (recall, _) in enumerate(points):
        area += (recall - before) * max(p for _, p in points[i:])
        before = recall
    return area


@settings(max_examples=40, deadline=None)
@given(seed=seeds, tied=st.booleans(), iou=st.sampled_from([0.0, 0.4, 0.5, 0.75]))
def test_average_precision_is_the_plain_loops(seed, tied, iou):
    boxes = drawn(seed, tied=tied)
    expected = [
        area_under(one_by_one(boxes, iou, kind)[0], int((boxes.true_kind == kind).sum())) for kind in range(2)
    ]
    np.testing.assert_allclose(voc_ap(boxes, iou), expected, rtol=1e-12)
    assert voc_map(boxes, iou) == pytest.approx(np.nanmean(expected))


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_a_replicate_is_the_average_precision_of_the_films_drawn(seed):
    boxes = drawn(seed)
    ranked = ranked_finds(boxes, match(boxes, 0.4))
    weights = next(replicate_weights(boxes.films, replicates=5, seed=seed % 100))
    for weight, found in zip(weights, ranked.average_precision(weights), strict=True):
        again = repeated(boxes, np.repeat(np.arange(boxes.films), weight.astype(int)))
        np.testing.assert_allclose(found, voc_ap(again), rtol=1e-12)


def test_intervals_hold_the_value_and_count_patients():
    boxes = drawn(11, films=60)
    found = voc_ap_estimates(boxes, groups=np.arange(60) // 2, replicates=200)
    assert found.mean.value == pytest.approx(voc_map(boxes))
    assert found.mean.low < found.mean.value < found.mean.high
    assert found.mean.method == "bootstrap by patient"
    assert found.mean.positives == len(boxes.true_boxes)
    assert [e.value for e in found.classes] == pytest.approx(voc_ap(boxes))


def no_finding(*scores: float) -> Detections:
    """Films without a finding, as the competition tells them: class 14 with the box 0 0 1 1."""
    n = len(scores)
    unit, films, kind = np.tile([0, 0, 1, 1], (n, 1)), np.arange(n), np.full(n, 14)
    return Detections(unit, np.array(scores), films, kind, unit[:1], films[:1], kind[:1], n, 15)


def test_no_finding_is_a_class_like_the_others():
    assert voc_ap(no_finding(1.0, 0.4))[14] == 1
    assert voc_ap(no_finding(0.4, 1.0))[14] == 0.5
    assert np.isnan(voc_ap(no_finding(1.0))[:14]).all()
    assert voc_map(no_finding(1.0)) == 1


def test_an_iou_of_exactly_the_threshold_is_no_find():
    boxes = Detections([[0, 0, 10, 7]], [0.9], [0], [0], [[0, 3, 10, 10]], [0], [0], 1, 1)  # IoU 40 / 100
    assert pairs(boxes).iou.tolist() == [0.4]
    assert voc_ap(boxes, 0.4)[0] == 0
    assert voc_ap(boxes, 0.39)[0] == 1


def test_a_second_find_is_false_even_where_another_true_box_is_free():
    """PASCAL's rule; COCO would give the second prediction its second choice."""
    true = [[0, 0, 10, 10], [0, 4, 10, 14]]
    mine = [[0, 0, 10, 10], [0, 1, 10, 11]]
    found = match(Detections(mine, [0.9, 0.8], [0, 0], [0, 0], true, [0, 0], [0, 0], 1, 1), 0.4)
    assert found.near.tolist() == [0, 0]
    assert found.hit.tolist() == [True, False]


def test_nothing_predicted_and_nothing_true():
    empty = np.empty((0, 4))
    none = np.empty(0, int)
    missed = Detections(empty, none, none, none, [[0, 0, 1, 1]], [0], [0], 2, 1)
    assert voc_ap(missed).tolist() == [0]
    assert np.isnan(voc_map(Detections([[0, 0, 1, 1]], [1], [0], [0], empty, none, none, 2, 1)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"boxes": [[0, 0, 0, 1]]}, "row 0 is no box"),
        ({"scores": [np.nan]}, "not finite"),
        ({"film": [1]}, "film lies outside"),
        ({"kind": [-1]}, "kind lies outside"),
        ({"true_kind": [0, 0]}, "true_kind is"),
        ({"scores": [1.0, 1.0]}, "scores are"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, words):
    one = {"boxes": [[0, 0, 1, 1]], "scores": [0.5], "film": [0], "kind": [0]}
    true = {"true_boxes": [[0, 0, 1, 1]], "true_film": [0], "true_kind": [0], "films": 1, "classes": 1}
    with pytest.raises(EvaluationError, match=words):
        Detections(**(one | true | change))
