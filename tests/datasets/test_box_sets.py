"""Tables fused, and predictions beside a truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.datasets.box_sets import beside, fuse_tables, of_manifest
from hilum.datasets.box_tables import read
from hilum.datasets.manifest import Manifest
from hilum.errors import BoxError
from tests.datasets.test_box_tables import LONG, SUBMISSION, table


def test_models_are_fused_film_by_film_and_class_by_class(tmp_path: Path):
    a = read(
        table(tmp_path, SUBMISSION, "a,3 0.8 0 0 10 10 0 0.4 0 0 10 10", "b,3 0.6 0 0 10 10", name="a.csv")
    )
    b = read(table(tmp_path, SUBMISSION, "b,", "a,3 0.4 0 0 10 12", name="b.csv"))
    fused = fuse_tables([a, b], iou_threshold=0.5)
    assert fused.films["image_id"].to_list() == ["a", "b"]
    found = {(r["image_id"], r["finding"]): r for r in fused.boxes.iter_rows(named=True)}
    assert len(found) == fused.boxes.height == 3
    assert found["a", "Cardiomegaly"]["score"] == pytest.approx(0.6)
    assert found["a", "Cardiomegaly"]["y2"] == pytest.approx((0.8 * 10 + 0.4 * 12) / 1.2)
    # One of two models saw these.
    assert found["a", "Aortic Enlargement"]["score"] == pytest.approx(0.2)
    assert found["b", "Cardiomegaly"]["score"] == pytest.approx(0.3)


def test_a_model_that_saw_nothing_at_all_counts(tmp_path: Path):
    a = read(table(tmp_path, SUBMISSION, "a,3 0.8 0 0 10 10", name="a.csv"))
    blind = read(table(tmp_path, SUBMISSION, "a,", name="b.csv"))
    assert fuse_tables([a, blind]).boxes["score"].to_list() == [0.4]
    assert fuse_tables([a, blind], method="nms").boxes["score"].to_list() == [0.8]
    assert fuse_tables([blind, blind]).boxes.height == 0


def test_tables_of_other_films_are_named(tmp_path: Path):
    a = read(table(tmp_path, SUBMISSION, "a,3 0.8 0 0 10 10", "b,", name="a.csv"))
    b = read(table(tmp_path, SUBMISSION, "a,3 0.8 0 0 10 10", name="b.csv"))
    with pytest.raises(BoxError, match=r"line 3 \(film 'b'\): the film is not in \w+.csv") as raised:
        fuse_tables([a, b])
    assert raised.value.path == a.path
    fused = fuse_tables([a, b], skip_bad=True)
    assert [f.image_id for f in fused.faults] == ["b"]
    assert fused.films["image_id"].to_list() == ["a", "b"]
    with pytest.raises(BoxError, match="3 weights for 2 tables"):
        fuse_tables([a, b], weights=[1, 1, 1])


def test_predictions_stand_beside_the_truths_films(tmp_path: Path):
    truth = read(
        table(
            tmp_path,
            LONG + ",patient",
            "a,Effusion,,1,1,9,9,p",
            "b,,,,,,,",
            "c,Nodule/Mass,,1,1,9,9,p",
            name="t.csv",
        ),
        scored=False,
    )
    predicted = read(table(tmp_path, SUBMISSION, "c,8 0.5 1 1 9 9", "b,10 0.5 1 1 9 9", "a,", name="p.csv"))
    both = beside(predicted, truth)
    assert both.image_ids == ("a", "b", "c")
    assert both.names == ("Nodule or Mass", "Effusion")
    assert both.boxes.film.tolist() == [2, 1]
    assert both.boxes.kind.tolist() == [0, 1]
    assert both.boxes.true_film.tolist() == [0, 2]
    assert both.patients is not None
    assert len(np.unique(both.patients)) == 2  # p, and the unknown one of film b


def test_a_film_left_out_of_the_predictions_is_scored_as_without_boxes(tmp_path: Path):
    truth = read(table(tmp_path, LONG, "a,Effusion,1,1,1,9,9", "b,Effusion,1,1,1,9,9", name="t.csv"))
    predicted = read(table(tmp_path, SUBMISSION, "a,10 1 1 1 9 9", "z,10 1 1 1 9 9", name="p.csv"))
    with pytest.raises(BoxError, match=r"line 3 \(film 'b'\): the film is not in p.csv \(and 1 more"):
        beside(predicted, truth)
    both = beside(predicted, truth, skip_bad=True)
    assert both.boxes.films == 2
    assert len(both.boxes.true_boxes) == 2
    assert len(both.boxes.boxes) == 1
    assert {f.image_id for f in both.faults} == {"b", "z"}


@pytest.mark.parametrize("rows", [(), ("a,",)])
def test_nothing_to_score_is_said(tmp_path: Path, rows: tuple[str, ...]):
    empty = read(table(tmp_path, SUBMISSION, *rows))
    with pytest.raises(BoxError, match="the truth holds no"):
        beside(empty, empty)


def test_a_manifest_is_a_truth(tmp_path: Path):
    films = pl.DataFrame({"image_id": ["a", "b"], "path": ["a.png", "b.png"], "patient": ["p", None]})
    boxes = pl.DataFrame(
        {"image_id": ["a"], "finding": ["Effusion"], "x1": [1], "y1": [1], "x2": [9], "y2": [9]}
    )
    truth = of_manifest(Manifest(films, boxes), "m.parquet")
    predicted = read(table(tmp_path, SUBMISSION, "a,10 1 1 1 9 9", "b,"))
    both = beside(predicted, truth)
    assert both.names == ("Effusion",)
    assert both.boxes.true_boxes.tolist() == [[1, 1, 9, 9]]
