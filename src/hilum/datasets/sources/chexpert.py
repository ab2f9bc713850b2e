"""CheXpert (Stanford): the published tables, uncertain labels as one asks, the published parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import polars as pl

from hilum.datasets import disk
from hilum.datasets.chexpert_labels import Blank, Uncertain, read_labels
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_TABLES = {
    "train": ("train.csv*", "*/train.csv*", "chexpert_train.csv*"),
    "valid": ("valid.csv*", "*/valid.csv*"),
    "test": ("test_labels.csv*", "*/test_labels.csv*", "test.csv*", "*/test.csv*"),
}
_PLACE = re.compile(r"(?:^|/)((?:train|valid|test)/(patient\d+)/(study\d+)/([^/]+))\.\w+$")


@source(
    "chexpert",
    title="CheXpert",
    what="224,316 films of 65,240 patients, 14 observations labelled from reports with uncertainty; 234 and 668 by eye",
    licence="Stanford University Dataset Research Use Agreement (no redistribution, no commercial use)",
    homepage="Stanford AIMI, CheXpert",
    citation="Irvin et al., CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and Expert"
    " Comparison, AAAI 2019",
    layout="""
        train.csv[.gz], valid.csv[.gz], test_labels.csv[.gz]    one or more, here or one folder below
        train/patient00001/study1/view1_frontal.jpg             and so on, at any depth, whole or in part
    """,
)
def load(
    root: Path,
    *,
    uncertain: Uncertain = "unknown",
    blank: Blank = "unknown",
    seed: int = 0,
    valid: Literal["validation", "test"] = "validation",
) -> Manifest:
    """Rows for the films on disk, laterals too; the others of the tables are `missing`.

    Labels: 13 observations and No Finding, as the labeler read the reports. `uncertain`: what -1 becomes: `unknown`,
    `positive`, `negative`, or `smoothed` (unknown, with a soft target in `soft:` columns for training, drawn by `seed`).
    `blank`: what an observation that the report does not mention becomes: `unknown` or `negative`; where the labeler says
    No Finding it is 0. See `hilum.datasets.chexpert_labels`.

    `valid`: the part that the 234 films of valid.csv, labelled by radiologists, belong to. Patients, studies and views
    come from the paths: patient `chexpert:patient00001`. An age of 0 is unknown there.
    """
    root = disk.folder(root)
    tables = {part: disk.find_file(root, *patterns) for part, patterns in _TABLES.items()}
    if not any(tables.values()):
        raise DataError(
            "no CheXpert table found", path=root, mend="Looked for: train.csv, valid.csv, test_labels.csv."
        )
    on_disk = _on_disk(root)
    parts = {"train": "train", "valid": valid, "test": "test"}
    found = [_films(path, parts[name], uncertain, blank, seed) for name, path in tables.items() if path]
    table = pl.concat(found, how="diagonal_relaxed").with_columns(
        path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
    )
    missing = table.filter(pl.col("path").is_null()).select("image_id", path="file")
    here = table.filter(pl.col("path").is_not_null()).drop("file")
    if not here.height:
        raise DataError("none of the films of the tables is here", path=root, mend="Add the images.")
    notes = (
        "Labels of the training films were read from reports by a program: noisy.",
        f"Uncertain labels became {uncertain}, unmentioned ones {blank}.",
        f"{here.height:,} of the {table.height:,} films of the tables are on disk.",
    )
    return Manifest(disk.measured(here, root), root=root, missing=missing, notes=notes)


def _films(path: Path, part: str, uncertain: Uncertain, blank: Blank, seed: int) -> pl.DataFrame:
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("Path",), path)
    places = [_PLACE.search(p or "") for p in raw["Path"]]
    if None in places:
        fault = f"'{raw['Path'][places.index(None)]}' is no path of CheXpert"
        raise DataError(fault, path=path, mend="They look like train/patient00001/study1/view1_frontal.jpg.")
    people = [(f"{p[2]}/{p[3]}/{p[4]}", f"chexpert:{p[2]}", f"chexpert:{p[2]}/{p[3]}") for p in places if p]
    named = disk.texts(people, "image_id", "patient", "study")
    facts = raw.select(
        file="Path",
        source=pl.lit("chexpert"),
        split=pl.lit(part),
        view=_view(raw.columns),
        sex=_one_of(raw, "Sex", {"Female": "F", "Male": "M"}),
        age=pl.when(pl.col("Age").cast(pl.Float64, strict=False) > 0).then(
            pl.col("Age").cast(pl.Float64, strict=False)
        )
        if "Age" in raw.columns
        else pl.lit(None, dtype=pl.Float64),
    )
    return named.hstack(facts).hstack(read_labels(raw, path, uncertain, blank, seed))


def _view(columns: list[str]) -> pl.Expr:
    """Of the radiologists' test labels, which name no view, from the file's name: it tells laterals alone."""
    if "Frontal/Lateral" not in columns:
        lateral = pl.col("Path").str.contains("_lateral")
        return pl.when(lateral).then(pl.lit("LATERAL")).otherwise(pl.lit(None, dtype=pl.String))
    side = pl.col("AP/PA").replace_strict({"AP": "AP", "PA": "PA"}, default="OTHER")
    frontal = pl.when(pl.col("AP/PA").is_null()).then(None).otherwise(side)
    return pl.when(pl.col("Frontal/Lateral") == "Lateral").then(pl.lit("LATERAL")).otherwise(frontal)


def _one_of(raw: pl.DataFrame, column: str, names: dict[str, str]) -> pl.Expr:
    if column not in raw.columns:
        return pl.lit(None, dtype=pl.String)
    return pl.col(column).replace_strict(names, default=None, return_dtype=pl.String)


def _on_disk(root: Path) -> dict[str, str]:
    """`patient/study/view` to the path below `root`."""
    found = {}
    for film in disk.images(root):
        relative = film.relative_to(root).as_posix()
        place = _PLACE.search(relative)
        if place:
            found[f"{place[2]}/{place[3]}/{place[4]}"] = relative
    return found
