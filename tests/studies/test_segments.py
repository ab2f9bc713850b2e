"""A study whose arms outline lungs: each on what it held out and on the other set, beside the reference film by film."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from hilum.studies.jobs import Request
from hilum.studies.reproduce import reproduce
from hilum.studies.study import Study
from tests.learning.conftest import content


def study(films: Path) -> Study:
    """A U-Net on either of two sets, and an autoencoder on the first."""
    recipe = content(films, "segment", split={"kind": "holdout", "validation": 0.25, "test": 0.25, "seed": 1})
    recipe["phases"] = [{"name": "only", "epochs": 1, "batch": 8, "rate": 2e-3}]
    sets = {
        name: [{"source": "csv", "root": "films.csv", "where": f"split = '{part}'"}]
        for name, part in (("First", "train"), ("Second", "test"))
    }
    narrow = {"name": "lung_autoencoder", "options": {"encoder": "mobilenetv3_small_050", "filters": [8] * 5}}
    variant = {
        "about": "Toy.",
        "reference": "unet",
        "folds": [0],
        "beside": sets,
        "changes": {"data.sources": sets["First"]},
        "arms": {
            "unet": {"title": "U-Net"},
            "narrow": {"title": "Autoencoder", "changes": {"model": narrow}},
            "second": {"title": "U-Net, second", "changes": {"data.sources": sets["Second"]}},
            "broken": {"title": "Broken", "changes": {"model.options.encoder": "no_such_net"}},
        },
    }
    return Study.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "paper": "Nobody, Nowhere, 2020",
            "metric": "accuracy",
            "test": "split = 'test'",
            "recipe": recipe,
            "variants": {"published": variant},
        }
    )


@pytest.fixture(scope="module")
def carried_out(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, dict[str, Any]]:
    request = Request(study(films), "published", films, tmp_path_factory.mktemp("study"))
    made = reproduce(request, device="cpu")
    assert [fault.partition(":")[0] for fault in made.faults] == ["broken, fold 1"]
    return request, json.loads(made.table.with_suffix(".json").read_text())


def test_every_arm_is_tested_on_what_it_held_out_and_on_the_other_set(
    carried_out: tuple[Request, dict[str, Any]],
):
    request, found = carried_out
    rows = {(r["arm"], r["tested on"]): r for r in found["tables"][0]["rows"]}
    assert set(rows) == {
        ("U-Net", "First, held out"),
        ("U-Net", "Second, all"),
        ("Autoencoder", "First, held out"),
        ("Autoencoder", "Second, all"),
        ("U-Net, second", "Second, held out"),
        ("U-Net, second", "First, all"),
    }
    assert rows["U-Net", "Second, all"]["films"] == 12
    films = pl.read_csv(request.place / "runs/unet/1/beside-second/films.csv")
    mean = films.group_by("patient").agg(pl.col("dice").mean())["dice"].mean()
    assert rows["U-Net", "Second, all"]["dice"]["value"] == pytest.approx(mean)
    assert found["held_out_films"] == sum(
        r["films"] for (_, on), r in rows.items() if on.endswith("held out")
    )
    assert found["films"]["parted by the folds"]["films"] == 48


def test_the_reference_is_set_beside_the_others_film_by_film(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    tables = {t["title"].partition(":")[0]: t["rows"] for t in found["tables"][1:]}
    assert set(tables) == {"U-Net, on First", "U-Net, on Second"}
    row = next(r for r in tables["U-Net, on Second"] if r["less"] == "U-Net, second")
    one = pl.read_csv(request.place / "runs/unet/1/beside-second/films.csv")
    other = pl.read_csv(request.place / "runs/second/1/test/films.csv")
    both = one.join(other, on="image_id", suffix="_other")
    assert row["films"] == both.height == other.height
    gap = (
        both.group_by("patient")
        .agg((pl.col("dice") - pl.col("dice_other")).mean().alias("gap"))["gap"]
        .mean()
    )
    assert row["Dice"]["value"] == pytest.approx(gap)


def test_the_page_names_the_sets(carried_out: tuple[Request, dict[str, Any]]):
    request, _ = carried_out
    page = (request.place / "table.md").read_text()
    assert "Second, all" in page
    assert "Broken" not in page.partition("## Runs that failed")[0]
    assert "no_such_net" in page
    assert str(request.out) not in page
