"""A study whose arms detect: what each found on the films that it held out, alone, fused, and as calls of films."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hilum.boxes import wbf
from hilum.bundles.bundle import patient_hash
from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError
from hilum.evaluation.detection_ap import voc_map
from hilum.learning.material import patient_keys
from hilum.studies import cost
from hilum.studies.detectors import BOXES, CORNERS, Found, fused, outlined
from hilum.studies.jobs import Request
from hilum.studies.reproduce import reproduce
from hilum.studies.study import Fusion, Study
from tests.bundles_for_tests import dark_lungs_bundle
from tests.learning.conftest import SIDES

FIGURES = [f"figures/{name}.png" for name in ("labels", "losses", "areas", "films-small", "froc-large")]


def study(films: Path, boxed: Path) -> Study:
    """A small YOLOv5, in two folds, at two input sizes; a third arm cannot be built."""
    recipe = {
        "name": "toy",
        "task": "detect",
        "data": {
            "root": str(films),
            "manifest": str(boxed),
            "labels": list(SIDES),
            "split": {"kind": "kfold", "folds": 2, "validation": 0.3, "seed": 1},
            "store": str(films.parent / "stores"),
        },
        "preparation": {"size": [64, 64], "aspect": "pad", "channels": 1, "mean": [0.0], "std": [1.0]},
        "model": {"name": "yolov5", "options": {"scale": "n"}},
        "loss": {"kind": "yolo"},
        "augmentation": {"rotation": 3},
        "phases": [{"name": "only", "epochs": 1, "batch": 8, "rate": 5e-3}],
        "bundle": {"title": "Toy", "licence": "Apache-2.0"},
        "seed": 3,
    }
    variant = {
        "about": "Toy.",
        "reference": "small",
        "folds": [0, 1],
        "arms": {
            "small": {"title": "Small"},
            "large": {"title": "Large", "changes": {"preparation.size": [96, 96]}},
            "broken": {"title": "Broken", "changes": {"model.options.scale": "q"}},
        },
    }
    given = {"name": "toy", "title": "Toy", "paper": "Nobody, Nowhere, 2020", "metric": "mean_ap"}
    return Study.model_validate({**given, "recipe": recipe, "variants": {"published": variant}})


@pytest.fixture(scope="module")
def carried_out(
    films: Path, boxed: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Request, dict[str, Any]]:
    request = Request(study(films, boxed), "published", films, tmp_path_factory.mktemp("study"))
    made = reproduce(request, device="cpu")
    assert {fault.partition(":")[0] for fault in made.faults} == {"broken, fold 1", "broken, fold 2"}
    assert all((request.place / path).is_file() for path in FIGURES)
    assert not (request.place / "figures" / "auc-by-epoch.png").exists()  # their score is no AUC
    return request, json.loads(made.table.with_suffix(".json").read_text())


def rows_of(found: dict[str, Any], title: str) -> list[dict[str, Any]]:
    (table,) = [each for each in found["tables"] if each["title"] == title]
    return list(table["rows"])


def test_each_arm_and_their_fusion_are_measured_on_every_film_once(
    carried_out: tuple[Request, dict[str, Any]], boxed: Path
):
    _, found = carried_out
    rows = rows_of(found, "Average precision")
    whole = Manifest.load(boxed)
    assert [row["system"] for row in rows] == ["Small", "Large", "all 2 fused (wbf, IoU 0.5)"]
    assert {row["films"] for row in rows} == {len(whole)} == {found["held_out_films"]}
    assert {row["true boxes"] for row in rows} == {whole.boxes.height}
    by_finding = rows_of(found, "Average precision of each finding, IoU above 0.4")
    for row in rows:
        each = [line[row["system"]]["value"] for line in by_finding]
        assert row["mAP"]["value"] == pytest.approx(np.mean(each))


def test_films_are_called_at_each_runs_own_thresholds(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    rows = rows_of(found, "Films called by their boxes")
    assert [(row["arm"], row["finding"]) for row in rows] == [
        (a, s) for a in ("Small", "Large") for s in SIDES
    ]
    called = right = 0
    for fold in ("1", "2"):
        run = request.place / "runs/small" / fold
        info = json.loads((run / "bundle/bundle.json").read_text())
        cut = info["labels"][0]["threshold"]["value"] if info["labels"][0]["threshold"] else np.inf
        best = pl.read_csv(run / "test/boxes.csv").filter(pl.col("finding") == SIDES[0])
        films = best.filter(pl.col("score") >= cut)["image_id"].unique().to_list()
        true = Manifest.load(run / "manifest.parquet").boxes.filter(pl.col("finding") == SIDES[0])
        called += len(films)
        right += len(set(films) & set(true["image_id"]))
    precision = rows[0]["precision"]["value"]
    assert precision is None if not called else precision == pytest.approx(right / called)


def found_on(manifest: Manifest, title: str, shift: float, score: float) -> Found:
    """Every true box, moved."""
    boxes = manifest.boxes.select(
        "image_id", "finding", score=pl.lit(score), **{c: pl.col(c) + shift for c in CORNERS}
    )
    return Found(title, manifest, SIDES, boxes.select(BOXES.names()))


def test_fusion_takes_films_that_all_held_out_and_equals_wbf(boxed: Path):
    manifest = Manifest.load(boxed)
    some = set(manifest.image_ids[5:])
    first, second = found_on(manifest, "a", 0, 0.9), found_on(manifest, "b", 2, 0.5).only(some)
    both = fused([first, second], Fusion(iou=0.4))
    assert both is not None
    assert set(both.films.image_ids) == some
    image_id, finding = (
        manifest.boxes.filter(pl.col("image_id").is_in(sorted(some))).select("image_id", "finding").row(0)
    )
    one = [
        each.boxes.filter((pl.col("image_id") == image_id) & (pl.col("finding") == finding))
        for each in (first, second)
    ]
    corners = np.concatenate([each.select(CORNERS).to_numpy() for each in one])
    wanted = wbf(corners, np.array([0.9, 0.5]), np.array([0, 1]), iou_threshold=0.4)
    got = both.boxes.filter((pl.col("image_id") == image_id) & (pl.col("finding") == finding))
    np.testing.assert_allclose(got.select(CORNERS).to_numpy(), wanted.boxes)
    np.testing.assert_allclose(got["score"], wanted.scores)
    assert voc_map(both.detections) == 1.0
    nothing = replace(second, boxes=second.boxes.clear())
    half = fused([first, nothing], Fusion(iou=0.4))
    assert half is not None
    assert half.boxes["score"].to_numpy() == pytest.approx(0.45)  # one of two arms saw each
    assert fused([first], Fusion()) is None
    assert fused([first, second.only(set())], Fusion()) is None


def test_a_segmenters_boxes_are_of_patients_that_it_does_not_know(boxed: Path):
    found = found_on(Manifest.load(boxed), "a", 0, 0.9)
    bundle = dark_lungs_bundle()
    theirs = outlined(bundle, found)
    assert set(theirs.boxes["finding"]) == set(SIDES)
    assert len(theirs.films) == len(found.films)
    assert voc_map(theirs.detections) > 0.5
    keys = patient_keys(found.films)
    bundle.patients = np.array([patient_hash(keys[0])])
    assert set(patient_keys(outlined(bundle, found).films)) == set(keys) - {keys[0]}
    with pytest.raises(RecipeError, match="right and a left lung"):
        outlined(bundle, replace(found, labels=("Mass",)))


def test_a_dry_run_measures_detectors_and_says_what_the_missing_films_would_take(
    films: Path, boxed: Path, tmp_path: Path
):
    request = Request(study(films, boxed), "published", films, tmp_path, arms=("small",), folds=(0,))
    (found,) = cost.estimate(request.jobs())
    assert found.step > 0
    assert found.films == len(Manifest.load(boxed))
    assert cost.with_missing([found]) == pytest.approx(found.seconds / 3600)
    lacking = replace(found, missing=3 * found.films)
    assert cost.with_missing([lacking]) == pytest.approx(4 * found.seconds / 3600)
