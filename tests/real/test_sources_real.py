"""Every source on the real files: the counts that the data's own page gives, and splits that do not leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.datasets import registry
from hilum.datasets.split import holdout, kfold, official
from hilum.errors import SplitError
from hilum.findings import NIH14

FOLDERS = {"shenzhen": "lungs_shenzhen"}


def load(real_data: Path, name: str, **options: object):  # type: ignore[no-untyped-def]
    return registry.load(name, real_data / FOLDERS.get(name, name), **options)


def test_nih14(real_data: Path) -> None:
    manifest = load(real_data, "nih14", teacher=real_data / "chexnet" / "preds.csv.gz")
    assert (len(manifest), manifest.missing.height) == (2060, 112_120 - 2060)
    assert manifest.table["patient"].n_unique() == 1664
    assert manifest.boxes.height == 60
    assert (
        manifest.boxes.select(pl.max_horizontal("x2", "y2").max()).item() <= 449
    )  # scaled from 1,024 pixels
    assert manifest.findings == NIH14
    assert int((~np.isnan(manifest.teacher()[1][:, 0])).sum()) == 914
    split = official(manifest)
    assert split.counts == {"train": 1703, "test": 357}
    test = manifest.filter(split="test")
    assert int(test.table["label:Pneumonia"].sum()) == 162
    for part, without_finding in (("test", 11), ("train", 598)):
        labels = manifest.filter(split=part).labels()[1]
        assert int((labels.sum(1) == 0).sum()) == without_finding
    inner = holdout(manifest, {"train": 0.85, "validation": 0.15}, 7, part="train")
    assert {i for i in inner if inner[i] == "test"} == set(test.image_ids)


def test_kermany(real_data: Path) -> None:
    manifest = load(real_data, "kermany")
    assert len(manifest) == 5845
    assert manifest.table["patient"].null_count() == 0
    assert official(manifest).counts == {"train": 5221, "test": 624}
    assert dict(manifest.table["class"].value_counts().iter_rows()) == {
        "Normal": 1580,
        "Bacterial Pneumonia": 2772,
        "Viral Pneumonia": 1493,
    }
    for fold in kfold(manifest, 5, 1):
        assert abs(fold.counts["validation"] - 1169) <= 25


def test_cohen(real_data: Path) -> None:
    manifest = load(real_data, "cohen")
    assert len(manifest) == 648
    assert len(manifest.filter(view="LATERAL")) == 54
    assert manifest.table["patient"].n_unique() == 349
    todo = manifest.filter(finding="todo")
    assert len(todo) == 78
    assert np.isnan(todo.labels()[1]).all()


def test_covidx_v1(real_data: Path) -> None:
    manifest = load(real_data, "covidx_v1")
    assert (len(manifest), manifest.missing.height) == (5937, 12)
    split = official(manifest)
    assert split.counts == {"train": 5298, "test": 639}


def test_covid_radiography(real_data: Path) -> None:
    manifest = load(real_data, "covid_radiography")
    assert len(manifest) == 3062
    assert manifest.table["class"].unique().to_list() == ["COVID-19"]
    with pytest.raises(SplitError, match="3062 films have no patient"):
        holdout(manifest, {"train": 0.5, "test": 0.5}, 1)


def test_lungs_v7(real_data: Path) -> None:
    manifest = load(real_data, "lungs_v7")
    assert len(manifest) == 1419
    assert manifest.table["patient"].str.starts_with("kermany:").sum() == 992
    assert manifest.table["patient"].str.starts_with("cohen:").sum() == 427
    films = pl.concat([load(real_data, n).table.select("image_id", "patient") for n in ("kermany", "cohen")])
    same = manifest.table.join(films, on="image_id", suffix="_of_film")
    assert same.height == 1419
    assert (same["patient"] == same["patient_of_film"]).all()


def test_shenzhen(real_data: Path) -> None:
    manifest = load(real_data, "shenzhen")
    assert len(manifest) == 566
    assert manifest.table["mask"].null_count() == 0
    assert int(manifest.labels()[1].sum()) == sum(i.endswith("_1") for i in manifest.image_ids)


def test_qata(real_data: Path) -> None:
    manifest = registry.load("qata", real_data)
    counts = dict(manifest.table["group"].value_counts().iter_rows())
    assert counts == {
        "COVID-19": 3489,
        "ChestX-ray14": 2060,
        "Bacterial Pneumonia": 2772,
        "Viral Pneumonia": 1493,
        "Lateral": 18,
    }
    sides = (
        manifest.table.filter(pl.col("patient").is_not_null())
        .group_by("patient")
        .agg(pl.col("split").n_unique())
    )
    assert sides["split"].max() == 1
