"""MIMIC-CXR-JPG: its tables of labels, metadata and the official split."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from hilum.datasets import disk
from hilum.datasets.chexpert_labels import NO_FINDING, Blank, Uncertain, read_labels
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_VIEWS = {"PA": "PA", "AP": "AP", "LATERAL": "LATERAL", "LL": "LATERAL", "XTABLE LATERAL": "LATERAL"}
_PARTS = {"train": "train", "validate": "validation", "test": "test"}
_KEYS = ["subject_id", "study_id"]


@source(
    "mimic_cxr",
    title="MIMIC-CXR-JPG",
    what="377,110 films of 65,379 patients of one hospital, 14 observations labelled from reports by two programs",
    licence="PhysioNet Credentialed Health Data License 1.5.0 (training and a signed agreement needed)",
    homepage="PhysioNet, MIMIC-CXR-JPG",
    citation="Johnson et al., MIMIC-CXR-JPG, a large publicly available database of labeled chest radiographs, 2019",
    layout="""
        mimic-cxr-2.0.0-metadata.csv[.gz]
        mimic-cxr-2.0.0-chexpert.csv[.gz] or mimic-cxr-2.0.0-negbio.csv[.gz]
        mimic-cxr-2.0.0-split.csv[.gz]      the official split (optional)
        patients.csv[.gz]                   of MIMIC-IV (optional): sex and age
        files/p10/p10000032/s50414267/<dicom_id>.jpg, whole or in part
    """,
)
def load(
    root: Path,
    *,
    labels: Literal["chexpert", "negbio"] = "chexpert",
    uncertain: Uncertain = "unknown",
    blank: Blank = "unknown",
    seed: int = 0,
) -> Manifest:
    """Rows for the films on disk, every view; the others of the metadata are `missing`.

    `labels`: which program's labels. They belong to a study, and each of its films has them; a study that the program
    has no row for is unknown in all. `uncertain`, `blank`, `seed`: as for `chexpert`.

    Views come from `ViewPosition` (LL is a lateral; oblique and lordotic views are OTHER). Patients are
    `mimic_cxr:<subject_id>`. The dataset holds neither sex nor age: both come from MIMIC-IV's `patients.csv` where that
    lies beside, age as `anchor_age` moved by the years between the anchor and the film.
    """
    root = disk.folder(root)
    table = _films(disk.need_file(root, "*-metadata.csv*", "*/*-metadata.csv*", what="the table of films"))
    label_path = disk.need_file(root, f"*-{labels}.csv*", f"*/*-{labels}.csv*", what=f"the {labels} labels")
    table = table.join(_labels(label_path, uncertain, blank, seed), on=_KEYS, how="left")
    notes = [
        f"Labels were read from reports by {labels}: noisy. Uncertain became {uncertain}, unmentioned {blank}."
    ]
    split = disk.find_file(root, "*-split.csv*", "*/*-split.csv*")
    if split is not None:
        table = table.join(_split(split), on="image_id", how="left")
    else:
        notes.append("The table of the official split is absent.")
    people = disk.find_file(root, "patients.csv*", "*/patients.csv*")
    table = _with_people(table, people)
    on_disk = disk.images_by_stem(root, (".jpg", ".jpeg", ".png", ".dcm"))
    table = table.with_columns(
        path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
    )
    missing = table.filter(pl.col("path").is_null()).select("image_id", path="file")
    here = table.filter(pl.col("path").is_not_null()).drop("file", "year", *_KEYS)
    if not here.height:
        raise DataError("none of the films of the metadata is here", path=root, mend="Add the images.")
    notes.append(f"{here.height:,} of the {table.height:,} films of the metadata are on disk.")
    return Manifest(disk.measured(here, root), root=root, missing=missing, notes=tuple(notes))


def _films(path: Path) -> pl.DataFrame:
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("dicom_id", *_KEYS, "ViewPosition", "StudyDate"), path)
    position = pl.col("ViewPosition").str.strip_chars().str.to_uppercase()
    view = position.replace_strict(_VIEWS, default="OTHER")
    return raw.select(
        *_KEYS,
        image_id="dicom_id",
        file=pl.format(
            "files/p{}/p{}/s{}/{}.jpg",
            pl.col("subject_id").str.slice(0, 2),
            "subject_id",
            "study_id",
            "dicom_id",
        ),
        patient=pl.format("mimic_cxr:{}", "subject_id"),
        study=pl.format("mimic_cxr:{}", "study_id"),
        view=pl.when(position.is_null() | (position == "")).then(None).otherwise(view),
        source=pl.lit("mimic_cxr"),
        year=pl.col("StudyDate").str.slice(0, 4).cast(pl.Int32, strict=False),
    )


def _labels(path: Path, uncertain: Uncertain, blank: Blank, seed: int) -> pl.DataFrame:
    raw = disk.read_csv(path)
    disk.need_columns(raw, (*_KEYS, NO_FINDING), path)
    return (
        raw.select(_KEYS).hstack(read_labels(raw, path, uncertain, blank, seed)).unique(_KEYS, keep="first")
    )


def _split(path: Path) -> pl.DataFrame:
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("dicom_id", "split"), path)
    strange = sorted(set(raw["split"].drop_nulls()) - set(_PARTS))
    if strange:
        raise DataError(f"unknown part '{strange[0]}'", path=path, mend=f"Known: {', '.join(_PARTS)}.")
    return raw.select(image_id="dicom_id", split=pl.col("split").replace_strict(_PARTS, default=None))


def _with_people(films: pl.DataFrame, path: Path | None) -> pl.DataFrame:
    if path is None:
        return films
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("subject_id", "gender", "anchor_age", "anchor_year"), path)
    people = raw.select(
        "subject_id",
        sex=pl.col("gender").replace_strict({"F": "F", "M": "M"}, default=None),
        born=pl.col("anchor_year").cast(pl.Int32) - pl.col("anchor_age").cast(pl.Int32),
    )
    age = (pl.col("year") - pl.col("born")).cast(pl.Float64)
    joined = films.join(people, on="subject_id", how="left")
    return joined.with_columns(age=pl.when(age.is_between(0, 120)).then(age)).drop("born")
