"""Rows of a table of boxes: from text to boxes in exact types, and what is wrong with the others. See `box_tables`."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hilum.datasets.box_rows import CORNERS, known_name
from hilum.errors import BoxError
from hilum.findings import VINBIG14

NO_FINDING = "No Finding"
COMPETITION_CLASSES = (*VINBIG14, NO_FINDING)
"""Class 0 to 14 of a submission. "No finding" has the box 0 0 1 1."""
_SIX = ("class", "score", *CORNERS)
_TEXTS = {c: pl.String for c in ("image_id", *_SIX, "patient")}


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row: `box` is its place in the row of a submission, from 1, where it is one box alone.

    `stays`: what is sound of it counts all the same, such as a film that another table lacks; else it is kept out.
    """

    path: Path
    line: int
    image_id: str
    what: str
    mend: str
    box: int | None = None
    stays: bool = False

    def __str__(self) -> str:
        box = f", box {self.box}" if self.box is not None else ""
        return f"{self.path}: line {self.line} (film '{self.image_id}'){box}: {self.what}. {self.mend}"


def text_lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig", "replace")
    except (OSError, EOFError, zlib.error) as fault:
        raise BoxError(f"cannot be read: {fault}", path=path) from fault
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BoxError("is empty", path=path)
    return [line.removesuffix("\r") for line in lines]


def submission(path: Path, lines: list[str]) -> tuple[pl.DataFrame, pl.DataFrame, list[Fault]]:
    """Films, boxes as text, and the rows that are torn or stand twice. A torn row is kept out whole, with its film."""
    parts = [line.partition(",") for line in lines[1:]]
    table = pl.DataFrame(
        {
            "line": range(2, len(lines) + 1),
            "image_id": [name.strip().strip('"') for name, _, _ in parts],
            "comma": [comma == "," for _, comma, _ in parts],
            "words": [said.strip().strip('"').split() for _, _, said in parts],
        },
        schema={
            "line": pl.Int64,
            "image_id": pl.String,
            "comma": pl.Boolean,
            "words": pl.List(pl.String),
        },
    )
    count = table["words"].list.len()
    table = table.with_columns(count=count)
    torn = "The row is torn, or words are missing: every box has six."
    faults: list[Fault] = []
    for bad, what, mend in (
        (pl.col("image_id") == "", "no film is named", "Give the row its image_id."),
        (~pl.col("comma"), "the row ends before its boxes", torn),
        (pl.col("count") % 6 != 0, "{count} words are no whole number of boxes", torn),
        (
            ~pl.col("image_id").is_first_distinct(),
            "the film stands in an earlier row",
            "Keep one row a film.",
        ),
    ):
        for row in table.filter(bad).iter_rows(named=True):
            said = what.format(count=row["count"])
            faults.append(Fault(path, row["line"], row["image_id"], said, mend))
        table = table.filter(~bad)
    words = table["words"].explode().drop_nulls().to_list()
    each = table.select(pl.col("line", "image_id").repeat_by(pl.col("count") // 6)).explode(
        "line", "image_id"
    )
    each = each.drop_nulls().with_columns(
        box=pl.int_range(1, pl.len() + 1).over("line"),
        **{name: pl.Series(words[i::6], dtype=pl.String) for i, name in enumerate(_SIX)},
    )
    films = table.select("image_id", "line", patient=pl.lit(None, pl.String))
    return films, each.select("line", "box", "image_id", *_SIX), faults


def long(path: Path, lines: list[str], names: list[str]) -> tuple[pl.DataFrame, pl.DataFrame, list[Fault]]:
    faults, kept = [], []
    for line, text in enumerate(lines[1:], 2):
        if not text.strip():
            continue
        # Each line alone: a quote that is not closed must not swallow the rows after it.
        try:
            cells = next(csv.reader([text], strict=True))
        except csv.Error as fault:
            faults.append(Fault(path, line, text[:40], f"no row of a CSV file: {fault}", "Mend its quotes."))
            continue
        row = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        image_id = row.get("image_id", "")
        if len(cells) != len(names):
            what = f"{len(cells)} cells where the header has {len(names)}"
            faults.append(Fault(path, line, image_id, what, "The row is torn, or a comma too many."))
        elif not image_id:
            faults.append(Fault(path, line, image_id, "no film is named", "Give the row its image_id."))
        else:
            kept.append({"line": line, **{name: row.get(name) or None for name in _TEXTS}})
    table = pl.DataFrame(kept, schema={"line": pl.Int64, **_TEXTS})
    patients = table.drop_nulls("patient").unique(["image_id", "patient"], maintain_order=True)
    twice = patients.filter(~pl.col("image_id").is_first_distinct())
    for line, image_id, patient in twice.select("line", "image_id", "patient").iter_rows():
        what = f"the film is of patient '{patient}' here and of another above"
        faults.append(Fault(path, line, image_id, what, "Give each film one patient."))
    films = table.unique("image_id", keep="first", maintain_order=True).select("image_id", "line")
    first = patients.unique("image_id", keep="first").select("image_id", "patient")
    films = films.join(first, on="image_id", how="left", maintain_order="left")
    full = pl.any_horizontal(pl.col(c).is_not_null() for c in _SIX)
    rows = table.filter(full).with_columns(box=pl.lit(None, pl.Int64))
    return films, rows.select("line", "box", "image_id", *_SIX), faults


def known(rows: pl.DataFrame, classes: Sequence[str] | None) -> dict[str, str]:
    """What each spelling of a class in the table means; spellings that mean nothing are absent."""
    numbered = {str(i): name for i, name in enumerate(classes or COMPETITION_CLASSES)}
    meant = {}
    for said in rows["class"].drop_nulls().unique():
        name = said if said in (classes or ()) else numbered.get(said)
        if name is None and classes is None:
            name = known_name(said, "vinbig")
        if name is not None:
            meant[said] = name
    return meant


def sound(
    path: Path, rows: pl.DataFrame, scored: bool, known: dict[str, str], sizes: pl.DataFrame | None
) -> tuple[pl.DataFrame, list[Fault]]:
    """Boxes whose every word makes sense, in exact types, and the others as faults: of each the first that is wrong."""
    size = {"image_id": pl.String, "width": pl.Float64, "height": pl.Float64}
    known_sizes = pl.DataFrame(schema=size) if sizes is None else sizes.select(*size).cast(size)  # type: ignore[arg-type]
    read = rows.with_columns(
        finding=pl.col("class").replace_strict(known, default=None, return_dtype=pl.String),
        **{f"{c}_said": pl.col(c) for c in _SIX},
        **{c: pl.col(c).cast(pl.Float64, strict=False) for c in ("score", *CORNERS)},
    ).join(known_sizes, on="image_id", how="left", maintain_order="left")
    faults: list[Fault] = []
    outside = (
        (pl.col("x1") < -1)
        | (pl.col("y1") < -1)
        | (pl.col("x2") > pl.col("width") + 1)
        | (pl.col("y2") > pl.col("height") + 1)
        | (pl.col("x1") >= pl.col("width"))
        | (pl.col("y1") >= pl.col("height"))
    )
    number = pl.col("score").is_between(0, 1) & pl.col("score").is_finite()
    checks = [
        (pl.col("finding").is_null(), "class", "the class '{}' is unknown", "Name the classes: --classes."),
        *([(~number | pl.col("score").is_null(), "score", "the score is '{}'", "Give 0 to 1.")] if scored else []),
        *((pl.col(c).is_null() | ~pl.col(c).is_finite(), c, c + " is '{}'", "Give a number.") for c in CORNERS),
        (pl.col("x2") < pl.col("x1"), "x2", "the box is reversed: x2 is '{}', below x1", "Give x1 first."),
        (pl.col("y2") < pl.col("y1"), "y2", "the box is reversed: y2 is '{}', below y1", "Give y1 first."),
        (pl.col("x2") == pl.col("x1"), "x2", "the box is empty: x1 and x2 are '{}'", "Drop it."),
        (pl.col("y2") == pl.col("y1"), "y2", "the box is empty: y1 and y2 are '{}'", "Drop it."),
        (outside | (pl.col("x2") <= 0) | (pl.col("y2") <= 0), None, "the box lies outside its film", "Cut it at the edges."),
    ]  # fmt: skip
    for bad, column, what, mend in checks:
        wrong = read.filter(bad.fill_null(False))
        for row in wrong.iter_rows(named=True):
            said = what.format(row[f"{column}_said"] or "") if column else what
            faults.append(Fault(path, row["line"], row["image_id"], said, mend, row["box"]))
        if wrong.height:
            read = read.filter(~bad.fill_null(False))
    again = ~pl.struct("image_id", "finding", "score", *CORNERS).is_first_distinct()
    for row in read.filter(again).iter_rows(named=True):
        said = "the same box of the same class and score stands above"
        faults.append(Fault(path, row["line"], row["image_id"], said, "Keep one of them.", row["box"]))
    boxes = read.filter(~again).select(
        "image_id",
        "finding",
        "score",
        x1=pl.col("x1").clip(lower_bound=0),
        y1=pl.col("y1").clip(lower_bound=0),
        x2=pl.min_horizontal("x2", "width"),
        y2=pl.min_horizontal("y2", "height"),
        line="line",
    )
    return boxes, faults
