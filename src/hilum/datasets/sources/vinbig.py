"""VinBigData's films with the boxes of three of 17 radiologists on each, kept apart by reader."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import polars as pl

from hilum.datasets import box_rows, disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError
from hilum.findings import VINBIG14, canonical

logger = logging.getLogger(__name__)

_NOTHING = "No Finding"
_CORNERS = {"x_min": "x1", "y_min": "y1", "x_max": "x2", "y_max": "y2"}
_DICOM = (".dicom", ".dcm")
_SUFFIXES = (*_DICOM, ".png", ".jpg", ".jpeg")
_READERS = 3


@source(
    "vinbig",
    title="VinBigData chest X-ray abnormalities (VinDr-CXR)",
    what="15,000 frontal films, each read by three of 17 radiologists: 36,096 boxes of 14 findings",
    licence="competition data, research use",
    homepage="Kaggle, VinBigData Chest X-ray Abnormalities Detection",
    citation="Nguyen et al., VinDr-CXR: An open dataset of chest X-rays with radiologist's annotations, Sci Data 9, 2022",
    layout="""
        train.csv[.gz]        image_id, class_name, class_id, rad_id, x_min, y_min, x_max, y_max: a row a box, or
                              "No finding" of one reader; boxes in pixels of the DICOM file
        train/*.dicom         as published; or
        **/*.png or *.jpg     a reduction, kept in proportion or squashed, without borders; it needs the next table
        train_meta.csv[.gz]   image_id with height and width (or dim0 and dim1) of the DICOM files
    """,
)
def load(
    root: Path,
    *,
    positive: Literal["any", "majority", "unanimous"] = "any",
    tables_only: bool = False,
) -> Manifest:
    """Films of the table that are on disk, with every reader's boxes in pixels of the file; the others are `missing`.

    The column `readers` names who read the film, with a blank between: who is there and has no box of a finding saw
    none. Labels over the film's readers: with `positive=any` 1 where one of them boxed the finding, else 0; with
    `majority` 1 where more than half of them did, else 0; with `unanimous` 1 where all did, 0 where none did, and
    unknown where they differ. Patients are not published.

    `tables_only`: every film of the table whether on disk or not, with published sizes and boxes: for statistics of
    the readers. Paths are then those that the publisher's files would have, and pixels cannot be read.

    DataError names the row of a box that is reversed, empty or outside its film, of an unknown class, of a row that
    stands twice, and of a reader who marks "No finding" and a box on one film.
    """
    root = disk.folder(root)
    path = disk.need_file(
        root, "train.csv*", "vinbigdata-train.csv*", "*/train.csv*", what="the table of boxes"
    )
    rows = _rows(path)
    sizes = _sizes(root, path, rows)
    films = _films(rows, positive).join(sizes, on="image_id", how="left", maintain_order="left")
    notes = [
        f"A label is 1 by the rule '{positive}' over the readers of the film. Patients are not published.",
        *_few_readers(films),
    ]
    missing = pl.DataFrame(schema={"image_id": pl.String, "path": pl.String})
    if tables_only:
        table = films.with_columns(path=pl.format("train/{}.dicom", "image_id"))
        boxes = _boxes(rows, sizes, path)
        notes.append("Tables alone: paths are the publisher's, sizes and boxes are of the DICOM files.")
    else:
        on_disk = disk.images_by_stem(root, _SUFFIXES)
        named = films.with_columns(
            path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
        )
        missing = named.filter(pl.col("path").is_null()).select(
            "image_id", path=pl.format("train/{}.dicom", "image_id")
        )
        here = named.filter(pl.col("path").is_not_null())
        if not here.height:
            raise DataError("none of the films of the table is here", path=root, mend="Add the images.")
        sizes, table = _measured(here, root)
        boxes = _boxes(rows, sizes, path)
        notes.append(f"{table.height:,} of the {films.height:,} films of the table are on disk.")
        notes += box_rows.strays(set(on_disk), set(films["image_id"]), path.name)
    for note in notes[1:]:
        logger.info(note)
    table = table.with_columns(source=pl.lit("vinbig"), view=pl.lit("PA"))
    return Manifest(table, box_rows.scaled(boxes, table), root, missing, tuple(notes))


def _rows(path: Path) -> pl.DataFrame:
    """The table with `row`, canonical `finding` and corners (null for "No finding"), each row held to its own meaning."""
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("image_id", "class_name", "rad_id", *_CORNERS), path)
    raw = box_rows.numbered(raw)
    for column in ("image_id", "class_name", "rad_id"):
        box_rows.refuse(raw, pl.col(column).is_null(), f"column '{column}' is empty", path)
    names = {name: box_rows.known_name(name, "vinbig") for name in raw["class_name"].unique()}
    known = {name for name, found in names.items() if found in (*VINBIG14, _NOTHING)}
    for name in sorted(set(names) - known):
        box_rows.refuse(raw, pl.col("class_name") == name, f"unknown class '{name}'", path)
    raw = raw.with_columns(
        finding=pl.col("class_name").replace_strict({n: canonical(n, "vinbig") for n in known}),
        reader=pl.col("rad_id"),
    )
    nothing = pl.col("finding") == _NOTHING
    drawn = box_rows.numbers(raw.filter(~nothing), tuple(_CORNERS), path)
    # The competition writes "No finding" with empty cells or, in submissions, with the box 0 0 1 1.
    rest = raw.filter(nothing).with_columns(pl.col(c).cast(pl.Float64, strict=False) for c in _CORNERS)
    box_rows.refuse(rest, pl.col("x_max") > 1, "'No finding' with a box", path)
    rest = rest.with_columns(pl.lit(None, pl.Float64).alias(c) for c in _CORNERS)
    rows = pl.concat([drawn, rest]).sort("row").rename(_CORNERS)
    twice = nothing & ~pl.struct("image_id", "reader", "finding").is_first_distinct()
    box_rows.refuse(rows.with_columns(again=twice), pl.col("again"), "this row stands twice", path)
    both = nothing.any().over("image_id", "reader") & ~nothing
    fault = "a box of a reader who marks 'No finding' on the same film"
    box_rows.refuse(rows.with_columns(both=both), pl.col("both"), fault, path)
    return rows


def _sizes(root: Path, table: Path, rows: pl.DataFrame) -> pl.DataFrame:
    """`image_id`, `width`, `height` of the published files, from the table itself or from train_meta; else empty."""
    none = pl.DataFrame(schema={"image_id": pl.String, "width": pl.Int32, "height": pl.Int32})
    path = disk.find_file(table.parent, "train_meta.csv*") or disk.find_file(root, "*/train_meta.csv*")
    found = rows if path is None else disk.read_csv(path)
    for height, width in (("height", "width"), ("dim0", "dim1")):
        if {"image_id", height, width} <= set(found.columns):
            rows = found if "row" in found.columns else box_rows.numbered(found)
            read = box_rows.numbers(rows, (height, width), path or table)
            small = (pl.col(width) < 1) | (pl.col(height) < 1)
            box_rows.refuse(read, small, "a size below one pixel", path or table)
            sizes = read.select(
                "image_id", width=pl.col(width).cast(pl.Int32), height=pl.col(height).cast(pl.Int32)
            ).unique(maintain_order=True)
            twice = sizes.filter(pl.col("image_id").is_duplicated())
            if twice.height:
                raise DataError(f"film '{twice['image_id'][0]}' has two sizes", path=path or table)
            return sizes
    if path is not None:
        raise DataError("no columns height and width, nor dim0 and dim1", path=path)
    return none


def _films(rows: pl.DataFrame, positive: str) -> pl.DataFrame:
    """A row a film: `readers` and a label a finding."""
    films = rows.group_by("image_id", maintain_order=True).agg(readers=pl.col("reader").unique().sort())
    votes = (
        rows.select("image_id", "reader", "finding")
        .unique()
        .group_by("image_id")
        .agg((pl.col("finding") == name).sum().alias(name) for name in VINBIG14)
    )
    read = pl.col("readers").list.len()
    labels = []
    for name in VINBIG14:
        n = pl.col(name)
        label = {
            "any": n > 0,
            "majority": 2 * n > read,
            "unanimous": pl.when((n == 0) | (n == read)).then(n == read),
        }[positive]
        labels.append(label.cast(pl.Float32).alias(LABEL + name))
    return (
        films.join(votes, on="image_id", maintain_order="left")
        .with_columns(labels)
        .with_columns(pl.col("readers").list.join(" "))
        .drop(VINBIG14)
    )


def _few_readers(films: pl.DataFrame) -> list[str]:
    read = films.with_columns(n=pl.col("readers").str.split(" ").list.len())
    few = read.filter(pl.col("n") < _READERS)
    if not few.height:
        return []
    first = few.row(0, named=True)
    told = f"the first is {first['image_id']}, read by {first['readers']}"
    return [f"{few.height:,} films have fewer than {_READERS} readers: {told}."]


def _measured(here: pl.DataFrame, root: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(published sizes, the films with the sizes of their files); a DICOM file's own size is the published one."""
    table = box_rows.measured(here.drop("width", "height"), root)
    published = here.select("image_id", wide="width", high="height")
    both = table.join(published, on="image_id", maintain_order="left")
    dicom = pl.col("path").str.to_lowercase().str.contains(r"\.(dicom|dcm)$")
    sizes = both.select(
        "image_id",
        width=pl.when(dicom).then("width").otherwise("wide"),
        height=pl.when(dicom).then("height").otherwise("high"),
    )
    unknown = both.filter(~dicom & pl.col("wide").is_null())
    if unknown.height:
        mend = "Add train_meta.csv with the height and width of the DICOM files: boxes are in their pixels."
        raise DataError(
            f"the published size is not known ({unknown.height:,} films)",
            path=root / unknown["path"][0],
            mend=mend,
        )
    return sizes, table


def _boxes(rows: pl.DataFrame, sizes: pl.DataFrame, path: Path) -> pl.DataFrame:
    drawn = rows.filter(pl.col("x1").is_not_null()).select(
        "row", "image_id", "finding", "reader", *box_rows.CORNERS
    )
    known = drawn.join(sizes, on="image_id", how="left", maintain_order="left")
    return box_rows.sound(known, path)
