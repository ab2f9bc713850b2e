"""NIH ChestX-ray14: the official tables, the official split, the official boxes."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl

from hilum.datasets import box_rows, disk
from hilum.datasets.checks import VIEWS
from hilum.datasets.manifest import LABEL, TEACHER, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError
from hilum.findings import NIH14, canonical

logger = logging.getLogger(__name__)

_BOX_SPACE = 1024  # the pixels of the published PNG files, in which the official boxes are given


@source(
    "nih14",
    title="NIH ChestX-ray14",
    what="112,120 frontal films of 30,805 patients, 14 findings mined from reports, 984 boxes",
    licence="free use with attribution (NIH Clinical Center)",
    homepage="NIH Clinical Center, ChestX-ray8/14 download page",
    citation="Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR 2017",
    layout="""
        Data_Entry_2017*.csv[.gz]      the official table
        train_val_list.txt[.gz]        the official split (optional); its complement is the official test set
        test_list.txt[.gz]             (optional) checked against that complement
        BBox_List_2017.csv[.gz]        the official boxes (optional)
        images_001/images/*.png ... images_012/images/*.png, or images/*.png or *.jpg, whole or in part
    """,
)
def load(root: Path, *, teacher: Path | None = None) -> Manifest:
    """Rows for the films on disk; the others of the official table are `missing`.

    Each of the 14 labels is 1 or 0 as the reports were mined: noisy, and 0 means "not mentioned". Patients
    are `nih14:<number>`. Where the files were made smaller than the published 1,024 pixels, the boxes are
    scaled to them.

    `teacher`: a table `Image Index, prob_<Finding>...` of another model's probabilities, kept as `teacher:`
    columns.
    """
    root = disk.folder(root)
    entry = disk.need_file(
        root, "Data_Entry_2017*.csv*", "*/Data_Entry_2017*.csv*", what="the official table"
    )
    table = _films(entry)
    notes = ["Labels were mined from radiology reports: noisy, and absent means not mentioned."]
    table, split_notes = _official_split(table, entry.parent)
    on_disk = disk.images_by_stem(root, (".png", ".jpg", ".jpeg"))
    table = table.with_columns(
        path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
    )
    missing = table.filter(pl.col("path").is_null()).select("image_id", path="file")
    found = table.filter(pl.col("path").is_not_null()).drop("file")
    notes.append(f"{found.height:,} of the {table.height:,} films of the official table are on disk.")
    logger.info(notes[-1])
    if not found.height:
        raise DataError("none of the films of the official table is here", path=root, mend="Add the images.")
    found = disk.measured(found, root)
    if teacher is not None:
        found = found.join(_teacher(teacher), on="image_id", how="left")
    boxes, box_notes = _boxes(entry.parent, found)
    return Manifest(found, boxes, root, missing, (*notes, *split_notes, *box_notes))


def _films(path: Path) -> pl.DataFrame:
    raw = disk.read_csv(path)
    disk.need_columns(
        raw,
        ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "View Position"),
        path,
    )
    sex = next((c for c in ("Patient Gender", "Patient Sex") if c in raw.columns), None)
    found = pl.col("Finding Labels").str.split("|")
    rows = box_rows.numbered(raw).with_columns(
        image_id="Image Index", strange=found.list.set_difference([*map(_published, NIH14), "No Finding"])
    )
    box_rows.refuse(rows, pl.col("Finding Labels").is_null(), "column 'Finding Labels' is empty", path)
    both = found.list.contains("No Finding") & (found.list.len() > 1)
    box_rows.refuse(rows, both, "'No Finding' beside a finding", path)
    nobody = pl.col("Patient ID").fill_null("").str.strip_chars() == ""
    box_rows.refuse(rows, nobody, "column 'Patient ID' is empty", path)
    view = pl.col("View Position").str.to_uppercase()
    for strange in rows.filter(~view.is_in(VIEWS))["View Position"].unique().sort()[:1]:
        known = f"Views are {', '.join(VIEWS)}."
        box_rows.refuse(rows, ~view.is_in(VIEWS), f"unknown view '{strange}'", path, mend=known)
    unknown = rows.filter(pl.col("strange").list.len() > 0)
    if unknown.height:
        first = unknown["strange"][0][0]
        bad = pl.col("strange").list.len() > 0
        box_rows.refuse(rows, bad, f"unknown finding '{first}'", path)
    # The first edition of the table wrote ages as 058Y and held some of over 120 years.
    age = pl.col("Patient Age").str.extract(r"^(\d+)").cast(pl.Float64)
    unit = (
        pl.col("Patient Age").str.extract(r"([YMD])$").replace_strict({"M": 12.0, "D": 365.25}, default=1.0)
    )
    years = age / unit
    return raw.select(
        image_id=pl.col("Image Index").str.replace(r"\.[^.]+$", ""),
        file=pl.col("Image Index"),
        patient=pl.format("nih14:{}", pl.col("Patient ID").str.zfill(8)),
        study=pl.format("nih14:{}/{}", pl.col("Patient ID").str.zfill(8), pl.col("Follow-up #")),
        view=pl.col("View Position").str.to_uppercase(),
        sex=pl.col(sex).str.to_uppercase() if sex else pl.lit(None, dtype=pl.String),
        age=pl.when(years <= 120).then(years),
        source=pl.lit("nih14"),
        **{LABEL + name: found.list.contains(_published(name)).cast(pl.Float32) for name in NIH14},
    )


def _published(name: str) -> str:
    return name.replace(" ", "_")


def _official_split(table: pl.DataFrame, folder: Path) -> tuple[pl.DataFrame, list[str]]:
    path = disk.find_file(folder, "train_val_list.txt*")
    if path is None:
        return table, ["train_val_list.txt is absent: no official split."]
    train = set(disk.read_lines(path))
    strange = train - set(table["file"])
    if strange:
        raise DataError(f"it lists '{min(strange)}', which the official table lacks", path=path)
    listed = disk.find_file(folder, "test_list.txt*")
    if listed is not None and set(disk.read_lines(listed)) != set(table["file"]) - train:
        raise DataError(
            "it is not the complement of train_val_list.txt", path=listed, mend="Fetch both lists again."
        )
    part = pl.when(pl.col("file").is_in(list(train))).then(pl.lit("train")).otherwise(pl.lit("test"))
    return table.with_columns(split=part), []


def _boxes(folder: Path, films: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    path = disk.find_file(folder, "BBox_List_2017.csv*")
    if path is None:
        return Manifest(films).boxes, ["BBox_List_2017.csv is absent: no boxes."]
    raw = disk.read_csv(path)
    if raw.width < 6:
        raise DataError("the official boxes have six columns: image, label, x, y, w, h", path=path)
    raw = raw.select(raw.columns[:6])
    raw.columns = ["image_id", "label", "x", "y", "w", "h"]
    every = box_rows.numbers(box_rows.numbered(raw), ("x", "y", "w", "h"), path)
    names = {name: box_rows.known_name(str(name), "nih14") for name in every["label"].unique()}
    for name in (name for name, finding in names.items() if finding is None):
        box_rows.refuse(every, pl.col("label").eq_missing(pl.lit(name)), f"unknown finding '{name}'", path)
    drawn = every.select(
        "row",
        finding=pl.col("label").replace_strict(names, return_dtype=pl.String),
        image_id=pl.col("image_id").str.replace(r"\.[^.]+$", ""),
        x1="x",
        y1="y",
        x2=pl.col("x") + pl.col("w"),
        y2=pl.col("y") + pl.col("h"),
        width=pl.lit(_BOX_SPACE, pl.Int32),
        height=pl.lit(_BOX_SPACE, pl.Int32),
        reader=pl.lit("nih14"),
    )
    placed = films.filter(pl.col("width").is_not_null())
    boxes = box_rows.scaled(box_rows.sound(drawn, path), placed)
    return boxes, [f"{boxes.height} of {every.height} official boxes fall on films that are here."]


def _teacher(path: Path) -> pl.DataFrame:
    raw = disk.read_csv(Path(path))
    columns = {
        c: TEACHER + canonical(c.removeprefix("prob_"), "nih14") for c in raw.columns if c.startswith("prob_")
    }
    disk.need_columns(raw, ("Image Index",), path)
    if not columns:
        raise DataError("no column begins with 'prob_'", path=path)
    return raw.select(
        image_id=pl.col("Image Index").str.replace(r"\.[^.]+$", ""),
        **{name: pl.col(c).cast(pl.Float32) for c, name in columns.items()},
    )
