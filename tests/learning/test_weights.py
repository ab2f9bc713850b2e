"""Weights against imbalance: from training films alone, equal to scikit-learn's and to counts made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError
from hilum.learning import phases, recipe_losses, run, weights
from hilum.learning.losses import binary_cross_entropy, binary_focal, cross_entropy
from hilum.learning.material import gather
from hilum.learning.recipe import Recipe
from tests.learning.test_losses import case, focal_by_hand

Make = Callable[..., Recipe]
NAN = np.nan


def test_class_weights_are_scikit_learns():
    classes = np.array([0, 0, 0, 0, 1, 2, 2, -1, -1])
    known = classes[classes >= 0]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=known)
    np.testing.assert_allclose(weights.class_weights(classes, 3), expected)
    np.testing.assert_allclose(weights.class_weights(classes, 4)[3], 1)


def test_positive_weights_are_negatives_by_positives():
    labels = np.array([[1, 1, NAN], [0, 1, 0], [0, 1, 0], [0, NAN, NAN]])
    np.testing.assert_allclose(weights.positive_weights(labels), [3, 1, 1])


def test_each_class_has_the_same_chance_to_be_drawn():
    classes = np.array([0] * 6 + [1] * 3 + [2] + [-1] * 4)
    chances = weights.film_weights(classes)
    assert [chances[classes == c].sum() for c in (0, 1, 2)] == pytest.approx([1 / 3] * 3)
    assert (chances[classes == -1] == 0).all()


def test_a_film_counts_as_its_rarest_finding():
    """Common: 4 films, one of which has the rare one too; none: 3 films, one of them unknown."""
    labels = np.array([[1, 0], [1, 0], [1, NAN], [1, 1], [0, 0], [0, NAN], [NAN, NAN]])
    chances = weights.film_weights(labels)
    np.testing.assert_allclose(chances, [1 / 9] * 3 + [1 / 3] + [1 / 9] * 3)


def test_positive_weights_in_bce_are_torchs():
    logits, targets = case(5)
    weight = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)
    values = F.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(), pos_weight=weight, reduction="none"
    )
    expected = values[~targets.isnan()].mean()
    assert torch.isclose(binary_cross_entropy(logits, targets, weight), expected)
    assert torch.isclose(
        recipe_losses.BinaryCrossEntropy(positive_weight=(0.5, 2, 7))(logits, targets), expected
    )


def test_positive_weights_in_focal_multiply_alpha_of_the_positives():
    logits, targets = case(6)
    weighted = recipe_losses.Focal(alpha=0.4, gamma=1.5, positive_weight=(2.0, 1.0, 3.0))(logits, targets)
    known, by_hand = (~targets.isnan()).sum(), 0.0
    for column, weight in enumerate((2.0, 1.0, 3.0)):
        z, t = logits[:, column].numpy(), targets[:, column].numpy()
        for truth, factor in ((1, weight), (0, 1.0)):
            chosen = t == truth
            if chosen.any():
                by_hand += factor * chosen.sum() * focal_by_hand(z[chosen], t[chosen], 0.4, 1.5, "complement")
    assert weighted.item() == pytest.approx(float(by_hand / known))
    same = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    assert torch.isclose(binary_focal(logits, targets, positive_weight=same), binary_focal(logits, targets))


def test_class_weights_in_cross_entropy_are_torchs():
    logits, _ = case(shape=(6, 3))
    classes = torch.tensor([0, 2, -1, 2, -1, 1])
    weight = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    expected = F.cross_entropy(logits[classes >= 0], classes[classes >= 0], weight)
    assert torch.isclose(cross_entropy(logits, classes, weights=weight), expected)
    assert torch.isclose(recipe_losses.CrossEntropy(class_weights=(0.2, 1.0, 3.0))(logits, classes), expected)


def test_balanced_weights_see_training_films_alone_and_are_written_down(recipe: Make, tmp_path: Path):
    wish = recipe(
        data={"auxiliary": ["sex:F"], "keep": "patient != 'films:p3'"},
        loss={"kind": "bce", "positive_weight": "balanced"},
    )
    stuff = gather(wish)
    table = stuff.train.manifest.table
    effusion = table["label:Effusion"].drop_nulls()
    expected = [
        (table["label:Mass"] == 0).sum() / (table["label:Mass"] == 1).sum(),
        (effusion == 0).sum() / (effusion == 1).sum(),
        (table["sex"] != "F").sum() / (table["sex"] == "F").sum(),
    ]
    run._note_loss(tmp_path, wish, stuff)
    noted = json.loads((tmp_path / "loss.json").read_text())
    assert noted["outputs"] == ["Mass", "Effusion", "sex:F"]
    assert noted["positive_weight"] == pytest.approx(expected)
    assert noted["kind"] == "bce"
    with pytest.raises(ValueError, match="training films"):
        wish.loss(torch.zeros(1, 3), torch.zeros(1, 3))


def test_a_balanced_epoch_draws_the_rare_class_as_often(recipe: Make):
    wish = recipe(
        "multiclass",
        data={"keep": "\"class\" = 'well' OR age < 26"},
        phases=[{"name": "a", "epochs": 1, "batch": 4, "sampler": "balanced"}],
    )
    stuff = gather(wish)
    feed = phases._feed(stuff, stuff.train, wish.phases[0], 0, learn=True)
    truth = np.asarray(stuff.train.truth)
    assert (truth == 1).mean() < 0.4
    drawn = np.concatenate([truth[feed.batches.order(epoch)] for epoch in range(40)])
    assert (drawn == 1).mean() == pytest.approx(0.5, abs=0.06)
    plain = phases._feed(stuff, stuff.validation, wish.phases[0], 0, learn=False)
    assert plain.batches.weights is None
    np.testing.assert_array_equal(plain.batches.order(3), np.arange(len(stuff.validation.rows)))


def test_films_are_drawn_as_often_as_the_manifest_repeats_them(recipe: Make):
    wish = recipe("multiclass", phases=[{"name": "a", "epochs": 1, "batch": 4, "sampler": "repeats"}])
    stuff = gather(wish)
    table, ill = stuff.train.manifest.table, np.asarray(stuff.train.truth) == 1
    with pytest.raises(RecipeError, match="`repeats`"):
        phases._feed(stuff, stuff.train, wish.phases[0], 0, learn=True)
    films = Manifest(table.with_columns(repeats=np.where(ill, 3.0, 0.5)), root=stuff.train.manifest.root)
    part = replace(stuff.train, manifest=films)
    feed = phases._feed(stuff, part, wish.phases[0], 0, learn=True)
    drawn = np.concatenate([np.asarray(part.truth)[feed.batches.order(epoch)] for epoch in range(40)])
    assert (drawn == 1).mean() == pytest.approx(
        3 * ill.sum() / (3 * ill.sum() + 0.5 * (~ill).sum()), abs=0.06
    )


@pytest.mark.parametrize(
    ("task", "changes", "named"),
    [
        ("multilabel", {"loss": {"kind": "bce", "positive_weight": [1, 2, 3]}}, "loss.positive_weight: 3 weights for 2"),
        ("multilabel", {"loss": {"kind": "bce", "positive_weight": [1, -2]}}, "positive_weight"),
        ("multilabel", {"loss": {"kind": "focal", "positive_weight": "rare"}}, "positive_weight"),
        ("multiclass", {"loss": {"kind": "cross_entropy", "class_weights": [1]}}, "loss.class_weights: 1 weights for 2"),
        ("segment", {"loss": {"kind": "bce", "positive_weight": "balanced"}}, "loss.positive_weight"),
        ("segment", {"phases": [{"name": "a", "epochs": 1, "sampler": "balanced"}]}, "phases.0.sampler"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused(task: str, changes: dict[str, Any], named: str, recipe: Make):
    with pytest.raises(ValueError, match=named):
        recipe(task, **changes)


def test_a_sampler_without_a_known_class_says_so(recipe: Make):
    wish = recipe("multiclass", phases=[{"name": "a", "epochs": 1, "sampler": "balanced"}])
    stuff = gather(wish)
    nobody = stuff.train.__class__(
        stuff.train.manifest,
        stuff.train.rows,
        np.full(len(stuff.train.rows), -1),
        np.full(len(stuff.train.rows), -1),
    )
    with pytest.raises(RecipeError, match="sampler"):
        phases._feed(stuff, nobody, wish.phases[0], 0, learn=True)
