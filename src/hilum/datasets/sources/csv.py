"""Any set of films that a CSV file lists."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError
from hilum.findings import UnknownFindingError, canonical

_VIEWS = {"PA": "PA", "AP": "AP", "LATERAL": "LATERAL", "L": "LATERAL", "LL": "LATERAL", "OTHER": "OTHER"}
_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}
_PART_NAMES = {"val": "validation", "valid": "validation"}
_LABELS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": None, "-1.0": None}


@source(
    "csv",
    title="A CSV file",
    what="your own films: a table with a path a row, and columns that you name",
    licence="your own",
    homepage="none",
    citation="none",
    layout="""
        films.csv      path,patient,view,sex,age,Atelectasis,Effusion
                       a/1.dcm,p1,PA,F,63,1,0
                       a/2.dcm,p1,PA,F,64,,1        an empty label, and -1, is unknown
    """,
)
def load(
    root: Path,
    *,
    path: str = "path",
    image_id: str | None = None,
    patient: str | None = "patient",
    study: str | None = "study",
    view: str | None = "view",
    sex: str | None = "sex",
    age: str | None = "age",
    split: str | None = "split",
    category: str | None = "class",
    mask: str | None = "mask",
    labels: str | None = None,
) -> Manifest:
    """Films of the table `root` (a CSV file, or a folder with exactly one); paths are relative to the
    table's folder.

    Each option but `labels` names the column that holds it; a column of the default name is used where there
    is one. `category` is the column of mutually exclusive classes. `image_id`: by default the path without
    its suffix. `labels`: columns of 1, 0, or empty or -1 (unknown), separated by commas, each `column` or
    `column:Finding`; by default every column whose name the vocabulary knows. Rows whose file is not on disk
    are `missing`.
    """
    table_path = _table(root)
    raw = disk.read_csv(table_path)
    disk.need_columns(raw, [path], table_path)
    chosen = {
        "patient": patient,
        "study": study,
        "view": view,
        "sex": sex,
        "age": age,
        "split": split,
        "class": category,
        "mask": mask,
    }
    found = {name: column for name, column in chosen.items() if column in raw.columns}
    for name, column in chosen.items():
        if column not in (None, name) and name not in found:
            raise DataError(
                f"no column '{column}'", path=table_path, mend=f"It has: {', '.join(raw.columns)}."
            )
    named = _label_columns(raw.columns, labels, {path, *found.values()}, table_path)
    table = raw.select(
        image_id=pl.col(image_id) if image_id else pl.col(path).str.replace(r"\.[^./]+$", ""),
        path=pl.col(path),
        source=pl.lit(table_path.stem),
        **{name: _read(name, column) for name, column in found.items()},
        **{LABEL + finding: _label(raw, column, table_path) for column, finding in named.items()},
    )
    here = pl.Series(
        [p is not None and (table_path.parent / p).is_file() for p in table["path"]], dtype=pl.Boolean
    )
    missing = table.filter(~here).select("image_id", "path")
    table = table.filter(here)
    if not table.height:
        raise DataError(
            "none of the listed films is on disk", path=table_path, mend="Paths start at its folder."
        )
    root = table_path.parent
    return Manifest(disk.measured(table, root), root=root, missing=missing)


def _table(root: Path) -> Path:
    if root.is_file():
        return root.absolute()
    tables = sorted(p for p in disk.folder(root).iterdir() if p.name.endswith((".csv", ".csv.gz")))
    if len(tables) != 1:
        raise DataError(
            f"{len(tables)} CSV files are here", path=root, mend="Give the path of the one to read."
        )
    return tables[0].absolute()


def _read(name: str, column: str) -> pl.Expr:
    text = pl.col(column).str.strip_chars()
    match name:
        case "view":
            return text.str.to_uppercase().replace_strict(_VIEWS, default=None)
        case "sex":
            return text.str.to_uppercase().replace_strict(_SEXES, default=None)
        case "age":
            return text.cast(pl.Float64, strict=False)
        case "split":
            return text.str.to_lowercase().replace(_PART_NAMES)
    return text


def _label_columns(columns: list[str], labels: str | None, taken: set[str], path: Path) -> dict[str, str]:
    """Column to finding."""
    if labels is None:
        return {c: f for c in columns if c not in taken and (f := _finding(c)) is not None}
    named = {}
    for item in labels.split(","):
        column, _, finding = item.strip().partition(":")
        if column not in columns:
            raise DataError(f"no column '{column}'", path=path, mend=f"It has: {', '.join(columns)}.")
        named[column] = finding or _finding(column) or column
    return named


def _finding(name: str) -> str | None:
    try:
        return canonical(name)
    except UnknownFindingError:
        return None


def _label(raw: pl.DataFrame, column: str, path: Path) -> pl.Series:
    values = raw[column].str.strip_chars()
    values = values.set(values == "", None)
    strange = values.filter(~values.is_in(list(_LABELS))).drop_nulls()
    if len(strange):
        mend = "A label is 1, 0, or empty or -1 (unknown)."
        raise DataError(f"column '{column}' holds '{strange[0]}'", path=path, mend=mend)
    return values.replace_strict(_LABELS, default=None, return_dtype=pl.Float32)
