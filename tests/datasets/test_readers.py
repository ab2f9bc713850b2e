"""Readers kept apart, and one truth made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.datasets.manifest import Manifest
from hilum.datasets.readers import RULES, Readings, truth, with_truth
from hilum.errors import ManifestError

HEART, FLUID = "Cardiomegaly", "Effusion"


def manifest(readers: str | None = "R1 R2 R10") -> Manifest:
    """A film where three readers see a heart, two of them at one place, and one fluid; and a film without anything."""
    table = pl.DataFrame(
        {
            "image_id": ["a", "b"],
            "path": ["a.png", "b.png"],
            "width": [100, 100],
            "height": [200, 200],
            "readers": [readers, "R3 R4 R5"],
            f"label:{HEART}": [1, 0],
            f"label:{FLUID}": [1, 0],
        },
        schema_overrides={"readers": pl.String},
    )
    boxes = pl.DataFrame(
        [
            ("a", HEART, 10, 10, 50, 50, "R1"),
            ("a", HEART, 10, 10, 50, 60, "R10"),
            ("a", HEART, 60, 100, 90, 150, "R2"),
            ("a", FLUID, 10, 10, 50, 50, "R2"),
        ],
        schema=["image_id", "finding", "x1", "y1", "x2", "y2", "reader"],
        orient="row",
    )
    return Manifest(table, boxes)


def test_readings_say_who_read_what() -> None:
    readings = Readings.of(manifest())
    assert readings.names == ("R1", "R2", "R3", "R4", "R5", "R10")  # 2 before 10
    assert readings.read.tolist() == [[1, 1, 0, 0, 0, 1], [0, 0, 1, 1, 1, 0]]
    marks = readings.marks()
    assert marks.shape == (2, 6, 2)
    np.testing.assert_array_equal(marks[0, :, 0], [1, 1, np.nan, np.nan, np.nan, 1])
    np.testing.assert_array_equal(marks[0, :, 1], [0, 1, np.nan, np.nan, np.nan, 0])
    np.testing.assert_array_equal(marks[1, 2:5], 0)
    np.testing.assert_allclose(readings.area_shares(), [0.08, 0.1, 0.075, 0.08])


def test_slots_are_the_films_readers_one_by_one() -> None:
    readings = Readings.of(manifest())
    slots = readings.slots()
    assert [np.argwhere(slot).tolist() for slot in slots] == [
        [[0, 0], [1, 2]],
        [[0, 1], [1, 3]],
        [[0, 5], [1, 4]],
    ]
    assert (sum(slot.astype(int) for slot in slots) == readings.read).all()
    assert readings.only(slots[1]).boxes[:, 0].tolist() == [60, 10]
    second = readings.of_films(np.array([False, True]))
    assert (second.image_ids, len(second.boxes)) == (("b",), 0)
    assert readings.of_films(np.array([True, False])).film.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("rule", "hearts", "fluids"),
    [
        ("all", [[10, 10, 50, 50], [60, 100, 90, 150], [10, 10, 50, 60]], 1),
        ("nms", [[10, 10, 50, 50], [60, 100, 90, 150]], 1),
        ("wbf", [[10, 10, 50, 55], [60, 100, 90, 150]], 1),
        ("majority", [[10, 10, 50, 55]], 0),
        ("R1", [[10, 10, 50, 50]], 0),
        ("R3", [], 0),
    ],
)
def test_truth_by_each_rule(rule: str, hearts: list, fluids: int) -> None:
    readings = Readings.of(manifest())
    found = truth(readings, rule)
    assert found.boxes[found.finding == 0].tolist() == hearts
    assert int((found.finding == 1).sum()) == fluids
    assert set(found.film) <= {0}
    if rule == "wbf":
        assert found.readers.tolist() == [2, 1, 1]


def test_boxes_below_the_threshold_stay_apart() -> None:
    readings = Readings.of(manifest())  # the two hearts overlap by 0.8
    for rule in ("nms", "wbf"):
        assert (truth(readings, rule, 0.85).finding == 0).sum() == 3
    assert len(truth(readings, "majority", 0.85).film) == 0


def test_two_boxes_of_one_reader_are_no_majority() -> None:
    films = manifest()
    own = films.boxes.filter(reader="R1").with_columns(y2=pl.lit(55.0))
    films = Manifest(films.table, pl.concat([films.boxes.filter(reader="R1"), own]))
    readings = Readings.of(films)
    assert len(truth(readings, "wbf").film) == 1
    assert len(truth(readings, "majority").film) == 0


def test_with_truth_sets_boxes_and_labels_and_leaves_out_who_did_not_read() -> None:
    made = with_truth(manifest(), "majority")
    assert made.boxes.rows() == [("a", HEART, 10.0, 10.0, 50.0, 55.0, "majority")]
    np.testing.assert_array_equal(made.labels()[1], [[1, 0], [0, 0]])
    assert "rule 'majority' at IoU 0.4" in made.notes[-1]
    alone = with_truth(manifest(), "R2")
    assert alone.image_ids == ["a"]
    assert alone.boxes["reader"].unique().to_list() == ["R2"]
    np.testing.assert_array_equal(alone.labels()[1], [[1, 1]])


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_bears_films_without_boxes(rule: str) -> None:
    films = manifest().filter(image_id="b")
    assert len(truth(Readings.of(films), rule).film) == 0
    assert with_truth(films, rule).boxes.height == 0


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"box 1 \(film 'a'\) is of 'R10', who is no reader of it"):
        Readings.of(manifest("R1 R2"))
    with pytest.raises(ManifestError, match="who is no reader"):
        Readings.of(manifest(None))
    films = manifest()
    with pytest.raises(ManifestError, match="no column 'readers'"):
        Readings.of(Manifest(films.table.drop("readers"), films.boxes))
    with pytest.raises(ManifestError, match="boxes of 'Effusion', which is no label"):
        Readings.of(Manifest(films.table.drop(f"label:{FLUID}"), films.boxes))
    with pytest.raises(ManifestError, match="'R99' is neither a rule nor a reader"):
        truth(Readings.of(films), "R99")
