"""A detector from recipe to bundle on phantoms whose lung boxes are known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.analysis.analyzer import Analyzer
from hilum.boxes import iou, select
from hilum.bundles import load
from hilum.bundles.detecting import detect_film
from hilum.bundles.info import Cut
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.mosaic import mosaic
from hilum.errors import ManifestError, RecipeError
from hilum.evaluation.detection import Detections, match
from hilum.evaluation.detection_ap import voc_map
from hilum.evaluation.detection_range import ap_estimate, best_f1
from hilum.images.preparation import Preparation
from hilum.images.read import read
from hilum.learning.anchors import recall
from hilum.learning.evaluate import evaluate
from hilum.learning.material import gather, manifest_of
from hilum.learning.recipe import Recipe
from hilum.learning.run import train
from hilum.learning.targets import boxes_of
from hilum.learning.tasks.detect import packed, rows, unpacked
from tests.bundles_for_tests import dark_lungs_bundle
from tests.learning.conftest import SIDES

Make = Callable[..., Recipe]


def wish(recipe: Make, boxed: Path, **changes: Any) -> Recipe:
    given: dict[str, Any] = {
        "preparation": {"size": [64, 64], "aspect": "pad", "channels": 1, "mean": [0.0], "std": [1.0]},
        "model": {"name": "yolov5", "options": {"scale": "n"}},
        "loss": {"kind": "yolo"},
        "augmentation": {"rotation": 3, "mosaic": 0.3},
        "phases": [{"name": "only", "epochs": 1, "batch": 8, "rate": 5e-3}],
        **changes,
    }
    made = recipe("segment", data={"manifest": str(boxed), "sources": []}).model_dump()
    made["data"]["labels"] = list(given.pop("labels", SIDES))
    return Recipe.model_validate({**made, "task": "detect", **given})


def test_targets_are_the_boxes_where_the_film_was_prepared(recipe: Make, boxed: Path):
    asked = wish(recipe, boxed)
    stuff = gather(asked)
    targets = np.asarray(stuff.train.targets)
    ids = stuff.train.manifest.image_ids
    assert targets.shape == (len(ids), 2, 5)
    place = asked.preparation.place((160, 140))
    for image_id, held in zip(ids, targets, strict=True):
        own = stuff.train.manifest.boxes.filter(image_id=image_id)
        assert (~np.isnan(held[:, 0])).sum() == own.height
        for finding, *box in own.select("finding", "x1", "y1", "x2", "y2").rows():
            wanted = place.boxes_to_prepared(np.array([box]))[0]
            np.testing.assert_allclose(held[held[:, 0] == SIDES.index(finding), 1:][0], wanted, atol=1e-4)


def test_boxes_are_cut_at_the_edge_and_those_outside_left_out():
    table = pl.DataFrame(
        {"image_id": ["a", "b"], "path": ["a.png", "b.png"], "height": [100, 100], "width": [200, 200]}
    )
    boxes = pl.DataFrame(
        {
            "image_id": ["a", "a"],
            "finding": ["Mass", "Mass"],
            "x1": [0.0, 120.0],
            "y1": [10.0, 10.0],
            "x2": [40.0, 160.0],
            "y2": [90.0, 90.0],
        }
    )
    manifest = Manifest(table, boxes)
    cut = boxes_of(manifest, ("Mass",), Preparation(size=(50, 50), aspect="crop"))
    assert cut.shape == (2, 1, 5)
    np.testing.assert_allclose(cut[0, 0], [0, 35, 5, 50, 45])  # the middle 100 pixels are kept, at half size
    assert np.isnan(cut[1]).all()


def test_a_run_ends_in_a_bundle_that_detects_and_is_measured(recipe: Make, boxed: Path, tmp_path: Path):
    asked = wish(recipe, boxed)
    bundle = load(train(asked, tmp_path / "run"))
    assert bundle.info.task == "detect"
    assert bundle.labels == list(SIDES)
    anchors = bundle.info.model.options["anchors"]
    sizes = np.asarray(gather(asked).train.targets)
    held = sizes[~np.isnan(sizes[..., 0])]
    assert recall(np.array(anchors), held[:, 3:] - held[:, 1:3]) == 1
    (section,) = bundle.info.metrics.values()
    assert set(section["facts"]) == {"mAP at IoU above 0.4", "AP50", "AP50:95"}
    manifest = Manifest.load(tmp_path / "run" / "manifest.parquet")
    found = evaluate(bundle, manifest, tmp_path / "test", split="test")
    assert "12 films" in found["note"]
    table = pl.read_csv(tmp_path / "test" / "boxes.csv")
    path = dict(zip(manifest.image_ids, manifest.paths(), strict=True))
    image_id = table["image_id"][0]
    film = read(path[image_id])
    alone = detect_film(bundle, film)
    own = table.filter(pl.col("image_id") == image_id)
    np.testing.assert_allclose(own["score"], alone.scores, rtol=1e-4)
    np.testing.assert_allclose(own.select("x1", "y1", "x2", "y2").to_numpy(), alone.boxes, atol=0.01)
    assert (alone.boxes[:, 2] <= film.width).all()
    best = np.sort(alone.scores)[::-1][:20]
    gap = int(np.argmax(best[:-1] - best[1:]))  # no rounding moves a score over the widest gap
    low = Cut(value=float(best[gap : gap + 2].mean()), rule="by hand")
    labels = tuple(label.model_copy(update={"threshold": low}) for label in bundle.info.labels)
    bundle.info = bundle.info.model_copy(update={"labels": labels})
    report = Analyzer([bundle, dark_lungs_bundle()]).analyze(film)
    assert report.findings == ()
    assert [b.score for b in report.boxes] == pytest.approx(list(best[: gap + 1]), rel=1e-4)
    assert report.as_dict()["boxes"][0]["bundle"] == bundle.info.name


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_where_lungs_are(recipe: Make, boxed: Path, tmp_path: Path, seed: int):
    phases = [{"name": "only", "epochs": 30, "batch": 8, "rate": 1e-2, "weight_decay": 0}]
    asked = wish(recipe, boxed, phases=phases, augmentation={"rotation": 2, "mosaic": 0}, seed=seed)
    bundle = load(train(asked, tmp_path / "run"))
    facts = next(iter(bundle.info.metrics.values()))["facts"]
    assert facts["mAP at IoU above 0.4"]["value"] > 0.8
    assert all(label.threshold is not None for label in bundle.info.labels)


def test_what_cannot_be_learnt_is_refused(recipe: Make, boxed: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match="no training film has a box of Heart"):
        gather(wish(recipe, boxed, labels=[*SIDES, "Heart"]))
    with pytest.raises(ValueError, match="does not go with loss"):
        wish(recipe, boxed, loss={"kind": "bce"})
    with pytest.raises(ValueError, match="mosaic goes with"):
        recipe("multilabel", augmentation={"mosaic": 0.5})
    bundle = train(wish(recipe, boxed), tmp_path / "run")
    manifest = Manifest.load(tmp_path / "run" / "manifest.parquet")
    bare = Manifest(manifest.table, root=manifest.root)
    with pytest.raises(ManifestError, match="has a box"):
        evaluate(bundle, bare, tmp_path / "test", split="test")


def test_a_mosaic_that_is_not_asked_for_leaves_the_digest_as_it_was(recipe: Make):
    plain = recipe()
    assert '"mosaic"' in plain.model_dump_json()
    other = plain.model_copy(update={"augmentation": plain.augmentation.model_copy(update={"mosaic": 0.5})})
    assert other.digest != plain.digest


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.sampled_from([(32, 32), (40, 64)]))
def test_in_a_mosaic_boxes_stay_on_what_they_were_drawn_around(seed: int, size: tuple[int, int]):
    chance = np.random.default_rng(seed)
    images, targets = torch.zeros(4, *size), torch.full((4, 2, 5), math.nan)
    for film in range(4):
        x, y = chance.integers(0, size[1] - 8), chance.integers(0, size[0] - 8)
        w, h = chance.integers(4, 9, 2)
        images[film, y : y + h, x : x + w] = 1.0
        targets[film, 0] = torch.tensor([film, x, y, x + w, y + h], dtype=torch.float32)
    out, boxes = mosaic(images, targets, 1.0, torch.Generator().manual_seed(seed))
    assert boxes.shape == (4, 8, 5)
    for film in range(4):
        held = boxes[film][~boxes[film, :, 0].isnan()]
        inside = torch.zeros(size, dtype=torch.bool)
        for _, x1, y1, x2, y2 in held.tolist():
            assert 0 <= x1 < x2 <= size[1]
            assert 0 <= y1 < y2 <= size[0]
            core = out[film, math.ceil(y1) : math.floor(y2), math.ceil(x1) : math.floor(x2)]
            assert core.numel() == 0 or core.mean() > 0.6
            inside[
                max(0, math.floor(y1) - 1) : math.ceil(y2) + 1, max(0, math.floor(x1) - 1) : math.ceil(x2) + 1
            ] = True
        # What is bright and in no box is what a corner cut off: less than a tenth of a film's square.
        assert float(out[film][~inside].sum()) <= 4 * 0.1 * 81 + 1
    unchanged, same = mosaic(images, targets, 0.0, torch.Generator().manual_seed(seed))
    assert torch.equal(unchanged, images)
    assert torch.equal(same[:, :2].nan_to_num(-1), targets.nan_to_num(-1))


def test_rows_hold_each_box_by_its_centre():
    targets = torch.full((2, 2, 5), math.nan)
    targets[1, 0] = torch.tensor([3.0, 10, 20, 30, 60])
    assert rows(targets).tolist() == [[1, 3, 20, 40, 20, 40]]


def test_candidates_are_selected_by_class_and_film():
    boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [5, 5, 5, 9]]] * 2, float)
    scores = np.array(
        [[[0.9, 0.0], [0.8, 0.7], [0.3, 0.0], [0.99, 0.99]], [[0.2, 0], [0.6, 0], [0, 0], [np.nan, 0]]]
    )
    found = select(boxes, scores)
    assert list(zip(found.film, found.kind, found.scores, strict=True)) == [
        (0, 0, 0.9),
        (0, 1, 0.7),
        (0, 0, 0.3),
        (1, 0, 0.6),
    ]
    assert iou(found.boxes[:1], boxes[0, :1])[0, 0] == 1
    assert len(select(boxes, scores, most=1).boxes) == 2
    assert len(select(boxes, scores * 0).boxes) == 0


def some(seed: int) -> Detections:
    chance = np.random.default_rng(seed)
    low = chance.uniform(0, 50, (40, 2))
    true = np.column_stack([low, low + chance.uniform(8, 30, (40, 2))])
    film, kind = chance.integers(0, 12, 40), chance.integers(0, 3, 40)
    moved = true + chance.normal(0, 2.5, true.shape)
    return Detections(moved, chance.random(40).round(1), film, kind, true, film, kind, films=12, classes=4)


@pytest.mark.parametrize("seed", range(3))
def test_a_range_of_ious_is_the_mean_of_each_and_the_best_f1_that_of_brute_force(seed: int):
    boxes = some(seed)
    ious = (0.5, 0.6, 0.7)
    found = ap_estimate(boxes, ious, replicates=50)
    assert found.value == pytest.approx(np.mean([voc_map(boxes, i) for i in ious]))
    assert found.low <= found.value <= found.high
    hit = match(boxes, 0.4).hit
    for kind, cut in enumerate(best_f1(boxes)):
        own, true = boxes.kind == kind, (boxes.true_kind == kind).sum()
        if kind == 3:
            assert math.isnan(cut.value)
            assert cut.note == "no true box"
            continue
        tried = [
            2 * hit[own & (boxes.scores >= s)].sum() / ((own & (boxes.scores >= s)).sum() + true)
            for s in boxes.scores[own]
        ]
        reached = (
            2
            * hit[own & (boxes.scores >= cut.value)].sum()
            / ((own & (boxes.scores >= cut.value)).sum() + true)
        )
        assert reached == pytest.approx(max(tried))


def test_readers_become_one_truth_by_the_recipes_rule(recipe: Make, boxed: Path, tmp_path: Path):
    manifest = Manifest.load(boxed)
    moved = manifest.boxes.with_columns(pl.lit("B").alias("reader"), pl.col("x1") + 2)
    both = pl.concat([manifest.boxes.with_columns(pl.lit("A").alias("reader")), moved], how="diagonal")
    table = manifest.table.with_columns(
        pl.lit("A B").alias("readers"), *(pl.lit(0.0, pl.Float32).alias(LABEL + name) for name in SIDES)
    )
    place = tmp_path / "read.parquet"
    Manifest(table, both, root=manifest.root).save(place)
    asked = wish(recipe, place).data
    assert manifest_of(asked).boxes.height == 2 * manifest.boxes.height
    fused = manifest_of(asked.model_copy(update={"readers": "wbf"}))
    assert fused.boxes["reader"].unique().to_list() == ["wbf"]
    keys = ["image_id", "finding"]
    pairs = fused.boxes.join(manifest.boxes, on=keys, suffix="_a")
    assert pairs.height == fused.boxes.height == manifest.boxes.height
    np.testing.assert_allclose(pairs["x1"] - pairs["x1_a"], 1, atol=1e-6)


def test_an_epoch_is_kept_as_what_was_selected_of_it():
    chance = np.random.default_rng(0)
    corners = chance.uniform(0, 50, (3, 40, 2))
    boxes = np.concatenate([corners, corners + chance.uniform(1, 20, (3, 40, 2))], -1).astype(np.float32)
    found = select(
        boxes, np.where(chance.random((3, 40, 2)) > 0.5, chance.random((3, 40, 2)), 0).astype(np.float32)
    )
    kept = unpacked(packed(found, 3))
    for name in ("boxes", "scores", "film", "kind"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(found, name))
    none = select(boxes[:, :0], np.zeros((3, 0, 2)))
    assert len(unpacked(packed(none, 3)).scores) == 0


def test_a_flip_that_would_change_sides_is_refused(recipe: Make, boxed: Path):
    with pytest.raises(ValueError, match="other side"):
        wish(recipe, boxed, augmentation={"flip": 0.5})


def test_boxes_are_held_to_a_manifest_whose_films_were_larger(recipe: Make, boxed: Path, tmp_path: Path):
    phases = [{"name": "only", "epochs": 1, "batch": 8, "rate": 5e-3}]
    bundle = load(train(wish(recipe, boxed, phases=phases), tmp_path / "run"))
    films = Manifest.load(boxed).filter(split="test")
    numbers = [pl.col(c) * 2 for c in ("x1", "y1", "x2", "y2")]
    sizes = [pl.lit(280).alias("width"), pl.lit(320).alias("height")]
    larger = Manifest(films.table.with_columns(sizes), films.boxes.with_columns(numbers), root=films.root)
    for manifest, place in ((films, "as-they-are"), (larger, "larger")):
        evaluate(bundle, manifest, tmp_path / place)
    one, two = (pl.read_csv(tmp_path / place / "boxes.csv") for place in ("as-they-are", "larger"))
    np.testing.assert_allclose(2 * one["x2"].to_numpy(), two["x2"].to_numpy(), rtol=1e-6)
    facts = [
        json.loads((tmp_path / p / "metrics.json").read_text())["facts"] for p in ("as-they-are", "larger")
    ]
    assert facts[0] == facts[1]
