"""Sources of boxes: whose they are, where they land on the file, and each fault named with its row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hilum.datasets import registry
from hilum.datasets.manifest import Manifest
from hilum.errors import DataError
from hilum.findings import VINBIG14
from tests.datasets.mini import MINI, text


def load(name: str, folder: Path, **options: object) -> Manifest:
    expected = MINI[name](folder)
    return registry.load(name, expected.root, **{**expected.options, **options})


def label(manifest: Manifest, finding: str) -> list[float | None]:
    return manifest.table[f"label:{finding}"].to_list()


def test_vinbig_keeps_readers_apart_and_places_boxes_on_the_file(tmp_path: Path) -> None:
    manifest = load("vinbig", tmp_path)
    assert manifest.findings == VINBIG14
    assert manifest.image_ids == ["a", "b", "c"]
    assert manifest.table["readers"].to_list() == ["R1 R2 R3", "R1 R4 R5", "R2 R3"]
    assert manifest.boxes.rows() == [
        ("a", "Cardiomegaly", 5.0, 12.5, 45.0, 37.5, "R1"),  # x by 50/100, y by 50/200
        ("a", "Cardiomegaly", 7.0, 13.5, 45.0, 37.5, "R2"),
        ("a", "Effusion", 0.0, 0.0, 10.0, 10.0, "R1"),
        ("a", "Nodule or Mass", 10.0, 5.0, 20.0, 15.0, "R3"),
        ("c", "Interstitial Lung Disease", 1.0, 2.0, 31.0, 40.0, "R2"),  # a DICOM file: as published
        ("c", "Other Lesion", 1.0, 2.0, 3.0, 4.0, "R3"),
    ]
    assert manifest.missing.rows() == [("gone", "train/gone.dicom")]
    told = " ".join(manifest.notes)
    assert "1 films have fewer than 3 readers: the first is c, read by R2 R3" in told
    assert "1 films on disk are not in train.csv and are left out: stray" in told
    assert manifest.table["width"].to_list() == [50, 32, 32]


@pytest.mark.parametrize(
    ("positive", "heart", "fluid", "nothing"),
    [("any", 1, 1, 0), ("majority", 1, 0, 0), ("unanimous", None, None, 0)],
)
def test_vinbig_labels_by_the_rule_asked_for(
    positive: str, heart: float | None, fluid: float | None, nothing: float, tmp_path: Path
) -> None:
    manifest = load("vinbig", tmp_path, positive=positive)
    assert label(manifest, "Cardiomegaly")[:2] == [heart, 0]  # two of three readers
    assert label(manifest, "Effusion")[:2] == [fluid, 0]  # one of three
    assert label(manifest, "Fibrosis") == [nothing] * 3
    with pytest.raises(DataError, match="option 'positive'"):
        registry.load("vinbig", tmp_path, positive="most")


def test_vinbig_tables_alone_need_no_film(tmp_path: Path) -> None:
    root = MINI["vinbig"](tmp_path).root
    for path in (root / "train").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="none of the films"):
        registry.load("vinbig", root)
    manifest = registry.load("vinbig", root, tables_only="true")
    assert manifest.image_ids == ["a", "b", "c", "gone"]
    assert manifest.boxes.height == 9
    assert manifest.boxes.row(0) == ("a", "Cardiomegaly", 10.0, 50.0, 90.0, 150.0, "R1")
    assert manifest.table["height"].to_list() == [200, 64, None, 20]
    assert manifest.missing.height == 0


def test_vinbig_needs_the_published_sizes_of_a_reduction(tmp_path: Path) -> None:
    root = MINI["vinbig"](tmp_path).root
    (root / "train_meta.csv.gz").unlink()
    with pytest.raises(DataError, match=r"a\.png.*size is not known.*train_meta"):
        registry.load("vinbig", root)
    text(root / "train_meta.csv", "image_id,dim0,dim1\na,200,100\nb,64,32")
    assert registry.load("vinbig", root).boxes.row(0) == ("a", "Cardiomegaly", 5.0, 12.5, 45.0, 37.5, "R1")


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        ("a,200,x", "row 2 .*column 'width' holds no number"),
        ("a,0,100", "row 2 .*below one pixel"),
        ("a,200,100\na,201,100", "film 'a' has two sizes"),
    ],
)
def test_vinbig_names_the_row_of_a_size(sizes: str, fault: str, tmp_path: Path) -> None:
    root = MINI["vinbig"](tmp_path).root
    (root / "train_meta.csv.gz").unlink()
    text(root / "train_meta.csv", f"image_id,height,width\n{sizes}")
    with pytest.raises(DataError, match=fault):
        registry.load("vinbig", root)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("00000001_000.png,Mass,1,1,0,10", r"row 4 \(film '00000001_000'\): the box is empty"),
        ("00000001_000.png,Mass,1000,1,50,10", "row 4 .*outside the film in x"),
        ("00000001_000.png,Mass,1,1,x,10", "row 4 .*holds no number"),
        ("00000001_000.png,Gallstone,1,1,2,10", "row 4 .*unknown finding 'Gallstone'"),
        ("00000003_000.png,Mass,1,1,10,10", "row 4 .*stands in an earlier row"),
    ],
)
def test_nih14_names_the_row_of_a_box(line: str, fault: str, tmp_path: Path) -> None:
    root = MINI["nih14"](tmp_path).root
    path = root / "BBox_List_2017.csv"
    path.write_text(path.read_text() + line + ",,,\n")
    with pytest.raises(DataError, match=fault):
        registry.load("nih14", root)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("b,Cardiomegaly,3,R6,10,10,5,20", r"row 14 \(film 'b'\): the box is reversed: x2 is below x1"),
        ("b,Cardiomegaly,3,R6,10,10,20,10", "row 14 .*the box is empty: y2 is y1"),
        ("b,Cardiomegaly,3,R6,10,10,34,20", "row 14 .*lies outside the film in x"),
        ("b,Cardiomegaly,3,R6,-3,10,20,20", "row 14 .*lies outside the film in x"),
        ("b,Cardiomegaly,3,R6,10,10,20,", "row 14 .*column 'y_max' holds no number"),
        ("b,Cardiomegaly,3,R6,10,nan,20,20", "row 14 .*column 'y_min' holds no number"),
        ("b,Cardiomegally,3,R6,1,1,2,2", "row 14 .*unknown class 'Cardiomegally'"),
        ("b,Pneumonia,3,R6,1,1,2,2", "row 14 .*unknown class 'Pneumonia'"),
        ("b,Cardiomegaly,3,,1,1,2,2", "row 14 .*column 'rad_id' is empty"),
        ("a,Cardiomegaly,3,R1,10,50,90,150", r"row 14 \(film 'a'\): the same box of the same reader"),
        ("b,No finding,14,R4,,,,", "row 14 .*this row stands twice"),
        ("b,No finding,14,R6,1,1,20,20", "row 14 .*'No finding' with a box"),
        ("b,Cardiomegaly,3,R4,1,1,20,20", "row 14 .*a reader who marks 'No finding' on the same film"),
    ],
)
def test_vinbig_names_the_row_of_a_fault(line: str, fault: str, tmp_path: Path) -> None:
    root = MINI["vinbig"](tmp_path).root
    path = root / "train.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=fault) as caught:
        registry.load("vinbig", root)
    assert caught.value.path == path


def test_vinbig_within_a_pixel_is_a_rounding(tmp_path: Path) -> None:
    root = MINI["vinbig"](tmp_path).root
    path = root / "train.csv"
    path.write_text(path.read_text() + "b,Cardiomegaly,3,R6,-0.5,0,32.6,64\n")
    assert registry.load("vinbig", root).boxes.rows()[-1] == ("b", "Cardiomegaly", 0, 0, 32, 32, "R6")


def test_coco_scales_names_readers_and_patients(tmp_path: Path) -> None:
    manifest = load("coco", tmp_path)
    assert manifest.boxes.rows() == [
        ("a", "Right Lung", 4.0, 4.0, 12.0, 12.0, "R1"),  # x by 32/64, y by 32/128
        ("a", "Edema", 16.0, 16.0, 32.0, 32.0, None),  # half a pixel beyond the film was cut
    ]
    assert manifest.table.select("patient", "view", "source").rows() == [
        ("cohen:7", "AP", "cohen"),
        (None, "PA", "cohen"),
    ]
    assert (label(manifest, "Right Lung"), label(manifest, "Edema")) == ([1, 0], [1, 0])
    assert manifest.missing.rows() == [("gone", "gone.jpg")]
    assert manifest.notes == ("1 boxes of crowds are left out.",)


def change(box: dict) -> Callable[[dict], None]:
    return lambda content: content["annotations"].append({"id": 99, "image_id": 1, "category_id": 1} | box)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (change({"bbox": [1, 1, -3, 4]}), r"row 99 \(film 'a'\): the box is reversed"),
        (change({"bbox": [1, 1, 0, 4]}), "row 99 .*the box is empty"),
        (change({"bbox": [60, 1, 9, 4]}), "row 99 .*lies outside the film in x"),
        (change({"bbox": [1, 1, 2]}), "annotation 5 of the list is no box"),
        (change({"bbox": [1, 1, float("nan"), 2]}), "row 99 .*w of the box is no number"),
        (change({"bbox": [1, 1, 2, 2], "category_id": 7}), "row 99 .*the category of this annotation"),
        (change({"bbox": [1, 1, 2, 2], "image_id": 7}), "row 99: the image of this annotation is not listed"),
        (change({"bbox": [8, 16, 16, 32], "reader": "R1"}), "row 99 .*stands in an earlier row"),
        (lambda c: c["images"].append(c["images"][0]), "image 'a.png' stands twice"),
        (lambda c: c["images"].append({"id": 9}), "image 4 of the list has no sound 'file_name'"),
        (
            lambda c: c["images"].append({"id": 9, "file_name": None}),
            "image 4 of the list has no sound file_name",
        ),
        (
            lambda c: c["images"].append({"id": 9, "file_name": "../a.png"}),
            "image 4 .* leads out of the folder",
        ),
        (lambda c: c.pop("categories"), "no list 'categories'"),
    ],
)
def test_coco_names_the_annotation_of_a_fault(
    broken: Callable[[dict], None], fault: str, tmp_path: Path
) -> None:
    expected = MINI["coco"](tmp_path)
    path = expected.root / "annotations.json"
    content = json.loads(path.read_text())
    broken(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=fault):
        registry.load("coco", expected.root, **expected.options)


def test_yolo_shares_become_pixels_and_an_absent_text_is_unknown(tmp_path: Path) -> None:
    manifest = load("yolo_boxes", tmp_path)
    assert [row[1:6] for row in manifest.boxes.rows()] == [
        ("Mass", 12.0, 8.0, 20.0, 24.0),
        ("Effusion", 0.0, 0.0, 8.0, 32.0),
    ]
    assert label(manifest, "Mass") == [1, 0, None]
    assert manifest.table["split"].to_list() == ["train", "validation", "validation"]
    assert manifest.missing.rows() == [("labels/val/gone", "labels/val/gone.txt")]
    assert "1 films have no text file, the first is images/val/unread" in manifest.notes[1]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("0 0.5 0.5 0.2", "row 2: '0 0.5 0.5 0.2' is no box"),
        ("0 0.5 0.5 0.2 x", "row 2: .* is no box"),
        ("7 0.5 0.5 0.2 0.2", "row 2: unknown class 7"),
        ("0 0.5 nan 0.2 0.2", "row 2 .*y is no share"),
        ("0 0.5 0.5 0.2 1.5", "row 2 .*h is no share"),
        ("0 0.5 0.5 0 0.2", "row 2 .*the box is empty"),
        ("0 0.9 0.5 0.4 0.2", "row 2 .*lies outside the film in x"),
        ("0 0.5 0.5 0.25 0.5", "row 2 .*stands in an earlier row"),
    ],
)
def test_yolo_names_the_line_of_a_fault(line: str, fault: str, tmp_path: Path) -> None:
    root = MINI["yolo_boxes"](tmp_path).root
    path = text(root / "labels" / "train" / "a.txt", f"0 0.5 0.5 0.25 0.5\n{line}")
    with pytest.raises(DataError, match=fault) as caught:
        registry.load("yolo_boxes", root)
    assert caught.value.path == path


def test_yolo_classes_come_from_a_file_or_an_option(tmp_path: Path) -> None:
    root = MINI["yolo_boxes"](tmp_path).root
    (root / "data.yaml").unlink()
    with pytest.raises(DataError, match="nothing names the classes"):
        registry.load("yolo_boxes", root)
    text(root / "classes.txt", "Mass\nmy class")
    assert registry.load("yolo_boxes", root).findings == ("Mass", "my class")
    assert registry.load("yolo_boxes", root, names="Nodule,Mass").findings == ("Nodule", "Mass")


def test_chestx_det_boxes_are_of_1024_pixels(tmp_path: Path) -> None:
    manifest = load("chestx_det", tmp_path)
    assert [row[:6] for row in manifest.boxes.rows()] == [
        ("36199", "Effusion", 0.0, 16.0, 8.0, 32.0),
        ("36199", "Diffuse Nodules", 8.0, 0.0, 16.0, 4.0),
    ]
    assert label(manifest, "Effusion") == [1, 0]
    assert manifest.table["split"].to_list() == ["train", "train"]
    assert manifest.missing.rows() == [("9", "9.png")]
    path = tmp_path / "ChestX_Det_test.json"
    for film, fault in (
        ({"file_name": "9.png", "syms": ["Mass"], "boxes": []}, "row 1 .*1 syms for 0 boxes"),
        ({"file_name": "9.png", "syms": ["Gallstone"], "boxes": [[1, 2, 3, 4]]}, "unknown class 'Gallstone'"),
        ({"file_name": "9.png", "syms": ["Mass"], "boxes": [[5, 2, 3, 4]]}, "row 1 .*reversed"),
        ({"file_name": "36199.png", "syms": [], "boxes": []}, "film '36199.png' is listed twice"),
    ):
        path.write_text(json.dumps([film]))
        with pytest.raises(DataError, match=fault):
            registry.load("chestx_det", tmp_path)
    path.write_text("5")
    with pytest.raises(DataError, match="a list of films is wanted"):
        registry.load("chestx_det", tmp_path)


def test_rsna_targets_details_and_patients(tmp_path: Path) -> None:
    manifest = load("rsna", tmp_path)
    assert [row[:6] for row in manifest.boxes.rows()] == [
        ("f1", "Lung Opacity", 8.0, 8.0, 24.0, 24.0),  # a DICOM file of 64 x 32
        ("f1", "Lung Opacity", 0.0, 0.0, 4.0, 8.0),
    ]
    assert label(manifest, "Lung Opacity") == [1, 0]
    assert manifest.table["detail"].to_list() == ["Lung Opacity", "No Lung Opacity / Not Normal"]
    assert manifest.table.select("patient", "nih14").rows() == [
        ("nih14:00000001", "00000001_000"),
        (None, None),
    ]
    assert manifest.missing.rows() == [("f3", "stage_2_train_images/f3.dcm")]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("f2,1,1,2,2,1", r"row 4 \(film 'f2'\): Target differs"),
        ("f2,,,,,0", "row 6 .*stands twice"),
        ("f4,1,1,2,2,0", "row 6 .*a box, but Target is 0"),
        ("f4,1,1,,2,1", "row 6 .*column 'width' holds no number"),
        ("f4,1000,1,50,2,1", "row 6 .*outside the film in x"),
        ("f4,1,1,2,2,yes", "row 6 .*Target is neither"),
    ],
)
def test_rsna_names_the_row_of_a_fault(line: str, fault: str, tmp_path: Path) -> None:
    root = MINI["rsna"](tmp_path).root
    path = root / "stage_2_train_labels.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=fault):
        registry.load("rsna", root)


def test_rsna_names_the_row_of_a_class_that_contradicts_the_boxes(tmp_path: Path) -> None:
    root = MINI["rsna"](tmp_path).root
    (path,) = root.glob("*detailed_class_info.csv")
    path.write_text(path.read_text().replace("f1,Lung Opacity", "f1,Normal"))
    with pytest.raises(DataError, match=r"row \d+ \(film 'f1'\): the class is 'Normal', but Target is 1"):
        registry.load("rsna", root)


def test_boxes_survive_being_saved(tmp_path: Path) -> None:
    manifest = load("vinbig", tmp_path / "v")
    manifest.save(tmp_path / "m.parquet")
    loaded = Manifest.load(tmp_path / "m.parquet")
    assert loaded.boxes.equals(manifest.boxes)
    assert loaded.table["readers"].to_list() == manifest.table["readers"].to_list()
    assert np.array_equal(loaded.labels()[1], manifest.labels()[1])
