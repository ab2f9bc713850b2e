"""Folds: each a run of its own, by patient, from one store; and the split that leaks by name only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.bundles import load, verify
from hilum.datasets import preparing
from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError, SplitError
from hilum.learning.evaluate import evaluate
from hilum.learning.material import gather, manifest_of, parted
from hilum.learning.recipe import Recipe
from hilum.learning.run import train

Make = Callable[..., Recipe]
LEAK = {"kind": "leaky_holdout", "validation": 0.2, "test": 0.25, "seed": 1}


def fold(recipe: Make, number: int, task: str = "multilabel", **data: object) -> Recipe:
    split = {"kind": "kfold", "folds": 3, "fold": number, "validation": 0.3, "seed": 4}
    return recipe(task, data={"split": split, **data})


def test_every_patient_is_tested_once_and_never_learnt_from_there(recipe: Make, manifest: Manifest):
    tested: list[str] = []
    for number in range(3):
        stuff = gather(fold(recipe, number))
        table = stuff.manifest.table
        assert set(table["split"]) == {"train", "validation", "test"}
        assert (table.group_by("patient").agg(pl.col("split").n_unique())["split"] == 1).all()
        sides = {part: set(table.filter(split=part)["patient"]) for part in ("train", "validation", "test")}
        assert set(stuff.train.manifest.table["patient"]) == sides["train"]
        assert set(stuff.validation.manifest.table["patient"]) == sides["validation"]
        assert 3 <= len(sides["validation"]) <= 7
        tested += table.filter(split="test").get_column("image_id").to_list()
    assert sorted(tested) == sorted(manifest.image_ids)


def test_folds_share_one_store(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = gather(fold(recipe, 0, store=str(tmp_path)))
    assert len(first.store) == 48
    monkeypatch.setattr(preparing, "prepare_one", lambda *_: pytest.fail("prepared again"))
    second = gather(fold(recipe, 1, store=str(tmp_path)))
    assert second.store.folder == first.store.folder
    films = np.asarray(second.store.images[second.train.rows])
    by_id = dict(zip(first.store.image_ids, first.store.images, strict=True))
    for image_id, film in zip(second.train.manifest.image_ids, films, strict=True):
        np.testing.assert_array_equal(film, by_id[image_id])


def test_a_fold_runs_to_a_bundle_that_its_test_part_measures(recipe: Make, tmp_path: Path):
    bundle = train(fold(recipe, 2), tmp_path / "run")
    assert verify(bundle).provenance.split == "kfold, the 3rd of 3 folds, by patient"
    result = evaluate(bundle, tmp_path / "run" / "manifest.parquet", tmp_path / "test", split="test")
    assert "16 films of 8 patients" in result["note"]


def test_the_publishers_test_part_can_stay_out_of_the_folds(recipe: Make, manifest: Manifest):
    stuff = gather(fold(recipe, 0, keep="split = 'train'"))
    official = set(manifest.filter(split="test").image_ids)
    assert len(stuff.manifest) == 36
    assert not official & set(stuff.manifest.image_ids)


def test_fewer_patients_than_folds(recipe: Make):
    with pytest.raises(RecipeError, match=r"data\.split\.folds: 2 patients cannot fill 3 folds"):
        gather(fold(recipe, 0, keep="age < 22"))


@pytest.mark.parametrize(
    ("split", "named"),
    [
        ({"kind": "kfold", "folds": 3, "fold": 3}, "`fold` is 3: it counts from 0 to 2"),
        ({"kind": "kfold", "folds": 1}, "folds"),
        ({"kind": "kfold", "validation": 0}, "`validation` is 0"),
        ({"kind": "leaky_holdout", "validation": 0.6, "test": 0.4}, "no share for training"),
    ],
)
def test_impossible_folds_are_refused_before_anything_is_read(split: dict, named: str, recipe: Make):
    with pytest.raises(ValueError, match=named):
        recipe(data={"split": split})


def test_a_class_that_a_folds_training_part_lacks_is_named(recipe: Make):
    """One patient alone is ill, and is tested in one of the folds."""
    keep = "\"class\" = 'well' OR patient LIKE '%p7'"
    faults = []
    for number in range(3):
        try:
            gather(fold(recipe, number, "multiclass", keep=keep))
        except RecipeError as error:
            faults.append(error.fault)
    named = [fault for fault in faults if "no training film is of class ill in fold" in fault]
    assert named
    assert all(fault.startswith("data.labels: ") for fault in named)


def test_labels_that_are_all_unknown_are_named(recipe: Make):
    keep = '"label:Effusion" IS NULL'
    with pytest.raises(
        RecipeError, match=r"data\.labels: every training film's label is unknown for Effusion"
    ):
        gather(recipe(data={"keep": keep}))


def test_a_finding_with_one_side_only_is_told(recipe: Make, caplog: pytest.LogCaptureFixture):
    gather(recipe(data={"keep": '"label:Effusion" = 0 OR "label:Effusion" IS NULL'}))
    assert "only films without: Effusion" in caplog.text


def test_a_leak_is_loud_and_its_own_test_part_alone_is_measured(
    recipe: Make, manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        bundle = train(recipe(data={"split": LEAK}), tmp_path / "run")
    made = Manifest.load(tmp_path / "run" / "manifest.parquet")
    sides = made.table.group_by("patient").agg(pl.col("split").n_unique())
    both = int((sides["split"] > 1).sum())
    assert both > 5
    assert f"films of {both} patients lie on both sides" in caplog.text
    info = verify(bundle)
    assert "LEAKY ON PURPOSE" in info.limits[0]
    assert f"({both} patients)" in info.limits[0]
    assert "LEAKY" in info.provenance.split
    assert "LEAKY ON PURPOSE" in (bundle / "card.md").read_text()
    result = evaluate(bundle, tmp_path / "run" / "manifest.parquet", tmp_path / "test", split="test")
    assert result["note"].startswith("LEAKY: ")
    with pytest.raises(SplitError, match="trained or"):  # the same films, but not as the run's own test part
        evaluate(bundle, made.filter(split="test"), tmp_path / "b")
    with pytest.raises(SplitError, match="trained or"):
        evaluate(bundle, made.with_split(dict.fromkeys(made.image_ids, "test")), tmp_path / "c", split="test")
    with pytest.raises(SplitError, match="trained or"):
        evaluate(bundle, made, tmp_path / "d", split="validation")


def test_an_honest_bundle_has_no_way_round_the_door(recipe: Make, tmp_path: Path):
    """A leaky split's test part is refused to a bundle whose split did not say that it leaks."""
    wish = recipe(data={"split": LEAK})
    parts = parted(wish.data, gather(wish).manifest)
    bundle = load(train(recipe(), tmp_path / "run"))
    made = gather(wish).manifest.with_split(parts)
    with pytest.raises(SplitError):
        evaluate(bundle, made, tmp_path / "out", split="test")


def test_a_fraction_takes_whole_patients_and_a_smaller_one_lies_within(recipe: Make):
    def patients(fraction: float) -> set[str]:
        films = manifest_of(recipe(data={"fraction": fraction}).data)
        found = set(films.table["patient"])
        assert len(films) == 2 * len(found)  # both films of each
        return found

    few, half, everyone = patients(0.25), patients(0.5), patients(1.0)
    assert few < half < everyone
    assert len(everyone) == 24
    assert 6 <= len(half) <= 18
    with pytest.raises(RecipeError, match=r"data\.fraction"):
        patients(1e-9)


def test_a_class_that_a_part_lacks_is_told(
    recipe: Make, manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A class of one patient: an error where the fold's training lacks it, a warning for each other part."""
    own = pl.col("patient") == manifest.table["patient"][0]
    rare = manifest.table.with_columns(pl.when(own).then(pl.lit("rare")).otherwise("class").alias("class"))
    Manifest(rare, root=manifest.root).save(tmp_path / "m.parquet")
    data = {"sources": [], "manifest": str(tmp_path / "m.parquet"), "labels": ["well", "ill", "rare"]}
    learnt = []
    for number in range(3):
        caplog.clear()
        wish = fold(recipe, number, "multiclass", **data)
        films = manifest_of(wish.data)
        if "rare" not in set(films.with_split(parted(wish.data, films)).filter(split="train").table["class"]):
            with pytest.raises(RecipeError, match="no training film is of class rare"):
                gather(wish)
            continue
        gather(wish)
        learnt.append(number)
        for part in ("validation", "test"):
            assert f"{part} of fold {number} has no film of class: rare; it cannot be measured" in caplog.text
    assert learnt


def test_a_finding_that_a_part_knows_one_side_of_is_told(
    recipe: Make, manifest: Manifest, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    gather(recipe())
    assert "cannot be measured" not in caplog.text
    sure = pl.when(pl.col("split") != "test").then("label:Effusion")
    Manifest(manifest.table.with_columns(sure), root=manifest.root).save(tmp_path / "m.parquet")
    gather(recipe(data={"sources": [], "manifest": str(tmp_path / "m.parquet")}))
    assert "test has only films with" in caplog.text
    assert ": Effusion; it cannot be measured there" in caplog.text
    assert "validation has" not in caplog.text
