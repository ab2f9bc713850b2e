"""Several processes learn what one learns: the same curves, the same metrics, the same weights within rounding."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.learning.recipe import Recipe
from hilum.learning.run import train
from hilum.learning.together import train_together
from tests.learning.conftest import trained_weights

PHASES = [
    {"name": "head", "train": "head", "epochs": 1, "batch": 8, "rate": 2e-3},
    {"name": "all", "epochs": 2, "batch": 8, "rate": 1e-3, "average": 0.8},
]
STILL = {"name": "mobilenetv3_small_050", "dropout": 0.0}  # dropout is drawn by each process for itself


def history(run: Path) -> dict[str, np.ndarray]:
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ("training_loss", "validation_loss", "training_score", "validation_score", "rate")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(recipe: Callable[..., Recipe], tmp_path: Path):
    """Of films of which a third lack a label, through a frozen encoder and averaged weights."""
    wish = recipe(model={"name": "timm", "options": STILL}, phases=PHASES)
    train(wish, tmp_path / "one", device="cpu")
    bundle = train_together(wish, tmp_path / "two", 2, "cpu")
    assert bundle == tmp_path / "two" / "bundle"
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-3, atol=2e-3, err_msg=name)
    first, second = trained_weights(tmp_path / "one"), trained_weights(tmp_path / "two")
    assert first.keys() == second.keys()
    apart = torch.cat([(first[n].double() - second[n].double()).flatten() for n in first]).norm()
    assert apart / torch.cat([first[n].double().flatten() for n in first]).norm() < 1e-2
