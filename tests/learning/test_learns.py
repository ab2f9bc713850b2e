"""The whole path learns: phantoms' lungs are found, and those with lesions told from those without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.learning.evaluate import evaluate
from hilum.learning.recipe import Recipe
from hilum.learning.run import train

Make = Callable[..., Recipe]
GREY = {"channels": 1, "mean": [0.5], "std": [0.25]}


def test_a_unet_finds_the_lungs_of_patients_it_has_not_seen(recipe: Make, tmp_path: Path):
    phase = {"name": "a", "epochs": 20, "batch": 8, "rate": 8e-3, "average": 0.8}
    wish = recipe("segment", preparation={"size": [48, 48], **GREY}, phases=[phase])
    bundle = train(wish, tmp_path / "run")
    result = evaluate(bundle, tmp_path / "run" / "manifest.parquet", tmp_path / "test", split="test")
    assert result["note"].startswith("12 films of 6 patients")
    assert result["facts"]["dice"]["value"] > 0.8


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_a_classifier_tells_lesions(task: str, recipe: Make, tmp_path: Path):
    phase = {"name": "a", "epochs": 14, "batch": 8, "rate": 5e-3, "average": 0.7}
    wish = recipe(task, preparation={"size": [48, 48], **GREY}, phases=[phase])
    bundle = train(wish, tmp_path / "run")
    result = evaluate(bundle, tmp_path / "run" / "manifest.parquet", tmp_path / "test", split="test")
    rows = {row["output"]: row for row in result["tables"]["per output"]}
    assert rows["Mass" if task == "multilabel" else "ill"]["AUC"]["value"] > 0.8
