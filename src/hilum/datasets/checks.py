"""What a manifest's tables must hold: a check returns its table in exact types or raises ManifestError."""

from __future__ import annotations

import polars as pl

from hilum.errors import ManifestError

PARTS = ("train", "validation", "test")
SYNTHETIC = "synthetic"
"""The source of films that a generator made."""
VIEWS = ("PA", "AP", "LATERAL", "OTHER")
TABLE_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "path": pl.String(),
    "patient": pl.String(),
    "study": pl.String(),
    "view": pl.String(),
    "sex": pl.String(),
    "age": pl.Float64(),
    "source": pl.String(),
    "split": pl.String(),
    "width": pl.Int32(),
    "height": pl.Int32(),
}
_OPTIONAL: dict[str, pl.DataType] = {
    "class": pl.String(),
    "mask": pl.String(),
    "mask_value": pl.Int32(),
    "mask_ignore": pl.Int32(),
}
BOX_SCHEMA: dict[str, pl.DataType] = {
    "image_id": pl.String(),
    "finding": pl.String(),
    "x1": pl.Float64(),
    "y1": pl.Float64(),
    "x2": pl.Float64(),
    "y2": pl.Float64(),
    "reader": pl.String(),
}
MISSING_SCHEMA: dict[str, pl.DataType] = {"image_id": pl.String(), "path": pl.String()}


def table(frame: pl.DataFrame) -> pl.DataFrame:
    """Films: unique names, known views, sexes and parts, labels 1, 0 or null, probabilities in [0, 1]."""
    for required in ("image_id", "path"):
        if required not in frame.columns:
            raise ManifestError(
                f"the table has no column '{required}'", mend=f"It has: {', '.join(frame.columns)}."
            )
    absent = [pl.lit(None, dtype=t).alias(c) for c, t in TABLE_SCHEMA.items() if c not in frame.columns]
    frame = _cast(frame.with_columns(absent), TABLE_SCHEMA | _OPTIONAL)
    floats = [c for c in frame.columns if c.startswith(("label:", "teacher:", "soft:"))]
    frame = _cast(frame, {c: pl.Float32() for c in floats})
    frame = frame.with_columns(pl.col(*floats, "age").fill_nan(None))
    frame = frame.select(*TABLE_SCHEMA, *(c for c in frame.columns if c not in TABLE_SCHEMA))

    _refuse(frame, "image_id", pl.col("image_id").is_null() | (pl.col("image_id") == ""), "is empty")
    _refuse(frame, "path", pl.col("path").is_null() | (pl.col("path") == ""), "is empty")
    _refuse(frame, "image_id", pl.col("image_id").is_duplicated(), "stands twice")
    _refuse(frame, "view", ~pl.col("view").is_in(VIEWS), f"is none of {', '.join(VIEWS)}")
    _refuse(frame, "sex", ~pl.col("sex").is_in(["F", "M"]), "is neither F nor M")
    _refuse(frame, "split", ~pl.col("split").is_in(PARTS), f"is none of {', '.join(PARTS)}")
    held_out = pl.col("split").is_in(["validation", "test"]) & (pl.col("source") == SYNTHETIC)
    _refuse(
        frame,
        "split",
        held_out,
        "puts a synthetic film where real ones are measured: it is for part train alone",
    )
    _refuse(frame, "age", ~pl.col("age").is_between(0, 120), "is no age in years (0 to 120)")
    for size in ("width", "height"):
        _refuse(frame, size, pl.col(size) < 1, "is no size in pixels")
    for column in floats:
        if column.startswith("label:"):
            _refuse(frame, column, ~pl.col(column).is_in([0.0, 1.0]), "is neither 0, 1 nor null (unknown)")
        else:
            _refuse(frame, column, ~pl.col(column).is_between(0, 1), "is no probability in [0, 1]")
    return frame


def boxes(frame: pl.DataFrame, films: pl.DataFrame) -> pl.DataFrame:
    """Boxes: of films in `films`, of positive size, inside the film where its size is known."""
    absent = [c for c in BOX_SCHEMA if c not in frame.columns and c != "reader"]
    if absent:
        raise ManifestError(
            f"the boxes have no column '{absent[0]}'", mend=f"They need: {', '.join(BOX_SCHEMA)}."
        )
    if "reader" not in frame.columns:
        frame = frame.with_columns(reader=pl.lit(None, dtype=pl.String))
    frame = _cast(frame.select(*BOX_SCHEMA), BOX_SCHEMA)
    known = frame.join(films.select("image_id", "width", "height", known=True), on="image_id", how="left")
    _refuse(known, "image_id", pl.col("known").is_null(), "is no film of the table", what="box")
    _refuse(known, "finding", pl.col("finding").is_null(), "is empty", what="box")
    for low, high, size in (("x1", "x2", "width"), ("y1", "y2", "height")):
        flat = ~(pl.col(high) > pl.col(low)) | pl.col(low).is_null() | pl.col(high).is_null()
        _refuse(known, high, flat, f"is not above {low}", what="box")
        _refuse(known, low, pl.col(low) < -1, "lies outside the film", what="box")
        _refuse(known, high, pl.col(high) > pl.col(size) + 1, "lies outside the film", what="box")
    return frame


def missing(frame: pl.DataFrame, films: pl.DataFrame) -> pl.DataFrame:
    """The missing films' table: none of them is in `films` too."""
    frame = _cast(frame.select(*MISSING_SCHEMA), MISSING_SCHEMA)
    both = frame.join(films.select("image_id"), on="image_id", how="semi")
    if both.height:
        raise ManifestError(f"film '{both['image_id'][0]}' is both in the table and among the missing")
    return frame


def _cast(frame: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    for column, dtype in schema.items():
        if column in frame.columns and frame.schema[column] != dtype:
            try:
                frame = frame.with_columns(pl.col(column).cast(dtype))
            except pl.exceptions.PolarsError as fault:
                raise ManifestError(f"column '{column}' cannot be read as {dtype}: {fault}") from fault
    return frame


def _refuse(frame: pl.DataFrame, column: str, bad: pl.Expr, fault: str, *, what: str = "row") -> None:
    """Raise for the first row where `bad` is true (null passes), naming row, film, column and value."""
    rows = frame.with_row_index("row__").filter(bad.fill_null(False))
    if rows.height:
        row = rows.row(0, named=True)
        others = f" (and {rows.height - 1} more)" if rows.height > 1 else ""
        value = f"'{row[column]}' " if row[column] is not None else ""
        raise ManifestError(
            f"{what} {row['row__']} (film '{row['image_id']}'), column '{column}': {value}{fault}{others}"
        )
