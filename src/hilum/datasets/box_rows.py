"""What every source of boxes asks of its rows before they become a manifest's boxes: each fault is named with its row."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hilum.datasets import checks, disk
from hilum.datasets.manifest import LABEL
from hilum.errors import DataError
from hilum.findings import UnknownFindingError, canonical

CORNERS = ("x1", "y1", "x2", "y2")
SCHEMA = checks.BOX_SCHEMA
_TOLERANCE = 1.0  # pixels: published corners are rounded, and some count the last pixel and some its end

_ROW = "Mend that row, or take it out of the table."
_OUTSIDE = "Cut it at the film's edges, or mend the film's size that the table tells."


def refuse(
    rows: pl.DataFrame, bad: pl.Expr, fault: str, path: Path, *, row: str = "row", mend: str = _ROW
) -> None:
    """DataError for the first of `rows` where `bad` is true, by its value in the column `row`, and how many more."""
    found = rows.filter(bad.fill_null(False))
    if found.height:
        first = found.row(0, named=True)
        film = f" (film '{first['image_id']}')" if first.get("image_id") is not None else ""
        more = f" (and {found.height - 1:,} more)" if found.height > 1 else ""
        raise DataError(f"row {first[row]}{film}: {fault}{more}", path=path, mend=mend)


def numbered(table: pl.DataFrame) -> pl.DataFrame:
    """With `row`: the line of each row in its CSV file, whose header is line 1."""
    return table.with_row_index("row", offset=2)


def numbers(rows: pl.DataFrame, columns: tuple[str, ...], path: Path) -> pl.DataFrame:
    """The text columns as float64; DataError for the first value that is no finite number."""
    read = rows.with_columns(pl.col(c).cast(pl.Float64, strict=False) for c in columns)
    for column in columns:
        bad = ~pl.col(column).is_finite()
        refuse(read, pl.col(column).is_null() | bad, f"column '{column}' holds no number", path)
    return read


def sound(boxes: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The boxes, where each is a box of its film and none stands twice.

    boxes: `row`, `image_id`, `finding`, `reader`, `x1` to `y2` and the `width` and `height` that these are pixels of
    (null where unknown). Beyond the film by at most one pixel is a rounding: it is cut to the film. DataError names the
    first row with a box that is reversed, empty, outside its film, or equal to an earlier one of the same reader.
    """
    for low, high, size in (("x1", "x2", "width"), ("y1", "y2", "height")):
        refuse(
            boxes,
            pl.col(high) < pl.col(low),
            f"the box is reversed: {high} is below {low}",
            path,
            mend=f"Give {low} first.",
        )
        refuse(
            boxes,
            pl.col(high) == pl.col(low),
            f"the box is empty: {high} is {low}",
            path,
            mend="Drop the row.",
        )
        beyond = (pl.col(low) < -_TOLERANCE) | (pl.col(high) > pl.col(size) + _TOLERANCE)
        outside = (pl.col(low) >= pl.col(size)) | (pl.col(high) <= 0)
        refuse(boxes, beyond | outside, f"the box lies outside the film in {low[0]}", path, mend=_OUTSIDE)
    same = ["image_id", "finding", "reader", *CORNERS]
    twice = boxes.with_columns(again__=~pl.struct(same).is_first_distinct())
    refuse(
        twice,
        pl.col("again__"),
        "the same box of the same reader stands in an earlier row",
        path,
        mend="Keep one of them.",
    )
    return boxes.with_columns(
        x1=pl.col("x1").clip(lower_bound=0),
        y1=pl.col("y1").clip(lower_bound=0),
        x2=pl.min_horizontal("x2", "width"),
        y2=pl.min_horizontal("y2", "height"),
    )


def scaled(boxes: pl.DataFrame, films: pl.DataFrame) -> pl.DataFrame:
    """Boxes in the pixels of the file on disk: from `width` and `height` of the boxes to those of `films`, each axis alone.

    Boxes of films that are not in `films` are left out; where a size is unknown the boxes stay as they are.
    """
    here = boxes.join(
        films.select("image_id", across=pl.col("width"), down=pl.col("height")), on="image_id", how="inner"
    )
    x = (pl.col("across") / pl.col("width")).fill_null(1.0)
    y = (pl.col("down") / pl.col("height")).fill_null(1.0)
    return here.select(
        "image_id",
        "finding",
        x1=pl.col("x1") * x,
        y1=pl.col("y1") * y,
        x2=pl.col("x2") * x,
        y2=pl.col("y2") * y,
        reader=pl.col("reader").cast(pl.String),
    )


def measured(table: pl.DataFrame, root: Path) -> pl.DataFrame:
    """`disk.measured`, with the sizes of DICOM files from their headers: boxes cannot be placed without."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    table = disk.measured(table, root)
    sizes = []
    for path, width, height in table.select("path", "width", "height").iter_rows():
        if width is None:
            try:
                header = dcmread(root / path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
                width, height = header.get("Columns"), header.get("Rows")
            except (InvalidDicomError, OSError, ValueError):
                pass  # stays unknown; whoever reads the pixels names the file
        sizes.append((width, height))
    found = pl.DataFrame(sizes, schema={"width": pl.Int32, "height": pl.Int32}, orient="row")
    return table.with_columns(found)


def known_name(name: str, source: str) -> str | None:
    """The canonical name of a class, or None where the vocabulary has none."""
    try:
        return canonical(name, source)
    except UnknownFindingError:
        return None


def strays(found: set[str], named: set[str], what: str) -> list[str]:
    """A note on films that are on disk but not in the tables; empty where there are none."""
    stray = sorted(found - named)
    if not stray:
        return []
    shown = ", ".join(stray[:5]) + (", ..." if len(stray) > 5 else "")
    return [f"{len(stray):,} films on disk are not in {what} and are left out: {shown}."]


def labels(image_ids: pl.Series, boxes: pl.DataFrame, findings: list[str]) -> pl.DataFrame:
    """`image_id` and `label:<Finding>` of each film: 1 where a box of the finding stands on it, else 0."""
    seen = boxes.select("image_id", "finding").unique()
    with_box = {f: seen.filter(finding=f)["image_id"].to_list() for f in findings}
    return pl.DataFrame({"image_id": image_ids}).with_columns(
        pl.col("image_id").is_in(with_box[f]).cast(pl.Float32).alias(LABEL + f) for f in findings
    )
