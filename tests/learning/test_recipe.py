"""Recipes: what is wrong is named, single values change, places do not count, and what is written is read back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from hilum.errors import RecipeError
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_files import expand, load_recipe
from tests.learning.conftest import content

COMMITTED = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Any]:
    return content(tmp_path, "multilabel")


def write(folder: Path, recipe: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe))
    return path


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_recipes_load_and_are_read_back_as_they_were(path: Path, tmp_path: Path):
    recipe = load_recipe(path)
    again = load_recipe(write(tmp_path, recipe.as_yaml()))
    assert again == recipe
    assert again.digest == recipe.digest


def test_a_portable_recipe_names_no_place_of_this_machine(tmp_path: Path):
    changes = [f"data.root={tmp_path}/films", f"data.store={tmp_path}/stores", "data.workers=3"]
    recipe = load_recipe(COMMITTED[0], changes)
    assert str(tmp_path) in recipe.as_yaml()
    assert str(tmp_path) not in recipe.portable().as_yaml()
    assert recipe.portable().digest == recipe.digest


def test_there_are_committed_recipes():
    assert {"lungs", "findings", "pneumonia"} <= {path.stem for path in COMMITTED}


WRONG = [
    ("loss.kind", "hinge", "loss"),
    ("loss.gamma", 2, "loss.bce.gamma"),
    ("phases.0.epochs", 0, "phases.0.epochs"),
    ("phases.0.rate", "fast", "phases.0.rate"),
    ("phases.0.momentum", 0.9, "phases.0.momentum"),
    ("phases.0.size", 64, "phases.0.size"),
    ("phases.0.size", 16, "phases.0.size"),
    ("preparation.size", [4, 4], "preparation"),
    ("preparation.normalise", {"kind": "magic"}, "preparation.normalise"),
    ("data.split.validation", 1.5, "data.split.validation"),
    ("data.split", {"kind": "holdout", "validation": 0.5, "test": 0.5}, "data.split"),
    ("data.manifest", "both.parquet", "data"),
    ("data.labels", [], "data.labels"),
    ("data.labels", ["Mass", "Mass"], "Mass stands twice"),
    ("data.auxiliary", ["Effusion"], "Effusion stands twice"),
    ("data.teacher", 2, "data.teacher"),
    ("data.nonsense", 1, "data.nonsense"),
    ("model.dropout", 0.5, "model.dropout"),
    ("task", "detect", "task"),
    ("task", "multiclass", "'multiclass' does not go with loss 'bce'"),
    ("task", "segment", "data.labels"),
    ("augmentation.flip", 2, "augmentation.flip"),
    ("choices.threshold", "youdn", "choices.threshold"),
    ("choices.threshold", "sensitivity 90", "choices.threshold"),
    ("choices.calibration", "isotonic", "choices.calibration"),
    ("name", "../x", "name"),
    ("bundle.title", None, "bundle.title"),
    ("seed", "one", "seed"),
]


@pytest.mark.parametrize(("field", "value", "named"), WRONG, ids=lambda v: str(v)[:30])
def test_every_error_names_the_field(field: str, value: Any, named: str, plain: dict, tmp_path: Path):
    recipe = copy.deepcopy(plain)
    *parents, last = field.split(".")
    place = recipe
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[last] = value
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, recipe))
    assert named in caught.value.fault
    assert caught.value.path == tmp_path / "recipe.yaml"


@pytest.mark.parametrize("missing", ["name", "task", "data", "preparation", "phases", "bundle"])
def test_a_missing_section_is_named(missing: str, plain: dict, tmp_path: Path):
    with pytest.raises(RecipeError, match=f" {missing}: Field required"):
        load_recipe(write(tmp_path, {k: v for k, v in plain.items() if k != missing}))


def test_two_phases_have_two_names(plain: dict, tmp_path: Path):
    with pytest.raises(RecipeError, match="two phases"):
        load_recipe(write(tmp_path, plain | {"phases": 2 * plain["phases"]}))


@pytest.mark.parametrize("task", ["multiclass", "segment"])
def test_what_a_task_does_not_do_is_refused_not_ignored(task: str, tmp_path: Path):
    recipe = content(tmp_path, task)
    recipe["phases"][0]["mixup"] = 0.2
    with pytest.raises(RecipeError, match=r"phases\.0\.mixup"):
        load_recipe(write(tmp_path, recipe))
    with pytest.raises(RecipeError, match="teacher"):
        load_recipe(write(tmp_path, content(tmp_path, task, teacher=0.5)))


@pytest.mark.parametrize("text", ["a: [1", "- a\n- b", "", "\xff\xfe".encode("latin-1")], ids=repr)
def test_what_is_no_recipe_says_so_on_one_line(text: Any, tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert "\\n" not in str(caught.value)


def test_no_recipe_there(tmp_path: Path):
    with pytest.raises(RecipeError, match="no recipe"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="no recipe"):
        load_recipe(tmp_path)


def test_single_values_change(plain: dict, tmp_path: Path):
    path = write(tmp_path, plain)
    changes = [
        "seed=7",
        "phases.0.epochs=5",
        "phases.0.rate=1e-4",
        "data.labels=[Mass]",
        "choices.threshold=f2",
    ]
    recipe = load_recipe(path, [*changes, "model.options.dropout=0.5", "data.root=/a=b"])
    assert recipe.seed == 7
    assert (recipe.phases[0].epochs, recipe.phases[0].rate) == (5, 1e-4)
    assert recipe.data.labels == ("Mass",)
    assert recipe.choices.threshold == "f2"
    assert recipe.model.options["dropout"] == 0.5
    assert recipe.data.root == "/a=b"
    assert load_recipe(path).seed == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("seed", "'seed'"),
        ("phases.1.epochs=2", "phases.1.epochs"),
        ("phases.first.epochs=2", "phases.first.epochs"),
        ("name.a.b=1", "name.a.b"),
        ("seed.a=1", "seed.a"),
        ("seed=[1", "seed"),
        ("sed=1", "sed"),
    ],
)
def test_a_change_of_what_is_not_there_is_refused(change: str, named: str, plain: dict, tmp_path: Path):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, plain), [change])
    assert named in caught.value.fault


def test_environment_in_paths(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HILUM_TEST_ROOT", "/films")
    monkeypatch.delenv("HILUM_TEST_NONE", raising=False)
    assert expand("${HILUM_TEST_ROOT}/nih") == Path("/films/nih")
    assert expand("${HILUM_TEST_ROOT:-/other}/nih") == Path("/films/nih")
    assert expand("${HILUM_TEST_NONE:-../data}/nih") == Path("../data/nih")
    assert expand("~/x") == Path.home() / "x"
    with pytest.raises(RecipeError, match="HILUM_TEST_NONE is not set"):
        expand("${HILUM_TEST_NONE}/nih")


def test_places_do_not_count_in_the_digest_and_all_else_does(plain: dict):
    recipe = Recipe.model_validate(plain)

    def changed(**data: Any) -> str:
        return Recipe.model_validate(plain | {"data": plain["data"] | data}).digest

    assert changed(root="/else", store="/fast", workers=3) == recipe.digest
    assert changed(keep="view = 'PA'") != recipe.digest
    assert Recipe.model_validate(plain | {"seed": 4}).digest != recipe.digest
