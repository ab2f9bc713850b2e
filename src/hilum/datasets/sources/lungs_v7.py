"""Lung masks drawn by V7 Labs on films of the Kermany and the Cohen collection."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.datasets.sources import cohen, kermany
from hilum.errors import DataError

_LUNG, _IGNORE = 255, 127


@source(
    "lungs_v7",
    title="V7 lung masks",
    what="1,419 human lung masks on 992 Kermany and 427 Cohen films; lung behind the heart included",
    licence="annotations CC BY 4.0; films as in kermany and cohen",
    homepage="V7 Labs, COVID-19 X-ray dataset",
    citation="V7 Labs, COVID-19 Chest X-ray dataset, 2020",
    layout="""
        pairs.csv        source, image, mask, patient_id, view, ...: paths from the folder above this one
        images/*.jpg     Kermany films
        masks/*.png      0 background, 127 ignore, 255 lung
        ../cohen/images  the Cohen films
    """,
)
def load(root: Path) -> Manifest:
    """Film, mask, patient, view, `collection` (kermany: children of one to five years; cohen: mostly adults) and `licence`
    (null where the publisher gave none) of each pair on disk; sex and age of the Cohen films as that set's table
    gives them.

    Patients bear the same names as in the sources `kermany` and `cohen`, so splits made on those stay
    disjoint here.
    """
    root = disk.folder(root)
    path = disk.need_file(root, "pairs.csv", "lungs_v7/pairs.csv", what="the table of pairs")
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("source", "image", "mask", "patient_id", "view"), path)
    above = path.parent.parent
    known = _cohen_films(above / "cohen" / "metadata.csv")
    rows, missing = [], []
    film: tuple[str | float | None, ...]
    for row in raw.iter_rows(named=True):
        stem = Path(row["image"]).stem
        if not (above / row["image"]).is_file() or not (above / row["mask"]).is_file():
            missing.append((stem, row["image"]))
            continue
        if row["source"] == "kermany":
            film = kermany.patient(stem), kermany.class_of(stem), "CC BY 4.0", None, None
        else:
            film = cohen.patient(row["patient_id"]), None, *known.get(stem, (None, None, None))
        rows.append((stem, row["image"], row["mask"], row["view"], row["source"], *film))
    if not rows:
        raise DataError("none of the pairs is on disk", path=path, mend=f"Their paths start at {above}.")
    columns = ("image_id", "path", "mask", "view", "collection", "patient", "class", "licence", "sex", "age")
    table = disk.texts(rows, *columns)
    table = disk.measured(table, above)
    table = table.with_columns(
        view=pl.col("view").str.extract(r"^(PA|AP)"),
        source=pl.lit("lungs_v7"),
        mask_value=pl.lit(_LUNG),
        mask_ignore=pl.lit(_IGNORE),
    )
    notes = ("The lung includes the area behind the heart, unlike the Shenzhen, Montgomery and JSRT masks.",)
    gone = disk.texts(missing, "image_id", "path")
    return Manifest(table, root=above, missing=gone, notes=notes)


def _cohen_films(path: Path) -> dict[str, tuple[str | None, str | None, float | None]]:
    """Stem to licence, sex and age (years) of the Cohen films, None where blank; empty where their table is not there."""
    if not path.is_file():
        return {}
    table = disk.read_csv(path)
    disk.need_columns(table, ("filename", "license", "sex", "age"), path)
    said = pl.col("license").cast(pl.String).str.strip_chars()
    rows = table.select(
        "filename",
        pl.when(said != "").then(said),
        pl.col("sex").str.to_uppercase(),
        pl.col("age").cast(pl.Float64, strict=False),
    ).rows()
    return {Path(name).stem: film for name, *film in rows}  # type: ignore[misc]
