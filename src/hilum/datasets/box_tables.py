"""Tables of boxes on disk: a row a film (the VinBigData competition's submissions) or a row a box. Every row is checked.

| format | header | a row |
|---|---|---|
| submission | `image_id,PredictionString` | a film and its boxes, six words each: class number, score, x1, y1, x2, y2 |
| long | `image_id,class,score,x1,y1,x2,y2` | a box; a film without boxes is a row with nothing but its name |

Both may be gzipped (`.gz`); the header tells which it is. In a long table `finding` and `class_name` may stand for
`class`, `x_min` and so on for the corners; a truth has no need of `score`; `patient` may stand there too.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from hilum.datasets import box_table_rows as rows_of
from hilum.datasets import disk
from hilum.datasets.box_rows import CORNERS
from hilum.datasets.box_table_rows import COMPETITION_CLASSES, NO_FINDING, Fault
from hilum.errors import BoxError

Format = Literal["submission", "long"]

_SAME = {
    "finding": "class",
    "class_name": "class",
    "x_min": "x1",
    "y_min": "y1",
    "x_max": "x2",
    "y_max": "y2",
}


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Films and their boxes, all of them sound.

    films: `image_id`, `line`, `patient` (null where unknown), a row a film. boxes: `image_id`, `finding`, `score` (null in a
    truth that has none), `x1` to `y2`, `line`, a row a box. faults: what was kept out.
    """

    path: Path
    format: Format
    films: pl.DataFrame
    boxes: pl.DataFrame
    faults: tuple[Fault, ...] = ()


def read(
    path: str | Path,
    *,
    scored: bool = True,
    classes: Sequence[str] | None = None,
    sizes: pl.DataFrame | None = None,
    skip_bad: bool = False,
) -> BoxTable:
    """Read and check a table of boxes.

    Parameters
    ----------
    scored: every box needs a score from 0 to 1. False for a truth.
    classes: the class names there are, in the order of their numbers; by default the competition's, and in a long table any
        finding of the vocabulary.
    sizes: `image_id`, `width`, `height` of the films in the boxes' unit, where known: boxes must lie inside. Without, only
        boxes left of or above the film are known to lie outside. Up to 1 beyond an edge is a rounding, and cut off.
    skip_bad: keep bad rows out, as `faults`, instead of raising.

    Raises BoxError for a file that is no table of boxes; and for the first bad row: torn, without a film or class that is
    known, with a score that is no number from 0 to 1, reversed, empty, outside its film, or standing twice.
    """
    where = Path(path)
    lines = rows_of.text_lines(where)
    header = [name.strip().strip('"') for name in lines[0].lower().split(",")]
    names = [_SAME.get(name, name) for name in header]
    if names[:2] == ["image_id", "predictionstring"]:
        form: Format = "submission"
        films, rows, faults = rows_of.submission(where, lines)
    elif {"image_id", "class", *CORNERS} <= set(names):
        if "rad_id" in names:
            mend = "Prepare a manifest of them: hilum data prepare vinbig FOLDER --out vinbig.parquet"
            raise BoxError(
                "it keeps several readers apart, and is no single set of boxes", path=where, mend=mend
            )
        if scored and "score" not in names:
            raise BoxError("no column 'score'", path=where, mend=f"It has: {', '.join(header)}.")
        form = "long"
        films, rows, faults = rows_of.long(where, lines, names)
    else:
        mend = "Wanted: image_id,PredictionString or image_id,class,score,x1,y1,x2,y2."
        raise BoxError(f"no table of boxes: its header is '{lines[0][:80]}'", path=where, mend=mend)
    boxes, bad = rows_of.sound(where, rows, scored, rows_of.known(rows, classes), sizes)
    found = sorted((*faults, *bad), key=lambda fault: (fault.line, fault.box or 0))
    if found and not skip_bad:
        refuse(found)
    return BoxTable(where, form, films, boxes, tuple(found))


def refuse(faults: Sequence[Fault]) -> None:
    """BoxError for the first fault, with the number of the others."""
    first = faults[0]
    more = f" (and {len(faults) - 1:,} more; --skip-bad keeps them out and lists them)" if faults[1:] else ""
    box = f", box {first.box}" if first.box is not None else ""
    fault = f"line {first.line} (film '{first.image_id}'){box}: {first.what}{more}"
    raise BoxError(fault, path=first.path, mend=first.mend)


def write(table: BoxTable, path: str | Path, form: Format | None = None) -> Path:
    """Write the table in a format (default its own), gzipped where `path` ends in .gz; numbers keep seven digits. The file
    is there whole or not at all.

    In a submission classes are the competition's numbers: BoxError for others.
    """
    target = Path(path)
    content = text(replace(table, path=target), form or table.format)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)
    part.replace(target)
    return target


def text(table: BoxTable, form: Format, *, header: bool = True) -> bytes:
    """What `write` writes of the table, not compressed; without its first line where tables are joined."""
    boxes = table.boxes.with_columns(
        pl.Series(c, [f"{v:.7g}" for v in table.boxes[c]], pl.String) for c in ("score", *CORNERS)
    )
    films = table.films.select("image_id")
    if form == "submission":
        strange = sorted(set(boxes["finding"]) - set(COMPETITION_CLASSES))
        if strange:
            mend = "Write the long format, which has names."
            raise BoxError(f"'{strange[0]}' has no number in a submission", path=table.path, mend=mend)
        number = {name: str(i) for i, name in enumerate(COMPETITION_CLASSES)}
        words = boxes.with_columns(
            words=pl.concat_str(
                pl.col("finding").replace_strict(number, return_dtype=pl.String),
                "score",
                *CORNERS,
                separator=" ",
            )
        )
        joined = words.group_by("image_id", maintain_order=True).agg(
            PredictionString=pl.col("words").str.join(" ")
        )
        rows = films.join(joined, on="image_id", how="left", maintain_order="left")
    else:
        rows = films.join(boxes, on="image_id", how="left", maintain_order="left").select(
            "image_id", pl.col("finding").alias("class"), "score", *CORNERS
        )
    return rows.write_csv(include_header=header).encode()


def with_no_finding(truth: BoxTable) -> BoxTable:
    """The truth with the competition's box 0 0 1 1 of "No Finding" on every film that has no box."""
    empty = truth.films.join(truth.boxes, on="image_id", how="anti").select("image_id", "line")
    units = empty.with_columns(
        finding=pl.lit(NO_FINDING),
        score=pl.lit(1.0),
        **{c: pl.lit(float(c in ("x2", "y2"))) for c in CORNERS},
    )
    return replace(truth, boxes=pl.concat([truth.boxes, units.select(truth.boxes.columns)]))


def read_sizes(path: str | Path) -> pl.DataFrame:
    """`image_id`, `width`, `height` (float64) of films as they were published, a row a film; the table has these columns.

    Raises DataError for a table without them, BoxError for a row without a film or a size, or with another size than above.
    """
    where = Path(path)
    table = disk.read_csv(where)
    disk.need_columns(table, ("image_id", "width", "height"), where)
    read = table.select("image_id", pl.col("width", "height").cast(pl.Float64, strict=False))
    good = pl.all_horizontal(pl.col(c).is_finite() & (pl.col(c) > 0) for c in ("width", "height"))
    sizes = read.with_row_index("line", offset=2).unique(
        ["image_id", "width", "height"], keep="first", maintain_order=True
    )
    wrong = sizes.filter(
        ~good.fill_null(False) | pl.col("image_id").is_null() | ~pl.col("image_id").is_first_distinct()
    )
    if wrong.height:
        line, name = wrong.select("line", "image_id").row(0)
        raise BoxError(f"line {line} (film '{name or ''}') has no size, or another above", path=where)
    return sizes.drop("line")
