"""Every registered source, on a fabricated copy of its layout."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.datasets import pixel_store, registry
from hilum.datasets.manifest import Manifest
from hilum.errors import DataError, HilumError
from hilum.findings import NIH14, VOCABULARY
from hilum.images.preparation import Preparation
from tests.datasets.mini import MINI, OBSERVED, film, text


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


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("Gallstone", "unknown finding 'Gallstone'"),
        ("", "column 'Finding Labels' is empty"),
        ("No Finding|Cardiomegaly", "'No Finding' beside a finding"),
    ],
)
def test_nih14_names_the_row_of_a_label_it_does_not_know(label: str, fault: str, tmp_path: Path) -> None:
    root = MINI["nih14"](tmp_path).root
    (path,) = root.glob("Data_Entry*")
    content = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(content.replace("Cardiomegaly|Pleural_Thickening", label).encode()))
    with pytest.raises(DataError, match=rf"row 3 .*{fault}"):
        registry.load("nih14", root)


@pytest.mark.parametrize(
    ("column", "given", "fault"),
    [
        ("Patient ID", "", "column 'Patient ID' is empty"),
        ("View Position", "PQ", "unknown view 'PQ'"),
    ],
)
def test_nih14_names_the_row_of_a_patient_or_view_it_cannot_use(
    column: str, given: str, fault: str, tmp_path: Path
) -> None:
    root = MINI["nih14"](tmp_path).root
    (path,) = root.glob("Data_Entry*")
    table = pl.read_csv(gzip.decompress(path.read_bytes()), infer_schema=False)
    last = [*table[column].to_list()[:-1], given]
    path.write_bytes(gzip.compress(table.with_columns(pl.Series(column, last)).write_csv().encode()))
    with pytest.raises(DataError, match=rf"row {table.height + 1} .*{fault}"):
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


def labels_of(manifest: Manifest, kind: str = "label:") -> dict[str, dict[str, float | None]]:
    """Film to what is known of it."""
    columns = [c for c in manifest.table.columns if c.startswith(kind)]
    return {
        row["image_id"]: {c.removeprefix(kind): row[c] for c in columns if row[c] is not None}
        for row in manifest.table.iter_rows(named=True)
    }


SECOND = "patient00002/study2/view1_frontal"
UNSURE = {"Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Effusion"}


def test_chexpert_facts_come_from_paths_and_tables(tmp_path: Path) -> None:
    root = MINI["chexpert"](tmp_path).root
    manifest = registry.load("chexpert", root)
    rows = manifest.table.select("image_id", "patient", "view", "sex", "age", "split").rows()
    assert rows == [
        ("patient00001/study1/view1_frontal", "chexpert:patient00001", "AP", "F", 68, "train"),
        (SECOND, "chexpert:patient00002", "PA", "M", 87, "train"),
        ("patient00002/study2/view2_lateral", "chexpert:patient00002", "LATERAL", "M", 87, "train"),
        ("patient00003/study1/view1_frontal", "chexpert:patient00003", "OTHER", None, None, "train"),
        ("patient64541/study1/view1_frontal", "chexpert:patient64541", "AP", "M", 73, "validation"),
        ("patient64741/study1/view1_frontal", "chexpert:patient64741", None, None, None, "test"),
    ]  # fmt: skip
    assert manifest.table["study"][1] == "chexpert:patient00002/study2"
    assert manifest.missing["image_id"].to_list() == ["patient00004/study1/view1_frontal"]
    as_test = registry.load("chexpert", root, valid="test")
    assert as_test.filter(split="test").image_ids == [
        "patient64541/study1/view1_frontal",
        "patient64741/study1/view1_frontal",
    ]


def test_chexpert_blank_is_unknown_and_no_finding_is_negative(tmp_path: Path) -> None:
    root = MINI["chexpert"](tmp_path).root
    known = labels_of(registry.load("chexpert", root))
    healthy = known["patient00001/study1/view1_frontal"]
    assert healthy.pop("No Finding") == healthy.pop("Support Devices") == 1
    assert set(healthy.values()) == {0}
    assert len(healthy) == 12
    assert known[SECOND] == {"Lung Opacity": 1, "Fracture": 1, "No Finding": 0}
    assert known["patient00003/study1/view1_frontal"] == {}
    assert len(known["patient64541/study1/view1_frontal"]) == 14
    filled = labels_of(registry.load("chexpert", root, blank="negative"))
    assert filled["patient00003/study1/view1_frontal"] == dict.fromkeys(
        filled[SECOND] | dict.fromkeys(UNSURE), 0
    )
    assert not UNSURE & set(filled[SECOND])
    assert filled[SECOND]["Pneumonia"] == 0


@pytest.mark.parametrize(("uncertain", "value"), [("positive", 1), ("negative", 0)])
def test_chexpert_uncertain_becomes_what_is_asked(uncertain: str, value: float, tmp_path: Path) -> None:
    root = MINI["chexpert"](tmp_path).root
    known = labels_of(registry.load("chexpert", root, uncertain=uncertain))[SECOND]
    assert {known[name] for name in UNSURE} == {value}
    assert known["Lung Opacity"] == 1
    with pytest.raises(DataError, match="option 'uncertain'"):
        registry.load("chexpert", root, uncertain="maybe")


def test_chexpert_smoothed_is_a_soft_target_and_no_label(tmp_path: Path) -> None:
    root = MINI["chexpert"](tmp_path).root
    manifest = registry.load("chexpert", root, uncertain="smoothed", seed=3)
    assert not UNSURE & set(labels_of(manifest)[SECOND])
    soft = labels_of(manifest, "soft:")
    assert set(soft[SECOND]) == UNSURE
    values = [*soft[SECOND].values(), *soft["patient00002/study2/view2_lateral"].values()]
    assert all(0.55 <= value <= 0.85 for value in values)
    assert len(set(values)) == 10
    assert all(not soft[film] for film in soft if "patient00002" not in film)
    assert labels_of(registry.load("chexpert", root, uncertain="smoothed", seed="3"), "soft:") == soft
    assert labels_of(registry.load("chexpert", root, uncertain="smoothed", seed=4), "soft:") != soft
    (
        root / "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
    ).unlink()  # other films do not move it
    fewer = registry.load("chexpert", root, uncertain="smoothed", seed=3)
    assert labels_of(fewer, "soft:")[SECOND] == soft[SECOND]


def test_chexpert_names_what_is_strange(tmp_path: Path) -> None:
    root = MINI["chexpert"](tmp_path).root
    path = text(root / "valid.csv", f"Path,{OBSERVED}\nvalid/patient1/study1/a.jpg,1,2,,,,,,,,,,,,")
    with pytest.raises(DataError, match="column 'Enlarged Cardiomediastinum' holds '2'"):
        registry.load("chexpert", root)
    text(path, f"Path,{OBSERVED}\nsomewhere/a.jpg,1,,,,,,,,,,,,,")
    with pytest.raises(DataError, match="no path of CheXpert"):
        registry.load("chexpert", root)


def test_mimic_joins_labels_split_and_people(tmp_path: Path) -> None:
    root = MINI["mimic_cxr"](tmp_path).root
    manifest = registry.load("mimic_cxr", root)
    rows = manifest.table.select("image_id", "patient", "view", "sex", "age", "split").rows()
    assert rows == [
        ("aa-1", "mimic_cxr:10000032", "PA", "F", 52, "train"),
        ("aa-2", "mimic_cxr:10000032", "LATERAL", "F", 52, "train"),
        ("bb-1", "mimic_cxr:10000033", "AP", "M", None, "validation"),  # 122 years
        ("cc-1", "mimic_cxr:10000034", "OTHER", None, None, "test"),
    ]
    assert manifest.missing.rows() == [("dd-1", "files/p10/p10000035/s50414270/dd-1.jpg")]
    known = labels_of(manifest)
    assert known["aa-1"] == known["aa-2"]
    assert known["aa-1"].pop("No Finding") == 1
    assert "Support Devices" not in known["aa-1"]
    assert set(known["aa-1"].values()) == {0}
    assert known["bb-1"] == {"Cardiomegaly": 1, "Pneumothorax": 0, "No Finding": 0}
    assert known["cc-1"] == {}
    negbio = labels_of(registry.load("mimic_cxr", root, labels="negbio"))
    assert negbio["bb-1"]["Edema"] == 1
    assert labels_of(registry.load("mimic_cxr", root, uncertain="negative"))["bb-1"]["Edema"] == 0


def test_padchest_maps_terms_and_says_what_it_does_not_know(tmp_path: Path) -> None:
    manifest = registry.load("padchest", MINI["padchest"](tmp_path).root)
    rows = manifest.table.select("patient", "view", "position", "sex", "age", "read_by").rows()
    assert rows[:3] == [
        ("padchest:p1", "PA", None, "F", 84, "Physician"),
        ("padchest:p2", "LATERAL", None, "M", 86, "RNN_model"),
        ("padchest:p3", "AP", "SUPINE", None, None, "Physician"),
    ]
    assert manifest.table["age"].to_list()[3] is None  # born after the film
    assert manifest.table["view"].to_list()[3:] == [None, "OTHER", "AP"]
    known = labels_of(manifest)
    assert {name for name, value in known["a_1"].items() if value} == {"No Finding"}
    assert len(known["a_1"]) == 18
    positive = {name for name, value in known["b_1"].items() if value}
    assert positive == {"Fibrosis", "Consolidation", "Infiltration"}
    assert "Nodule" not in known["b_1"]  # a granuloma may be one
    assert known["b_1"]["Mass"] == 0
    assert known["c_1"] == {
        "Effusion": 1,
        "Pneumothorax": 1,
        "No Finding": 0,
    }  # unchanged: the rest is unknown
    assert known["d_1"] == known["e_1"] == {}
    assert set(known["f_1"].values()) == {0}  # air under the skin is no emphysema of the lung
    physicians = registry.load("padchest", tmp_path, physician_only="true")
    assert physicians.image_ids == ["a_1", "c_1", "f_1"]
    path = next(tmp_path.glob("PADCHEST*"))
    text(path, "ImageID,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,MethodLabel,Labels\n"
         "a_1.png,20140915,s1,p1,1930.0,F,PA,Physician,normal")  # fmt: skip
    with pytest.raises(DataError, match="no list of terms"):
        registry.load("padchest", tmp_path)
