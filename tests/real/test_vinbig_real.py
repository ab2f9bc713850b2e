"""VinBigData's real tables, all 67,914 rows, and the twelve films that are here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.datasets import registry
from hilum.datasets.manifest import Manifest
from hilum.datasets.reader_ceiling import leave_one_out
from hilum.datasets.readers import RULES, Readings, truth
from hilum.evaluation.agreement import fleiss_kappa
from hilum.findings import VINBIG14

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "vinbig-readers"


@pytest.fixture(scope="module")
def every(real_data: Path) -> Manifest:
    return registry.load("vinbig", real_data / "vinbig", tables_only=True)


@pytest.fixture(scope="module")
def readings(every: Manifest) -> Readings:
    return Readings.of(every)


def test_every_row_is_there(every: Manifest, readings: Readings) -> None:
    assert len(every) == 15_000
    assert every.findings == VINBIG14
    assert every.boxes.height == 36_096
    assert every.table.select("width", "height").null_count().row(0) == (0, 0)
    assert readings.names == tuple(f"R{n}" for n in range(1, 18))
    assert (readings.read.sum(1) == 3).all()
    with_a_box = every.boxes.select("image_id", "reader").unique().height
    assert every.boxes.height + 45_000 - with_a_box == 67_914
    counts = dict(every.boxes["finding"].value_counts().iter_rows())
    assert len(counts) == 14
    assert (counts["Aortic Enlargement"], counts["Pneumothorax"]) == (7162, 226)


def test_no_published_film_is_disputed_between_normal_and_not(readings: Readings) -> None:
    marked = (readings.marks() == 1).any(2)
    per_film = marked.sum(1)
    assert int((per_film == 3).sum()) == 4394
    assert int((per_film == 0).sum()) == 10_606
    idle = [n for n, drew in zip(readings.names, marked.any(0), strict=True) if not drew]
    assert idle == ["R1", "R3", "R4", "R5", "R6", "R7"]


def test_truth_by_rule_on_every_row(readings: Readings) -> None:
    counts = {rule: len(truth(readings, rule).film) for rule in ("all", "nms", "wbf", "majority", "R9")}
    assert counts == {"all": 36_096, "nms": 22_777, "wbf": 22_715, "majority": 8824, "R9": 13_729}


def test_agreement_and_the_score_of_one_reader(readings: Readings) -> None:
    votes = np.nansum(readings.marks()[:, :, VINBIG14.index("Cardiomegaly")], 1)
    assert fleiss_kappa(np.stack([votes, 3 - votes], 1), replicates=10).value == pytest.approx(
        0.789, abs=5e-4
    )
    found = leave_one_out(readings, "wbf", replicates=10)
    assert found.unordered.value == pytest.approx(0.2198, abs=5e-4)
    told = json.loads((PAGE / "readers.json").read_text())["ceiling"][RULES.index("wbf")]
    assert told["mean"]["value"] == pytest.approx(found.mean.value, abs=1e-9)
    assert told["unordered"]["value"] == pytest.approx(found.unordered.value, abs=1e-9)
    assert f"{found.mean.value:.3f} (" in (PAGE / "readers.md").read_text()
    assert max(zip(found.findings, VINBIG14, strict=True), key=lambda f: f[0].value)[1] == "Cardiomegaly"


def test_the_films_that_are_here(real_data: Path) -> None:
    manifest = registry.load("vinbig", real_data / "vinbig")
    assert (len(manifest), manifest.missing.height) == (12, 14_988)
    assert manifest.boxes.height == 55
    assert manifest.boxes["image_id"].n_unique() == 5
    assert manifest.table.select(pl.col("width", "height").n_unique()).row(0) == (1, 1)
    sizes = registry.load("vinbig", real_data / "vinbig", tables_only=True)
    name = "00aca42a24e4ea6066cca2546150c36e"
    original = sizes.filter(image_id=name)
    width, height = original.table.select("width", "height").row(0)
    squashed = manifest.boxes.filter(image_id=name).select("x1", "y1", "x2", "y2").to_numpy()
    published = original.boxes.select("x1", "y1", "x2", "y2").to_numpy()
    np.testing.assert_allclose(squashed, published * np.array([1024 / width, 1024 / height] * 2))


def test_lung_boxes_have_the_patients_of_their_films(real_data: Path) -> None:
    manifest = registry.load("coco", real_data / "lung_boxes", images="../cohen/images", prefix="cohen")
    assert (len(manifest), manifest.missing.height, manifest.boxes.height) == (576, 0, 1151)
    assert manifest.findings == ("Right Lung", "Left Lung")
    assert manifest.table["patient"].n_unique() == 344
    films = registry.load("cohen", real_data / "cohen").table.select("image_id", "patient")
    same = manifest.table.join(films, on="image_id", suffix="_of_film")
    assert same.height == 576
    assert (same["patient"] == same["patient_of_film"]).all()
    # The patient's right lung lies on the left of the picture.
    middle = manifest.boxes.with_columns(x=(pl.col("x1") + pl.col("x2")) / 2)
    right, left = (
        middle.filter(finding=f"{side} Lung").select("image_id", "x") for side in ("Right", "Left")
    )
    both = right.join(left, on="image_id", suffix="_left")
    assert (both["x"] < both["x_left"]).all()
