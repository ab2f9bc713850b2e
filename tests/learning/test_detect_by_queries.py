"""RT-DETR by the same task as YOLOv5: from recipe to bundle on phantoms whose lung boxes are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.bundles import load
from hilum.bundles.detecting import detect_film
from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError
from hilum.images.read import read
from hilum.learning.recipe import Recipe
from hilum.learning.run import train
from tests.learning.test_detect import wish

pytest.importorskip("transformers")
Make = Callable[..., Recipe]
SMALL = {"backbone": "resnet10t", "hidden": 32, "layers": 2, "queries": 20, "denoising": 16}


def by_queries(recipe: Make, boxed: Path, **changes: Any) -> Recipe:
    given = {"model": {"name": "rt_detr", "options": SMALL}, "loss": {"kind": "set"}, **changes}
    return wish(recipe, boxed, **given)


def test_it_learns_where_lungs_are(recipe: Make, boxed: Path, tmp_path: Path):
    phases = [{"name": "only", "epochs": 24, "batch": 8, "rate": 4e-3, "weight_decay": 1e-4}]
    asked = by_queries(recipe, boxed, phases=phases, augmentation={"rotation": 2, "mosaic": 0})
    bundle = load(train(asked, tmp_path / "run"))
    assert "anchors" not in bundle.info.model.options
    facts = next(iter(bundle.info.metrics.values()))["facts"]
    assert facts["mAP at IoU above 0.4"]["value"] > 0.5
    manifest = Manifest.load(tmp_path / "run" / "manifest.parquet")
    film = read(manifest.paths()[0])
    found = detect_film(bundle, film)
    best = found.boxes[[np.flatnonzero(found.kind == side)[0] for side in (0, 1)]]
    assert best[0, 2] < best[1, 0] + film.width * 0.2  # the right lung stands on the left


@pytest.mark.parametrize(("model", "loss", "other"), [("rt_detr", "yolo", "set"), ("yolov5", "set", "yolo")])
def test_a_loss_that_the_model_does_not_learn_by_is_refused(
    recipe: Make, boxed: Path, tmp_path: Path, model: str, loss: str, other: str
):
    asked = wish(recipe, boxed, model={"name": model}, loss={"kind": loss})
    with pytest.raises(RecipeError, match=f"'{model}' does not learn by loss '{loss}'") as caught:
        train(asked, tmp_path / "run")
    assert f"'{other}'" in str(caught.value.mend)
    assert not (tmp_path / "run").exists()


def test_a_task_without_boxes_refuses_the_set_loss(recipe: Make):
    with pytest.raises(ValueError, match="'multilabel' does not go with loss 'set'"):
        recipe("multilabel", loss={"kind": "set"})
