"""Trained by two processes of a Ray cluster, a run has the curves and metrics that one process gives it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.cluster.training import train_on_ray
from hilum.datasets import registry
from hilum.learning.recipe import Recipe
from hilum.learning.run import train
from tests.learning.conftest import content, write_films
from tests.learning.test_together import STILL, history


@pytest.mark.slow
def test_two_nodes_processes_learn_what_one_learns(cluster: str, tmp_path: Path):
    films = tmp_path / "data"
    registry.load("csv", write_films(films)).save(films / "films.parquet")
    wish = content(films, "multilabel") | {"model": {"name": "timm", "options": STILL}}
    recipe = Recipe.model_validate(wish)
    train(recipe, tmp_path / "one", device="cpu")
    bundle = train_on_ray(cluster, recipe, tmp_path / "ray", 2, "cpu")
    one, two = history(tmp_path / "one"), history(tmp_path / "ray")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-3, atol=2e-3, err_msg=name)
    measured = [
        json.loads((run / "validation" / "metrics.json").read_text())["overall"]["macro_auc"]["value"]
        for run in (tmp_path / "one", bundle.parent)
    ]
    assert measured[0] == pytest.approx(measured[1], abs=0.02)
