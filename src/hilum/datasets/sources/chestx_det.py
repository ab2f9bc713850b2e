"""ChestX-Det: boxes and outlines by three radiologists on films of ChestX-ray14."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from hilum.datasets import box_rows, disk
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

CLASSES = (
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "Diffuse Nodules",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Fracture",
    "Mass",
    "Nodule",
    "Pleural Thickening",
    "Pneumothorax",
)
_PUBLISHED = 1024  # pixels a side of the published films, in which the boxes are given
_PARTS = ("train", "test")
_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "image_id": pl.String(),
    "finding": pl.String(),
    "reader": pl.String(),
    **{corner: pl.Float64() for corner in box_rows.CORNERS},
    "width": pl.Int32(),
    "height": pl.Int32(),
}


@source(
    "chestx_det",
    title="ChestX-Det",
    what="3,578 films of ChestX-ray14 with boxes of 13 findings by three radiologists; official train and test",
    licence="Apache-2.0 for the annotations (Deepwise); films as in nih14",
    homepage="GitHub, Deepwise-AILab/ChestX-Det-Dataset",
    citation="Lian et al., A Structure-Aware Relation Network for Thoracic Diseases Detection and Segmentation, TMI 2021",
    layout="""
        ChestX_Det_train.json, ChestX_Det_test.json    [{file_name, syms, boxes [x1, y1, x2, y2], polygons}]
        train_data/**/36199.png, test_data/**/*.png    any folder will do
    """,
)
def load(root: Path) -> Manifest:
    """Films of both lists that are on disk, `split` train or test, with their boxes; the others are `missing`.

    A label is 1 where a box of the finding stands, else 0. Boxes are of the published 1,024 pixels and are scaled to the
    file. Patients are not published: the films are of ChestX-ray14's patients, so no split keeps apart these films
    and those of `nih14`; find the same films first (`hilum data duplicates`).
    """
    root = disk.folder(root)
    lists = {part: disk.find_file(root, f"*{part}*.json", f"*/*{part}*.json") for part in _PARTS}
    there = {part: path for part, path in lists.items() if path is not None}
    if not there:
        raise DataError("ChestX_Det_train.json and ChestX_Det_test.json are not here", path=root)
    films, drawn = [], []
    for part, path in there.items():
        rows, boxes = _read(path)
        films += [(*row, part) for row in rows]
        drawn.append(box_rows.sound(boxes, path))
    named = disk.texts(films, "image_id", "file", "split")
    twice = named.filter(pl.col("image_id").is_duplicated())
    if twice.height:
        raise DataError(f"film '{twice['file'][0]}' is listed twice", path=root)
    on_disk = disk.images_by_stem(root)
    named = named.with_columns(
        path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
    )
    missing = named.filter(pl.col("path").is_null()).select("image_id", path="file")
    table = named.filter(pl.col("path").is_not_null()).drop("file")
    if not table.height:
        raise DataError("none of the listed films is on disk", path=root, mend="Add the images.")
    table = box_rows.measured(table, root)
    boxes = box_rows.scaled(pl.concat(drawn), table)
    labels = box_rows.labels(table["image_id"], boxes, list(CLASSES))
    table = table.join(labels, on="image_id", maintain_order="left")
    notes = [f"{part}: no list ChestX_Det_{part}.json." for part in _PARTS if part not in there]
    notes += box_rows.strays(set(on_disk), set(named["image_id"]), "the lists")
    notes.append("Patients are not published; they are patients of ChestX-ray14.")
    return Manifest(table.with_columns(source=pl.lit("chestx_det")), boxes, root, missing, tuple(notes))


def _read(path: Path) -> tuple[list[tuple[str, str]], pl.DataFrame]:
    """(stem and file of each film, its boxes); the row of a fault counts the films of the list from 1."""
    try:
        content: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"not a readable JSON file: {fault}", path=path) from fault
    if not isinstance(content, list):
        raise DataError(f"a list of films is wanted, it holds {type(content).__name__}", path=path)
    films, rows = [], []
    for number, film in enumerate(content, 1):
        try:
            name, symptoms = str(film["file_name"]), list(film["syms"])
            corners = [tuple(map(float, box)) for box in film["boxes"]]
        except (KeyError, TypeError, ValueError) as fault:
            raise DataError(f"row {number} is no film with syms and boxes: {fault}", path=path) from fault
        if len(symptoms) != len(corners) or any(len(box) != 4 for box in corners):
            said = f"{len(symptoms)} syms for {len(corners)} boxes of four corners"
            raise DataError(f"row {number} (film '{name}'): {said}", path=path)
        films.append((Path(name).stem, name))
        for symptom, box in zip(symptoms, corners, strict=True):
            finding = box_rows.known_name(str(symptom), "chestx_det")
            if finding not in CLASSES:
                mend = f"The classes are {', '.join(CLASSES)}."
                raise DataError(
                    f"row {number} (film '{name}'): unknown class '{symptom}'", path=path, mend=mend
                )
            rows.append((number, Path(name).stem, finding, None, *box, _PUBLISHED, _PUBLISHED))
    boxes = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    for corner in box_rows.CORNERS:
        box_rows.refuse(boxes, ~pl.col(corner).is_finite(), f"{corner} is no number", path)
    return films, boxes
