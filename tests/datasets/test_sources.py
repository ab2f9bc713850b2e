"""Every registered source, on a fabricated copy of its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hilum.datasets import pixel_store, registry
from hilum.datasets.manifest import Manifest
from hilum.errors import DataError, HilumError
from hilum.findings import NIH14, VOCABULARY
from hilum.images.preparation import Preparation
from tests.datasets.mini import MINI, film, text


@pytest.fixture(params=sorted(registry.sources()))
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in MINI, "a new source needs a fabricated copy in tests/datasets/mini.py"
    return request.param


def test_counts_paths_and_storage(name: str, tmp_path: Path) -> None:
    expected = MINI[name](tmp_path / name)
    manifest = registry.load(name, expected.root, **expected.options)
    assert (len(manifest), manifest.missing.height, manifest.boxes.height) == (
        expected.films,
        expected.missing,
        expected.boxes,
    )
    assert all(path.is_file() for path in manifest.paths())
    assert manifest.table["width"].null_count() == 0
    assert set(manifest.findings) <= set(VOCABULARY)
    if expected.masks:
        assert manifest.table["mask"].len() == expected.masks
        assert all(manifest.absolute(m).is_file() for m in manifest.table["mask"])
    manifest.save(tmp_path / "m.parquet")
    loaded = Manifest.load(tmp_path / "m.parquet")
    assert loaded.digest == manifest.digest
    assert loaded.table.equals(manifest.table)
    assert loaded.missing.equals(manifest.missing)
    assert loaded.notes == manifest.notes


def test_every_film_can_be_prepared(name: str, tmp_path: Path) -> None:
    expected = MINI[name](tmp_path / name)
    manifest = registry.load(name, expected.root, **expected.options)
    store = pixel_store.build(
        manifest,
        Preparation(size=(16, 16)),
        tmp_path / "s",
        masks=bool(expected.masks),
        workers=0,
        progress=False,
    )
    assert store.image_ids == manifest.image_ids
    if store.masks is not None:
        assert set(np.unique(store.masks)) <= {0, 1, pixel_store.IGNORE}
        assert (store.masks == 1).any(axis=(1, 2)).all()


def test_an_empty_folder_is_refused_in_words(name: str, tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        registry.load(name, tmp_path)
    assert caught.value.path is not None


def test_a_folder_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        registry.load(name, tmp_path / "nowhere")


def test_what_a_source_says_of_itself(name: str) -> None:
    source = registry.get(name)
    assert all((source.title, source.what, source.licence, source.homepage, source.citation, source.layout))
    assert source.load.__doc__


def test_an_unknown_source_and_an_unknown_option_name_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean nih14"):
        registry.load("nih", tmp_path)
    with pytest.raises(DataError, match=r"no option 'size'.*Its options: teacher"):
        registry.load("nih14", tmp_path, size=3)
    with pytest.raises(DataError, match="option 'val' of source 'kermany'"):
        registry.load("kermany", tmp_path, val="test")


def test_nih14_reads_labels_ages_split_boxes_and_teacher(tmp_path: Path) -> None:
    expected = MINI["nih14"](tmp_path)
    manifest = registry.load("nih14", expected.root, **expected.options)
    names, labels = manifest.labels()
    assert names == NIH14
    assert [[n for n, v in zip(names, row, strict=True) if v] for row in labels] == [
        ["Cardiomegaly"],
        ["Cardiomegaly", "Pleural Thickening"],
        [],
    ]
    assert not np.isnan(labels).any()
    assert manifest.table["age"].to_list() == [57, 58, 81]
    assert manifest.table["split"].to_list() == ["train", "train", "test"]
    assert manifest.table["view"].to_list() == ["PA", "AP", "PA"]
    assert manifest.table["patient"].to_list() == ["nih14:00000001", "nih14:00000001", "nih14:00000002"]
    assert manifest.missing.rows() == [("00000003_000", "00000003_000.png")]
    # 256, 512, 128 and 256 of 1,024 pixels, on a file of 32 pixels.
    assert manifest.boxes.rows() == [("00000001_000", "Infiltration", 8.0, 16.0, 12.0, 24.0, "nih14")]
    teacher_names, teacher = manifest.teacher()
    assert teacher_names == ("Cardiomegaly", "Pleural Thickening")
    np.testing.assert_array_equal(teacher[0], [0.75, 0.5])
    assert np.isnan(teacher[1:]).all()


def test_nih14_refuses_lists_that_do_not_fit(tmp_path: Path) -> None:
    root = MINI["nih14"](tmp_path).root
    text(root / "test_list.txt", "00000001_000.png")
    with pytest.raises(DataError, match="not the complement"):
        registry.load("nih14", root)


def test_kermany_patients_classes_and_parts(tmp_path: Path) -> None:
    root = MINI["kermany"](tmp_path).root
    rows = registry.load("kermany", root).table.select("image_id", "patient", "class", "split").rows()
    assert ("person1_bacteria_1", "kermany:person1_bacteria", "Bacterial Pneumonia", "train") in rows
    assert ("person1_bacteria_2", "kermany:person1_bacteria", "Bacterial Pneumonia", "train") in rows
    assert ("person1_virus_6", "kermany:person1_virus", "Viral Pneumonia", "train") in rows
    assert ("IM-0115-0001", "kermany:IM-0115", "Normal", "train") in rows
    assert ("NORMAL2-IM-0115-0001", "kermany:NORMAL2-IM-0115", "Normal", "train") in rows
    assert ("NORMAL2-IM-1427-0001", "kermany:NORMAL2-IM-1427", "Normal", "train") in rows
    kept = registry.load("kermany", root, val="validation")
    assert kept.filter(split="validation").image_ids == ["NORMAL2-IM-1427-0001"]


def test_kermany_refuses_a_film_in_the_wrong_folder(tmp_path: Path) -> None:
    root = MINI["kermany"](tmp_path).root
    film(root / "train" / "NORMAL" / "person9_virus_1.jpeg")
    with pytest.raises(DataError, match="person9_virus_1"):
        registry.load("kermany", root)


def test_cohen_keeps_unknown_unknown(tmp_path: Path) -> None:
    root = MINI["cohen"](tmp_path).root
    manifest = registry.load("cohen", root)
    names, labels = manifest.labels()
    row = dict(zip(manifest.image_ids, labels, strict=True))
    column = {n: i for i, n in enumerate(names)}
    assert row["a"][column["COVID-19"]] == 1
    assert np.isnan(row["c"]).all()  # todo: nobody has read it
    assert (row["d"] == 0).all()
    assert row["e"][column["Pneumonia"]] == 1
    assert row["e"][column["COVID-19"]] == 0
    assert manifest.table["view"].to_list() == ["PA", "LATERAL", "AP", "AP", None]
    assert manifest.table["class"].to_list() == ["COVID-19", "COVID-19", None, "Normal", None]
    assert manifest.table["licence"].to_list() == ["CC BY 4.0", None, None, "CC BY-NC-SA", None]
    assert manifest.missing["image_id"].to_list() == ["gone"]
    frontal = registry.load("cohen", root, frontal_only="true")
    assert frontal.image_ids == ["a", "c", "d"]
    assert len(registry.load("cohen", root, finding="todo")) == 1


def test_covidx_takes_people_from_the_sources_and_class_from_the_lists(tmp_path: Path) -> None:
    root = MINI["covidx_v1"](tmp_path / "covidx_v1").root
    manifest = registry.load("covidx_v1", root)
    rows = manifest.table.select("image_id", "patient", "class", "split").rows()
    assert rows == [
        ("person1_bacteria_1", "kermany:person1_bacteria", "Bacterial Pneumonia", "train"),
        ("IM-0115-0001", "kermany:IM-0115", "Normal", "train"),
        ("a", "cohen:2", "COVID-19", "train"),  # listed as a.png, published as a.jpg
        ("person3_virus_16", "kermany:person3_virus", "Viral Pneumonia", "test"),
    ]
    assert manifest.missing.rows() == [("nowhere", "nowhere.jpg")]


def test_lungs_v7_patients_are_those_of_the_films_own_sources(tmp_path: Path) -> None:
    root = MINI["lungs_v7"](tmp_path / "lungs_v7").root
    manifest = registry.load("lungs_v7", root)
    assert manifest.table["patient"].to_list() == ["cohen:2", "kermany:person1_virus"]
    assert manifest.table["view"].to_list() == ["AP", "AP"]
    store = pixel_store.build(
        manifest, Preparation(size=(32, 32)), tmp_path / "s", masks=True, workers=0, progress=False
    )
    assert store.masks is not None
    assert (store.masks[0, 0] == pixel_store.IGNORE).all()  # 127 in the file
    assert set(np.unique(store.masks[1])) == {0, 1}


def test_class_folders_knows_names_parts_and_patients(tmp_path: Path) -> None:
    expected = MINI["class_folders"](tmp_path)
    manifest = registry.load("class_folders", expected.root, **expected.options)
    rows = manifest.table.select("class", "split", "patient").rows()
    assert sorted(rows) == sorted(
        [
            ("Normal", "train", f"{tmp_path.name}:p1"),
            ("my class", "train", f"{tmp_path.name}:p2"),
            ("Normal", "validation", f"{tmp_path.name}:p3"),
        ]
    )
    with pytest.raises(DataError, match="no group"):
        registry.load("class_folders", expected.root, patient="p1")


def test_csv_reads_what_it_is_told(tmp_path: Path) -> None:
    expected = MINI["csv"](tmp_path)
    manifest = registry.load("csv", expected.root / "films.csv", **expected.options)
    names, labels = manifest.labels()
    assert names == ("Atelectasis", "Effusion")
    np.testing.assert_array_equal(labels, [[1, 0], [np.nan, 1], [np.nan, np.nan]])
    rows = manifest.table.select("patient", "view", "sex", "age").rows()
    assert rows == [("p1", "PA", "F", 63), ("p1", "LATERAL", "M", 64), ("p2", "AP", "F", 50)]
    text(tmp_path / "films.csv", "path,Mass\na/1.png,yes")
    with pytest.raises(DataError, match="column 'Mass' holds 'yes'"):
        registry.load("csv", tmp_path)
    with pytest.raises(DataError, match="no column 'pid'"):
        registry.load("csv", tmp_path, patient="pid")
