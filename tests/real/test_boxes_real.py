"""Fusing and scoring the five real folds of VinBigData: 513,571 boxes on 3,000 films, sizes unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hilum.boxes import CONF_TYPES, METHODS
from hilum.datasets import box_tables
from hilum.datasets.box_sets import beside, fuse_tables
from hilum.datasets.box_tables import BoxTable
from hilum.evaluation.detection import match
from hilum.evaluation.detection_ap import voc_map


@pytest.fixture(scope="module")
def folds(real_data: Path) -> list[BoxTable]:
    paths = sorted((real_data / "vinbig" / "submissions").glob("*.csv.gz"))
    if len(paths) != 5:
        pytest.skip(f"the five folds are absent: {len(paths)} under {real_data / 'vinbig' / 'submissions'}")
    return [box_tables.read(path) for path in paths]


def test_the_folds_are_read_whole(folds: list[BoxTable]) -> None:
    assert [fold.films.height for fold in folds] == [3000] * 5
    assert [fold.boxes.height for fold in folds] == [108_106, 103_349, 100_990, 102_775, 98_351]


@pytest.mark.parametrize(
    ("method", "count"),
    [("wbf", 52_796), ("nmw", 54_492), ("nms", 54_492), ("soft-nms", 139_421), ("soft-nms-linear", 129_843)],
)
def test_every_method_fuses_them(folds: list[BoxTable], method: str, count: int) -> None:
    assert method in METHODS
    fused = fuse_tables(folds, method=method, iou_threshold=0.4)
    assert fused.boxes.height == count
    assert fused.films.height == 3000
    assert fused.boxes["score"].max() <= 1
    # No fused box leaves the hull of what went in on its film.
    corners = fused.boxes.select("x1", "y1", "x2", "y2").to_numpy()
    assert corners.min() >= 0
    assert np.all(corners[:, 2:] > corners[:, :2])


def test_wbf_of_real_boxes_is_the_peers(real_data: Path) -> None:
    pytest.importorskip("ensemble_boxes", reason="ensemble-boxes, the peer, is not installed")
    from benchmarks import wbf

    corners, scores, model, film, kind = wbf.boxes(real_data, 60)
    lists = list(wbf.by_film(corners, scores, model, film, kind))
    for conf_type in CONF_TYPES:
        ours = wbf.fused(corners, scores, model, film, kind, 0.4, conf_type)
        wbf.compare(ours, film, kind, wbf.peer(lists, 0.4, conf_type), conf_type)


def test_the_coco_numbers_of_real_boxes_are_pycocotools(real_data: Path) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools, the reference, is not installed")
    from benchmarks import detection_ap

    from hilum.evaluation.detection_coco import coco

    boxes = detection_ap.real(real_data, 0.3, 200)
    truth = detection_ap.index(boxes.true_boxes, None, boxes.true_film, boxes.true_kind, boxes)
    found = detection_ap.index(boxes.boxes, boxes.scores, boxes.film, boxes.kind, boxes)
    numbers = [-1.0 if value is None else value for value in coco(boxes).as_dict().values()]
    np.testing.assert_allclose(numbers, detection_ap.peer(truth, found), rtol=0, atol=1e-12)


def test_a_fold_beside_itself_misses_only_what_stands_twice(folds: list[BoxTable]) -> None:
    same = beside(folds[0], folds[0]).boxes
    places = folds[0].boxes.n_unique(["image_id", "finding", "x1", "y1", "x2", "y2"])
    assert match(same, 0.4).hit.sum() == places < len(same.boxes)
    assert voc_map(same) == pytest.approx(1, abs=1e-4)
