"""RSNA's pneumonia challenge: boxes of lung opacities on films of ChestX-ray14."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from hilum.datasets import box_rows, disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_FINDING = "Lung Opacity"
_PUBLISHED = 1024  # pixels a side of the published films, in which the boxes are given
_DETAILS = ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")
_BOX = ("x", "y", "width", "height")


@source(
    "rsna",
    title="RSNA Pneumonia Detection Challenge",
    what="26,684 frontal films of ChestX-ray14 with boxes of lung opacities by radiologists",
    licence="challenge data, research and education (RSNA); films as in nih14",
    homepage="Kaggle, RSNA Pneumonia Detection Challenge",
    citation="Shih et al., Augmenting the NIH Chest Radiograph Dataset with Expert Annotations, Radiol Artif Intell 1, 2019",
    layout="""
        stage_2_train_labels.csv                patientId, x, y, width, height, Target: a row a box, or Target 0
        stage_2_detailed_class_info.csv         patientId, class (optional)
        stage_2_train_images/*.dcm              as published, or a reduction as *.png or *.jpg
        *mappings*.json                         which film of ChestX-ray14 each is (optional): its patients
    """,
)
def load(root: Path) -> Manifest:
    """Films of the table that are on disk, with their boxes in pixels of the file; the others are `missing`.

    `label:Lung Opacity` is Target. The column `detail` tells normal films from those that show something else. What the
    challenge calls a patient is a film. With the mapping patients are those of `nih14`, else unknown: then the same
    person may have several films, and a split is refused unless you say otherwise.
    """
    root = disk.folder(root)
    path = disk.need_file(root, "*train_labels.csv*", "*/*train_labels.csv*", what="the table of boxes")
    rows = _rows(path)
    films = rows.group_by("image_id", maintain_order=True).agg(pl.col("target").max())
    films = films.select("image_id", pl.col("target").cast(pl.Float32).alias(LABEL + _FINDING))
    on_disk = disk.images_by_stem(root, (".dcm", ".dicom", ".png", ".jpg", ".jpeg"))
    named = films.with_columns(
        path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
    )
    missing = named.filter(pl.col("path").is_null()).select(
        "image_id", path=pl.format("stage_2_train_images/{}.dcm", "image_id")
    )
    table = named.filter(pl.col("path").is_not_null())
    if not table.height:
        raise DataError("none of the films of the table is here", path=root, mend="Add the images.")
    table = box_rows.measured(table, root)
    table, notes = _with_details(table, root, films)
    table, more = _with_patients(table, root)
    boxes = box_rows.scaled(_boxes(rows, path), table)
    notes += more + box_rows.strays(set(on_disk), set(films["image_id"]), path.name)
    table = table.with_columns(source=pl.lit("rsna"))
    return Manifest(table, boxes, root, missing, tuple(notes))


def _rows(path: Path) -> pl.DataFrame:
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("patientId", *_BOX, "Target"), path)
    rows = box_rows.numbered(raw).rename({"patientId": "image_id"})
    box_rows.refuse(rows, pl.col("image_id").is_null(), "column 'patientId' is empty", path)
    strange = pl.col("Target").is_null() | ~pl.col("Target").is_in(["0", "1"])
    box_rows.refuse(rows, strange, "Target is neither 0 nor 1", path)
    rows = rows.with_columns(target=pl.col("Target").cast(pl.Int8))
    boxed = pl.any_horizontal(pl.col(*_BOX).is_not_null())
    box_rows.refuse(rows, boxed & (pl.col("target") == 0), "a box, but Target is 0", path)
    differ = pl.col("target").n_unique().over("image_id") > 1
    box_rows.refuse(rows.with_columns(differ=differ), pl.col("differ"), "Target differs between rows", path)
    again = (pl.col("target") == 0) & ~pl.col("image_id").is_first_distinct()
    box_rows.refuse(rows.with_columns(again=again), pl.col("again"), "this row stands twice", path)
    return rows


def _boxes(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    drawn = box_rows.numbers(rows.filter(pl.col("target") == 1), _BOX, path)
    corners = drawn.select(
        "row",
        "image_id",
        finding=pl.lit(_FINDING),
        reader=pl.lit(None, pl.String),
        x1="x",
        y1="y",
        x2=pl.col("x") + pl.col("width"),
        y2=pl.col("y") + pl.col("height"),
        width=pl.lit(_PUBLISHED, pl.Int32),
        height=pl.lit(_PUBLISHED, pl.Int32),
    )
    return box_rows.sound(corners, path)


def _with_details(table: pl.DataFrame, root: Path, films: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    path = disk.find_file(root, "*detailed_class_info.csv*", "*/*detailed_class_info.csv*")
    if path is None:
        return table, ["The detailed classes are absent: normal films are not told apart."]
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("patientId", "class"), path)
    rows = box_rows.numbered(raw).rename({"patientId": "image_id"})
    box_rows.refuse(rows, ~pl.col("class").is_in(_DETAILS), "unknown class", path)
    rows = rows.join(films, on="image_id", how="left", maintain_order="left")
    target = pl.col(LABEL + _FINDING)
    box_rows.refuse(rows, target.is_null(), "the table of boxes has no such film", path)
    for name in _DETAILS:
        wrong = (pl.col("class") == name) & (target != (name == _FINDING))
        fault = f"the class is '{name}', but Target is {int(name != _FINDING)}"
        box_rows.refuse(rows, wrong, fault, path, mend="Fetch both tables again.")
    detail = rows.select("image_id", detail="class").unique(maintain_order=True)
    twice = detail.filter(pl.col("image_id").is_duplicated())
    if twice.height:
        raise DataError(f"film '{twice['image_id'][0]}' has two classes", path=path)
    return table.join(detail, on="image_id", how="left", maintain_order="left"), []


def _with_patients(table: pl.DataFrame, root: Path) -> tuple[pl.DataFrame, list[str]]:
    """Patients of ChestX-ray14, by the mapping that RSNA published with its annotations."""
    path = disk.find_file(root, "*mapping*.json", "*/*mapping*.json")
    if path is None:
        return table, ["No mapping to ChestX-ray14 is here: patients are unknown."]
    try:
        of = {str(m["subset_img_id"]): str(m["img_id"]) for m in json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise DataError(f"no mapping of subset_img_id to img_id: {fault}", path=path) from fault
    film = pl.col("image_id").replace_strict(of, default=None, return_dtype=pl.String)
    table = table.with_columns(nih14=film.str.replace(r"\.[^.]+$", ""))
    table = table.with_columns(patient=pl.format("nih14:{}", pl.col("nih14").str.extract(r"^(\d{8})_")))
    unknown = table["patient"].null_count()
    return table, [
        f"{unknown:,} films are not in the mapping: their patients are unknown."
    ] if unknown else []
