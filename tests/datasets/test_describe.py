from __future__ import annotations

import json
from pathlib import Path

import cv2
import polars as pl
import pytest

from hilum.datasets import registry
from hilum.datasets.describe import describe, summary
from hilum.datasets.manifest import Manifest
from tests.datasets.mini import MINI


def test_counts_are_right() -> None:
    table = pl.DataFrame(
        {
            "image_id": list("abcd"),
            "path": list("abcd"),
            "patient": ["p", "p", "q", None],
            "view": ["PA", "PA", "AP", None],
            "age": [0.5, 39.9, 40.0, None],
            "label:Mass": [1.0, 1, 0, None],
            "label:Edema": [1.0, 0, None, None],
        }
    )
    found = summary(Manifest(table))
    assert (found["films"], found["patients"], found["films_without_patient"]) == (4, 2, 1)
    assert found["labels"]["Mass"] == {"positive": 2, "negative": 1, "unknown": 1}
    assert found["labels"]["Edema"] == {"positive": 1, "negative": 1, "unknown": 2}
    assert found["cooccurrence"] == [[2, 1], [1, 1]]
    assert found["view"] == {"PA": 2, "AP": 1, "unknown": 1}
    assert found["age"] == {"0 to 0": 1, "18 to 39": 1, "40 to 59": 1, "unknown": 1}
    assert found["sex"] == {}
    assert found["positive_by_view"] == {
        "AP": {"Mass": 0.0, "Edema": None},
        "PA": {"Mass": 1.0, "Edema": 0.5},
    }


@pytest.mark.parametrize("name", sorted(MINI))
def test_every_source_can_be_described(name: str, tmp_path: Path) -> None:
    expected = MINI[name](tmp_path / name)
    manifest = registry.load(name, expected.root, **expected.options)
    found = describe(manifest, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "describe.json").read_text()) == found
    page = (tmp_path / "out" / "describe.md").read_text()
    assert f"{expected.films} films of" in page
    pictures = {p.name for p in (tmp_path / "out").glob("*.png")}
    assert pictures == (
        {"people.png", "labels.png", "cooccurrence.png"} if manifest.findings else {"people.png"}
    )
    for picture in pictures:
        assert f"({picture})" in page
        assert cv2.imread(str(tmp_path / "out" / picture)).std() > 5
