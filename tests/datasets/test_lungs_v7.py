"""The V7 lung masks: what the tables of their two collections tell of each film."""

from __future__ import annotations

from pathlib import Path

from hilum.datasets import registry
from tests.datasets.mini import MINI


def test_a_films_sex_age_licence_and_collection_come_along(tmp_path: Path) -> None:
    MINI["lungs_v7"](tmp_path / "lungs_v7")
    alone = registry.load("lungs_v7", tmp_path / "lungs_v7").table
    assert alone.select("sex", "age").rows() == [(None, None)] * 2  # the Cohen table is not there
    MINI["cohen"](tmp_path / "cohen")
    table = registry.load("lungs_v7", tmp_path / "lungs_v7").table
    rows = table.select("collection", "view", "sex", "age", "licence").rows()
    assert rows == [("cohen", "AP", "M", 65.0, "CC BY 4.0"), ("kermany", "AP", None, None, "CC BY 4.0")]
