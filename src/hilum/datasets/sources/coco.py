"""Any set of films with boxes in a COCO file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from hilum.datasets import box_rows, disk
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_VIEWS = {"PA": "PA", "AP": "AP", "AP SUPINE": "AP", "AP ERECT": "AP", "LATERAL": "LATERAL", "L": "LATERAL"}
_BOX_SCHEMA = {
    "row": pl.Int64,
    "image": pl.String,
    "category": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "w": pl.Float64,
    "h": pl.Float64,
    "crowd": pl.Boolean,
    "reader": pl.String,
}


@source(
    "coco",
    title="A COCO file",
    what="your own films: boxes of your classes in COCO's JSON, with who drew them where it says so",
    licence="your own",
    homepage="none",
    citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014 (the format)",
    layout="""
        annotations.json      images: id, file_name, width, height [, patient_id, view]
                              annotations: id, image_id, category_id, bbox [x, y, width, height] [, reader]
                              categories: id, name
        <file_name>           below the file's folder, or below images=FOLDER
    """,
)
def load(
    root: Path,
    *,
    annotations: str | None = None,
    images: str | None = None,
    patient: str = "patient_id",
    prefix: str | None = None,
) -> Manifest:
    """Images that the file lists and that are on disk, with their boxes; the others are `missing`.

    A label is 1 where a box of the category stands on the image, else 0: the annotators looked for every category. A
    category is its finding where the vocabulary knows its name, else it keeps its own. Boxes of crowds (`iscrowd`)
    are regions to ignore: they are left out and counted.

    `annotations`: the file, by default the only JSON file in the folder. `images`: the folder that `file_name` is in,
    from the dataset's. `patient`: the image's key that says who it is of; patients are `<prefix>:<that>`, and the
    prefix is by default the dataset's folder: give the source's name where the films are of one that Hilum reads,
    and its patients are the same.
    """
    root = disk.folder(root)
    path = _file(root, annotations)
    content = _content(path)
    folder = disk.folder(path.parent / images) if images else path.parent
    prefix = prefix or root.name
    listed = _images(content, path, patient, prefix)
    on_disk = _found(folder, listed["file"].to_list())
    listed = listed.with_columns(path=pl.Series(on_disk, dtype=pl.String))
    missing = listed.filter(pl.col("path").is_null()).select("image_id", path="file")
    films = listed.filter(pl.col("path").is_not_null())
    if not films.height:
        raise DataError("none of the images is on disk", path=path, mend=f"Looked for them below {folder}.")
    names = _names(content, path)
    drawn, notes = _boxes(content, names, listed, path)
    table = box_rows.measured(films.drop("width", "height", "id", "file"), folder)
    boxes = box_rows.scaled(drawn, table)
    labels = box_rows.labels(table["image_id"], boxes, list(dict.fromkeys(names.values())))
    table = table.join(labels, on="image_id", maintain_order="left")
    table = table.with_columns(source=pl.lit(prefix))
    notes += box_rows.strays(
        {p.name for p in disk.images(folder)}, {Path(f).name for f in listed["file"]}, path.name
    )
    return Manifest(table, boxes, folder, missing, tuple(notes))


def _file(root: Path, name: str | None) -> Path:
    if name is not None:
        path = root / name
        if not path.is_file():
            raise DataError("no such file", path=path)
        return path
    found = sorted((*root.glob("*.json"), *root.glob("annotations/*.json")))
    if len(found) != 1:
        mend = "Say which: annotations=FILE."
        raise DataError(f"{len(found)} JSON files are here", path=root, mend=mend)
    return found[0]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"not a readable JSON file: {fault}", path=path) from fault
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"no COCO file: it has no list '{key}'", path=path)
    return content


def _images(content: dict[str, Any], path: Path, patient: str, prefix: str) -> pl.DataFrame:
    rows = []
    for number, image in enumerate(content["images"], 1):
        try:
            file = image["file_name"]
            if not isinstance(file, str) or not file:
                raise ValueError("file_name")
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise DataError(
                    f"image {number} of the list is '{file}', which leads out of the folder",
                    path=path,
                    mend="Name files below the folder of the images; `images` says which that is.",
                )
            who, view = image.get(patient), str(image.get("view", "")).strip().upper()
            rows.append(
                (
                    str(image["id"]),
                    file.rsplit(".", 1)[0],
                    file,
                    None if who in (None, "") else f"{prefix}:{who}",
                    _VIEWS.get(view),
                    *(None if image.get(k) is None else int(image[k]) for k in ("width", "height")),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            raise DataError(f"image {number} of the list has no sound {fault}", path=path) from fault
    columns = ("id", "image_id", "file", "patient", "view", "width", "height")
    images = disk.texts(rows, *columns).with_columns(
        pl.col("width", "height").cast(pl.Int32),
        pl.col("id", "image_id", "file", "patient", "view").cast(pl.String),
    )
    for column in ("id", "image_id"):
        twice = images.filter(pl.col(column).is_duplicated())
        if twice.height:
            raise DataError(f"image '{twice['file'][0]}' stands twice ({column})", path=path)
    return images


def _found(folder: Path, files: list[str]) -> list[str | None]:
    """Where each file is below the folder: by its path there, else by its stem (the films may have been converted)."""
    stems = disk.images_by_stem(folder)
    return [f if (folder / f).is_file() else stems.get(Path(f).stem) for f in files]


def _boxes(
    content: dict[str, Any], names: dict[str, str], images: pl.DataFrame, path: Path
) -> tuple[pl.DataFrame, list[str]]:
    """Boxes in the pixels that the file says, with its sizes; the row of a fault is the annotation's id."""
    rows = []
    for number, box in enumerate(content["annotations"], 1):
        try:
            x, y, w, h = map(float, box["bbox"])
            who = box.get("reader", box.get("rad_id"))
            rows.append(
                (
                    int(box.get("id", number)),
                    str(box["image_id"]),
                    str(box["category_id"]),
                    *(x, y, w, h),
                    bool(box.get("iscrowd", 0)),
                    None if who is None else str(who),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            raise DataError(f"annotation {number} of the list is no box: {fault}", path=path) from fault
    every = pl.DataFrame(rows, schema=_BOX_SCHEMA, orient="row")
    sizes = images.select("id", "image_id", "width", "height")
    found = every.join(sizes, left_on="image", right_on="id", how="left", maintain_order="left")
    box_rows.refuse(found, pl.col("image_id").is_null(), "the image of this annotation is not listed", path)
    strange = ~pl.col("category").is_in(list(names))
    box_rows.refuse(found, strange, "the category of this annotation is not listed", path)
    for side in ("x", "y", "w", "h"):
        box_rows.refuse(found, ~pl.col(side).is_finite(), f"{side} of the box is no number", path)
    drawn = found.filter(~pl.col("crowd")).select(
        "row",
        "image_id",
        "reader",
        "width",
        "height",
        finding=pl.col("category").replace_strict(names, return_dtype=pl.String),
        x1="x",
        y1="y",
        x2=pl.col("x") + pl.col("w"),
        y2=pl.col("y") + pl.col("h"),
    )
    crowds = found.height - drawn.height
    notes = [f"{crowds:,} boxes of crowds are left out."] if crowds else []
    return box_rows.sound(drawn, path), notes


def _names(content: dict[str, Any], path: Path) -> dict[str, str]:
    """Category id to finding."""
    names = {}
    for number, category in enumerate(content["categories"], 1):
        try:
            name = str(category["name"])
            names[str(category["id"])] = box_rows.known_name(name, "coco") or name
        except (KeyError, TypeError) as fault:
            raise DataError(f"category {number} of the list has no {fault}", path=path) from fault
    return names
