"""A batch in parts, activations computed again, and where a step's time goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.cli import app
from hilum.errors import RecipeError
from hilum.learning import distributing, group
from hilum.learning.profile import PARTS, StepProfiler, read, write
from hilum.learning.recipe import Recipe
from hilum.learning.run import train
from tests.learning.conftest import trained_weights
from tests.learning.test_together import STILL, history

Make = Callable[..., Recipe]


def of_mass(recipe: Make, **phase: Any) -> Recipe:
    """Without chance, and of a label that is known of every film."""
    still = dict.fromkeys(("rotation", "zoom", "translation", "brightness", "contrast", "gamma"), 0)
    phases = [{"name": "only", "epochs": 1, "batch": 8, "rate": 2e-3, **phase}]
    return recipe(
        data={"labels": ["Mass"]}, model={"name": "timm", "options": STILL}, augmentation=still, phases=phases
    )


def test_parts_of_a_batch_teach_what_the_batch_teaches(recipe: Make, tmp_path: Path):
    """By a frozen encoder, whose batch norm looks at no batch."""
    for parts in (1, 4):
        train(of_mass(recipe, train="head", accumulate=parts), tmp_path / str(parts), device="cpu")
    one, four = (trained_weights(tmp_path / name) for name in ("1", "4"))
    assert all(torch.allclose(one[name], four[name], atol=1e-5) for name in one)
    assert np.allclose(history(tmp_path / "1")["rate"], history(tmp_path / "4")["rate"])


def test_activations_computed_again_are_the_same(recipe: Make, tmp_path: Path):
    for again in (False, True):
        train(of_mass(recipe, checkpointing=again), tmp_path / str(again), device="cpu")
    kept, again = (history(tmp_path / name)["training_loss"] for name in ("False", "True"))
    np.testing.assert_allclose(again, kept, rtol=1e-4)


def test_a_model_that_cannot_is_refused(recipe: Make, tmp_path: Path):
    wish = recipe(
        model={"name": "simple_cnn"}, phases=[{"name": "a", "epochs": 1, "batch": 8, "checkpointing": True}]
    )
    with pytest.raises(RecipeError, match="no backbone that can compute its activations again"):
        train(wish, tmp_path / "run", device="cpu")


def test_uneven_parts_are_refused(recipe: Make):
    with pytest.raises(ValueError, match="has no 3 even parts"):
        of_mass(recipe, accumulate=3)


def test_what_asks_for_nothing_changes_no_digest(recipe: Make):
    plain = of_mass(recipe)
    assert plain.digest == of_mass(recipe, accumulate=1, checkpointing=False).digest
    assert plain.digest != of_mass(recipe, accumulate=2).digest


def test_what_processes_cannot_do_together_is_refused(recipe: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(group, "size", lambda: 3)
    with pytest.raises(RecipeError, match="Make it a multiple of 3"):
        distributing.refuse_apart(of_mass(recipe))
    distributing.refuse_apart(of_mass(recipe, batch=9))


def test_a_profile_says_where_the_time_of_steps_went(recipe: Make, tmp_path: Path):
    train(of_mass(recipe), tmp_path / "run", device="cpu", profile=True)
    rows = read(tmp_path / "run")
    assert [row.part for row in rows] == list(PARTS)
    spent = {row.part: row.seconds for row in rows}
    assert min(spent[part] for part in ("input", "forward", "backward", "optimiser", "validation")) > 0
    assert sum(row.share for row in rows) == pytest.approx(1, abs=0.01)
    assert spent["forward"] + spent["backward"] > spent["input"]


def test_time_counts_for_the_innermost_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    clock = iter(range(100))
    monkeypatch.setattr("hilum.learning.profile.time.perf_counter", lambda: float(next(clock)))
    told = StepProfiler()
    with told.profile("run_training_batch"), told.profile("[LightningModule]MultiLabel.optimizer_step"):
        with told.profile("[Strategy]SingleDeviceStrategy.training_step"), told.profile("augmentation"):
            pass
        with told.profile("[Strategy]SingleDeviceStrategy.backward"):
            pass
    spent = {row.part: row.seconds for row in told.rows("a")}
    assert (spent["forward"], spent["augmentation"], spent["backward"], spent["optimiser"]) == (2, 1, 1, 3)
    assert told.steps == 1
    write(tmp_path, told.rows("a"))
    write(tmp_path, told.rows("b"))
    write(tmp_path, told.rows("a"))
    assert [row.phase for row in read(tmp_path)] == ["b"] * len(PARTS) + ["a"] * len(PARTS)


def test_the_command_knows_them():
    from typer.testing import CliRunner

    shown = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output
    assert all(option in shown for option in ("--devices", "--profile", "--ray"))
