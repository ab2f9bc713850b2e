"""QaTa-COV19 compiled from its parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hilum.datasets import registry
from hilum.datasets.sources import qata
from hilum.errors import DataError
from tests.datasets.mini import MINI


def test_groups_classes_splits_and_counts(tmp_path: Path) -> None:
    root = MINI["qata"](tmp_path).root
    manifest = registry.load("qata", root)
    table = manifest.table
    assert dict(table["group"].value_counts().rows()) == {
        "COVID-19": 2,
        "ChestX-ray14": 3,
        "Bacterial Pneumonia": 2,
        "Viral Pneumonia": 2,
        "Lateral": 1,
    }
    assert manifest.findings == ("COVID-19",)
    assert (
        table.select(table["class"] == "COVID-19", table["label:COVID-19"] == 1).rows().count((True, True))
        == 2
    )
    assert table["split"].null_count() == 0
    assert table.filter(group="ChestX-ray14")["split"].to_list() == ["train", "train", "test"]
    assert "ChestX-ray14: train 2 of 86,524 published, test 1 of 25,596." in manifest.notes
    groups = registry.load("qata", root, classes="groups").table
    assert groups["class"].equals(groups["group"].alias("class"))


def test_the_published_counts_are_the_published_sum() -> None:
    assert sum(map(sum, qata.PUBLISHED.values())) == 124_616


def test_films_are_repeated_as_the_published_set_augments_them(tmp_path: Path) -> None:
    table = registry.load("qata", MINI["qata"](tmp_path).root).table
    repeats = dict(table.select("group", "repeats").unique().iter_rows())
    assert repeats["ChestX-ray14"] == 1
    assert repeats["COVID-19"] * 3553 == pytest.approx(10_000)
    assert repeats["Lateral"] * 2816 == repeats["Viral Pneumonia"] * 1146 == pytest.approx(5000)


def test_reports_of_open_i_without_films_are_no_group(tmp_path: Path) -> None:
    root = MINI["qata"](tmp_path).root
    (root / "openi" / "indiana_projections.csv").unlink()
    assert "openi" not in registry.load("qata", root).table["source"].to_list()


def test_parts_may_be_absent_but_not_all(tmp_path: Path) -> None:
    root = MINI["qata"](tmp_path).root
    for name in ("openi", "nih14", "cohen"):
        shutil.rmtree(root / name)
    assert len(registry.load("qata", root)) == 5
    shutil.rmtree(root / "kermany")
    with pytest.raises(DataError, match="a group of controls"):
        registry.load("qata", root)


def test_films_that_two_sources_share_are_on_one_side(tmp_path: Path) -> None:
    root = MINI["qata"](tmp_path).root
    shutil.copy(root / "cohen" / "images" / "a.jpg", root / "covid_radiography" / "images" / "COVID-1.jpg")
    for seed in range(4):
        table = registry.load("qata", root, seed=seed).table.filter(group="COVID-19")
        assert table["patient"].to_list() == ["cohen:2", "cohen:2"]
        assert table["split"].n_unique() == 1
