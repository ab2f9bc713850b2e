"""Learning from the labels of a share of the training patients, and what an epoch's own batches score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from hilum.errors import RecipeError
from hilum.learning.history import History
from hilum.learning.material import gather, patient_keys
from hilum.learning.recipe import Recipe
from hilum.learning.run import train


def patients(recipe: Recipe) -> tuple[set[str], set[str]]:
    stuff = gather(recipe)
    return set(patient_keys(stuff.train.manifest)), set(patient_keys(stuff.validation.manifest))


def test_a_smaller_share_lies_within_a_greater_one(recipe: Callable[..., Recipe]):
    whole, chosen_on = patients(recipe())
    half, same = patients(recipe(data={"labelled": 0.6}))
    few, _ = patients(recipe(data={"labelled": 0.3}))
    assert few < half < whole
    assert same == chosen_on
    assert patients(recipe(data={"labelled": 0.6}, seed=4))[0] != half


def test_a_share_of_films_and_one_of_labels_are_drawn_apart(recipe: Callable[..., Recipe]):
    both = patients(
        recipe(data={"labelled": 0.5, "fraction": 0.5, "split": {"kind": "holdout", "validation": 0.3}})
    )[0]
    kept = patients(recipe(data={"fraction": 0.5, "split": {"kind": "holdout", "validation": 0.3}}))[0]
    assert both < kept


def test_a_share_of_nobody_is_refused(recipe: Callable[..., Recipe]):
    with pytest.raises(RecipeError, match=r"data\.labelled: 0\.0001 of the training patients are none"):
        gather(recipe(data={"labelled": 0.0001}))


def test_recipes_of_before_keep_their_digest(recipe: Callable[..., Recipe]):
    assert recipe(data={"labelled": 1.0}).digest == recipe().digest
    assert recipe(data={"labelled": 0.5}).digest != recipe().digest


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_the_batches_of_an_epoch_are_scored(recipe: Callable[..., Recipe], tmp_path: Path, task: str):
    train(recipe(task), tmp_path)
    scores = pl.read_csv(tmp_path / "history.csv")["training_score"]
    assert len(scores) == 2
    assert scores.is_between(0, 1).all()


def test_a_history_of_before_goes_on_and_is_drawn(tmp_path: Path):
    columns = "phase,epoch,training_loss,validation_loss,validation_score,rate,seconds"
    (tmp_path / "history.csv").write_text(f"{columns}\nonly,0,0.7,0.6,0.55,0.001,2\n")
    history = History(tmp_path)
    history.add(
        "only",
        1,
        1e-3,
        {"training/loss": 0.6, "validation/loss": 0.5, "training/score": 0.7, "validation/score": 0.6},
    )
    found = pl.read_csv(tmp_path / "history.csv")
    assert found["training_score"].to_list() == [None, 0.7]
    assert history.draw().stat().st_size > 2000
