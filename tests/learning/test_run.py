"""A run from recipe to bundle: what it is handed, what it learns from, what it leaves behind."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from hilum.bundles import load, verify
from hilum.bundles.bundle import patient_hash
from hilum.datasets import preparing, registry, store_files
from hilum.datasets.manifest import Manifest
from hilum.errors import MissingExtraError, RecipeError
from hilum.evaluation.calibration import fit_platt
from hilum.images import read as reading
from hilum.learning import concluding, run
from hilum.learning.material import gather
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_data import Data
from hilum.learning.recipe_files import load_recipe
from hilum.learning.results import predict_store
from hilum.learning.run import train
from hilum.learning.targets import taught
from tests.learning.conftest import same, trained_weights

Make = Callable[..., Recipe]


def test_no_test_film_is_opened_and_no_pickle_is_made(
    recipe: Make, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of all film files only those of patients in training are opened, from an empty store to the bundle."""
    opened: list[str] = []
    read = reading.read

    def spy(path: Any, *given: Any, **options: Any) -> Any:
        opened.append(Path(path).name)
        return read(path, *given, **options)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle")

    monkeypatch.setattr(reading, "read", spy)
    for module, name in (
        (torch, "save"),
        (torch, "load"),
        (pickle, "dump"),
        (pickle, "dumps"),
        (pickle, "Pickler"),
    ):
        monkeypatch.setattr(module, name, refuse)
    out = train(recipe(data={"store": str(tmp_path / "store")}), tmp_path / "run")
    assert {name for name in opened if name.startswith("train")} == {
        p.name for p in films.glob("train-*.png")
    }
    assert not [name for name in opened if name.startswith("test")]
    stored = pl.concat([pl.read_parquet(p) for p in (tmp_path / "store").rglob("index.parquet")])
    assert not stored.filter(pl.col("path").str.contains("test-")).height
    assert verify(out).task == "multilabel"
    for path in (tmp_path / "run").rglob("*"):  # a pickle begins with 0x80, torch.save's zip with PK
        assert not path.is_file() or path.read_bytes()[:2] not in (b"\x80\x04", b"\x80\x05", b"PK"), path


@pytest.fixture
def done(recipe: Make, tmp_path: Path) -> Path:
    train(recipe(), tmp_path / "run")
    return tmp_path / "run"


def test_what_a_run_leaves(done: Path, recipe: Make, manifest: Manifest):
    info = verify(done / "bundle")
    assert [label.name for label in info.labels] == ["Mass", "Effusion"]
    assert info.calibration is not None
    assert info.provenance.recipe_digest == recipe().digest
    assert info.provenance.films["training"] + info.provenance.films["validation"] == 36
    assert info.provenance.patients["training"] + info.provenance.patients["validation"] == 18
    assert "validation (chose the epoch, calibration and thresholds)" in info.metrics
    for name in ("history.csv", "curves.png", "split.json", "manifest.parquet", "validation/metrics.json"):
        assert (done / name).is_file(), name
    assert info.provenance.split_digest == json.loads((done / "split.json").read_text())["digest"]
    known = set(load(done / "bundle").patients.tolist())
    parts = Manifest.load(done / "manifest.parquet").table
    learnt = set(parts.filter(pl.col("split") != "test")["patient"])
    assert known == {int(patient_hash(p)) for p in learnt}
    assert not learnt & set(parts.filter(pl.col("split") == "test")["patient"])


def test_validation_measured_and_chose_by_the_weights_in_the_file(done: Path, recipe: Make):
    stuff = gather(recipe())
    again = predict_store(load(done / "bundle"), stuff.store.images, stuff.validation.rows)
    kept = pl.read_parquet(done / "validation/predictions.parquet")
    np.testing.assert_array_equal(kept.select("logit:Mass", "logit:Effusion").to_numpy(), again)


def test_no_patient_is_on_two_sides(recipe: Make):
    for kind in ("official", "holdout"):
        material = gather(recipe(data={"split": {"kind": kind, "validation": 0.3, "test": 0.3, "seed": 2}}))
        table = material.manifest.table
        assert set(table["split"]) == {"train", "validation", "test"}
        assert (table.group_by("patient").agg(pl.col("split").n_unique())["split"] == 1).all()
        sides = [set(part.manifest.table["patient"]) for part in (material.train, material.validation)]
        assert not sides[0] & sides[1]
        assert not (sides[0] | sides[1]) & set(table.filter(split="test")["patient"])


def test_a_bundles_recipe_names_no_place_of_this_machine_and_trains_the_same(
    done: Path, films: Path, tmp_path: Path
):
    text = (done / "bundle" / "recipe.yaml").read_text()
    assert str(films) not in text
    places = [f"data.root={films}", f"data.store={tmp_path / 'store'}"]
    train(load_recipe(done / "bundle" / "recipe.yaml", places), tmp_path / "again")
    assert same(trained_weights(done), trained_weights(tmp_path / "again"))


def test_learn_from_leaves_films_out_of_learning_but_not_of_the_test(recipe: Make):
    material = gather(recipe(data={"learn_from": "sex = 'F'"}))
    assert set(material.train.manifest.table["sex"]) == {"F"}
    assert set(material.validation.manifest.table["sex"]) == {"F"}
    assert set(material.manifest.filter(split="test").table["sex"]) == {"F", "M"}


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"keep": "nonsense > 1"}, "data.keep"),
        ({"keep": "view = "}, "data.keep"),
        ({"learn_from": "age > 200"}, "data.learn_from"),
        ({"labels": ["Mass", "Hernia"]}, "Hernia"),
        ({"auxiliary": ["hat:red"]}, "hat:red"),
        ({"auxiliary": ["age:old"]}, "age:old"),
        ({"teacher": 0.5}, "teacher"),
    ],
)
def test_data_that_is_not_there_is_named(data: dict[str, Any], named: str, recipe: Make):
    with pytest.raises(RecipeError) as caught:
        gather(recipe(data=data))
    assert named in str(caught.value)


def test_a_model_for_another_task_is_refused_before_training(recipe: Make):
    with pytest.raises(RecipeError, match=r"model\.name"):
        run.build_model(recipe("segment", model={"name": "timm"}))
    with pytest.raises(RecipeError, match=r"model\.name"):
        run.build_model(recipe(model={"name": "unet"}))


def test_tensorboard_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from hilum.learning.history import History, importlib

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="tensorboard"):
        History(tmp_path, tensorboard=True)


def test_a_teacher_takes_part_where_it_saw_the_film():
    """target = weight x calibrated probability + (1 - weight) x label; unknown labels stay unknown."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40).astype(np.float32)
    teacher = np.clip(0.3 * truth + rng.uniform(0, 0.5, 40), 0.01, 0.99).astype(np.float32)
    seen = np.arange(40) >= 10
    truth[[15, 16]] = np.nan
    table = pl.DataFrame(
        {
            "image_id": [str(i) for i in range(40)],
            "path": [f"{i}.png" for i in range(40)],
            "patient": [str(i) for i in range(40)],
            "source": ["toy"] * 40,
            "label:Mass": truth,
            "teacher:Mass": np.where(seen, teacher, np.nan),
        }
    )
    data = Data(manifest="x", labels=("Mass",), teacher=0.6)
    targets = taught(Manifest(table), data, truth[:, None])[:, 0]
    logits = np.log(teacher / (1 - teacher)).astype(np.float64)[seen, None]
    calibrated = fit_platt(truth[seen, None], logits).apply(logits)[:, 0]
    np.testing.assert_array_equal(targets[~seen], truth[~seen])
    np.testing.assert_allclose(targets[seen], 0.6 * calibrated + 0.4 * truth[seen], atol=1e-6)
    assert np.isnan(targets[[15, 16]]).all()


def test_a_soft_target_is_learnt_where_the_label_is_unknown_and_measured_nowhere(
    recipe: Make, tmp_path: Path
):
    table = registry.load("csv", Path(recipe().data.root) / "films.csv").table
    soft = table.with_columns(pl.lit(0.7).alias("soft:Effusion"), pl.lit(None, pl.Float32).alias("soft:Mass"))
    Manifest(soft, root=Path(recipe().data.root)).save(tmp_path / "soft.parquet")
    material = gather(recipe(data={"sources": [], "manifest": str(tmp_path / "soft.parquet")}))
    for part in (material.train, material.validation):
        truth = np.asarray(part.truth)
        unknown = np.isnan(truth[:, 1])
        assert 0 < unknown.sum() < len(unknown)
        expected = truth.copy()
        if part is material.train:
            expected[unknown, 1] = 0.7
        np.testing.assert_allclose(part.targets, expected, rtol=1e-6)


def test_what_was_learnt_beside_is_cut_off_and_nothing_else_changes(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole: list[torch.nn.Module] = []
    cut = concluding.without_auxiliary

    def spy(model: Any, wish: Recipe) -> Any:
        import copy

        whole.append(copy.deepcopy(model))
        return cut(model, wish)

    monkeypatch.setattr(concluding, "without_auxiliary", spy)
    wish = recipe(data={"auxiliary": ["sex:F", "view:AP", "age:30"], "labels": ["Mass"]})
    targets = gather(wish).train.targets
    facts = gather(wish).train.manifest.table
    assert targets.shape[1] == 4
    np.testing.assert_array_equal(targets[:, 1], facts["sex"] == "F")
    np.testing.assert_array_equal(targets[:, 2], facts["view"] == "AP")
    np.testing.assert_array_equal(targets[:, 3], facts["age"] >= 30)
    bundle = load(train(wish, tmp_path / "run"))
    assert bundle.labels == ["Mass"]
    images = torch.rand(3, 1, 32, 32)
    with torch.inference_mode():
        before, after = whole[0].eval()(images), bundle(images)
    assert before.shape == (3, 4)
    assert after.shape == (3, 1)
    torch.testing.assert_close(
        after[:, 0], before[:, 0], atol=2e-2, rtol=2e-2
    )  # the bundle's weights have 16 bits


def test_a_store_is_built_once(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wish = recipe(data={"store": str(tmp_path / "store")})
    first = gather(wish)
    monkeypatch.setattr(preparing, "prepare_one", lambda *_: pytest.fail("prepared again"))
    assert gather(wish).store.folder == first.store.folder
    assert store_files.read_header(first.store.folder)["content"]
    assert isinstance(first.store.images, np.memmap)


@pytest.mark.parametrize(
    ("task", "fault"),
    [("multilabel", "no epoch can be chosen"), ("multiclass", "no training film is of class ill")],
)
def test_films_that_cannot_teach_or_choose_are_refused(task: str, fault: str, recipe: Make):
    keep = {"keep": "split = 'test' OR \"class\" = 'well'"}
    with pytest.raises(RecipeError, match=fault):
        gather(recipe(task, data=keep | ({"labels": ["Mass"]} if task == "multilabel" else {})))


def test_validation_with_one_class_alone_cannot_choose_an_epoch(recipe: Make):
    stuff = gather(recipe("multiclass"))
    ill = [i for i in stuff.validation.manifest.filter(pl.col("class") == "ill").image_ids]
    names = ", ".join(f"'{i}'" for i in ill)
    with pytest.raises(RecipeError, match="no epoch can be chosen"):
        gather(recipe("multiclass", data={"learn_from": f"image_id NOT IN ({names})"}))
