"""COVIDx, version 1: the split lists published with COVID-Net, resolved to the films of two other sources."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, Manifest, concat
from hilum.datasets.registry import source
from hilum.datasets.sources import cohen, kermany
from hilum.errors import DataError
from hilum.findings import PNEUMONIA3, canonical

_CLASSES = (*PNEUMONIA3, "COVID-19")


@source(
    "covidx_v1",
    title="COVIDx v1",
    what="5,310 training and 639 test films of kermany and cohen in four classes (COVID-Net)",
    licence="lists: published with COVID-Net; films as in kermany and cohen",
    homepage="GitHub, lindawangg/COVID-Net",
    citation="Wang, Lin and Wong, COVID-Net, Scientific Reports 10, 2020",
    layout="""
        train_split.txt, test_split.txt    patient, file and class a line
        ../kermany, ../cohen               the films, or where the options kermany= and cohen= say
    """,
)
def load(root: Path, *, kermany_root: Path | None = None, cohen_root: Path | None = None) -> Manifest:
    """The listed films by file stem (some releases changed the extension); those not found are `missing`.

    Class and split are the lists'; patient, view, sex, age and licence are those of the two sources. Labels:
    Pneumonia, COVID-19, and Bacterial and Viral Pneumonia (both 0 for COVID-19, which the lists set apart).
    """
    root = disk.folder(root)
    films = concat(
        [
            kermany.load(kermany_root or root.parent / "kermany"),
            cohen.load(cohen_root or root.parent / "cohen"),
        ]
    )
    listed = _lists(root)
    keep = ["image_id", "path", "patient", "study", "view", "sex", "age", "width", "height"]
    more = films.table.select(*keep, "licence", "paediatric", of="source")
    joined = listed.join(more, on="image_id", how="left")
    missing = joined.filter(pl.col("path").is_null()).select("image_id", path="file")
    table = joined.filter(pl.col("path").is_not_null()).drop("file")
    if not table.height:
        raise DataError(
            "none of the listed films was found", path=root, mend="Check ../kermany and ../cohen."
        )
    table = table.with_columns(
        (pl.col("class") != "Normal").cast(pl.Float32).alias(LABEL + "Pneumonia"),
        *((pl.col("class") == n).cast(pl.Float32).alias(LABEL + n) for n in _CLASSES[1:]),
        source=pl.lit("covidx_v1"),
    )
    notes = (
        f"{table.height:,} of {listed.height:,} listed films were found.",
        "COVID-19 films are of adults from many hospitals, nearly all others of children from one:"
        " a model can tell the source instead of the disease.",
        "Kermany's person numbers restart in 'test': names do not prove other patients.",
    )
    return Manifest(table, root=films.root, missing=missing, notes=notes)


def _lists(root: Path) -> pl.DataFrame:
    rows = []
    for part in ("train", "test"):
        path = disk.need_file(root, f"{part}_split*.txt", what=f"the {part} list")
        for number, line in enumerate(disk.read_lines(path), 1):
            # The second word on may hold blanks: the class is the last word, the patient the first.
            words = line.split()
            if len(words) < 3:
                raise DataError(f"line {number} is not 'patient file class'", path=path)
            file = " ".join(words[1:-1])
            rows.append((file.rsplit(".", 1)[0], file, canonical(words[-1], "covidx_v1"), part))
    table = disk.texts(rows, "image_id", "file", "class", "split")
    twice = table.filter(pl.col("image_id").is_duplicated())
    if twice.height:
        raise DataError(f"film '{twice['image_id'][0]}' is listed twice", path=root)
    return table
