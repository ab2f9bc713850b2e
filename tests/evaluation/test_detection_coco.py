"""COCO's numbers, held to pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_coco import coco
from tests.evaluation.boxes_for_tests import drawn

pytest.importorskip("pycocotools", reason="pycocotools, the reference, is not installed")


def theirs(boxes: Detections):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def wide(corners):
        x1, y1, x2, y2 = (float(edge) for edge in corners)
        return [x1, y1, x2 - x1, y2 - y1]

    truth, found = COCO(), COCO()
    for side, corners, film, kind in (
        (truth, boxes.true_boxes, boxes.true_film, boxes.true_kind),
        (found, boxes.boxes, boxes.film, boxes.kind),
    ):
        side.dataset = {
            "images": [{"id": i} for i in range(boxes.films)],
            "categories": [{"id": k} for k in range(boxes.classes)],
            "annotations": [
                {
                    "id": row + 1,
                    "image_id": int(film[row]),
                    "category_id": int(kind[row]),
                    "bbox": wide(corners[row]),
                    "area": wide(corners[row])[2] * wide(corners[row])[3],
                    "iscrowd": 0,
                    "score": float(boxes.scores[row]) if side is found else 1.0,
                }
                for row in range(len(corners))
            ],
        }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        judge = COCOeval(truth, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def assert_same(boxes: Detections) -> None:
    judge, ours = theirs(boxes), coco(boxes)
    numbers = [-1.0 if value is None else value for value in ours.as_dict().values()]
    np.testing.assert_allclose(numbers, judge.stats, rtol=0, atol=1e-12)
    precision = judge.eval["precision"]  # (IoUs, recalls, classes, areas, detections)
    expected = np.where(precision[..., -1].min(1) < 0, np.nan, precision[..., -1].mean(1))
    np.testing.assert_allclose(ours.precision, expected.transpose(2, 0, 1), atol=1e-12)
    recall = np.where(judge.eval["recall"] < 0, np.nan, judge.eval["recall"])
    np.testing.assert_allclose(ours.recall, recall[..., -1].transpose(2, 0, 1), atol=1e-12)
    np.testing.assert_allclose(ours.recall_at, recall[:, :, 0].transpose(2, 0, 1), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tied=st.booleans(), side=st.sampled_from([60.0, 400.0]))
def test_every_number_is_pycocotools(seed, tied, side):
    assert_same(drawn(seed, tied=tied, side=side))


def test_more_than_a_hundred_boxes_on_a_film():
    random = np.random.default_rng(5)
    corner = random.uniform(0, 300, (700, 2))
    mine = np.column_stack([corner, corner + random.uniform(30, 120, (700, 2))])
    true = mine[:40] + random.normal(0, 4, (40, 4))
    boxes = Detections(
        mine,
        random.permutation(700) / 700,
        random.integers(0, 2, 700),
        np.zeros(700, int),
        true,
        random.integers(0, 2, 40),
        np.zeros(40, int),
        2,
        1,
    )
    assert_same(boxes)


def test_nothing_predicted():
    empty, none = np.empty((0, 4)), np.empty(0, int)
    found = coco(Detections(empty, none, none, none, [[0, 0, 50, 50]], [0], [0], 2, 1)).as_dict()
    assert found["AP"] == 0
    assert found["AR_medium"] == 0
    assert found["AP_small"] is None
