"""Boxes of many films as tables: `boxes.csv`, which `hilum boxes` reads, and the competition's submission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from hilum.analysis.names import own_name
from hilum.analysis.report import BoxResult, Report
from hilum.analysis.truth import Size, TrueBox, scaled
from hilum.datasets import box_tables
from hilum.datasets.box_rows import CORNERS, known_name
from hilum.datasets.box_tables import NO_FINDING, BoxTable
from hilum.errors import BoxError, HilumError

NOTHING = (0.0, 0.0, 1.0, 1.0)
"""The box of "No finding", in no film's pixels."""


@dataclass(frozen=True)
class FilmBoxes:
    """What detectors make of a film: its name in tables, `size` (width, height) in pixels of the file, every box (not the
    called ones alone), the probability that it is normal where a filter says so, the readers' boxes where known, and the
    film's file."""

    name: str
    size: Size
    boxes: tuple[BoxResult, ...]
    called: tuple[str, ...]
    normal: float | None = None
    truth: tuple[TrueBox, ...] | None = None
    file: Path | None = None

    @property
    def renamed(self) -> bool:
        """Is its name in tables not its file's alone, for another film has that too?"""
        return self.file is not None and self.name != own_name(self.file)

    @classmethod
    def of(cls, name: str, report: Report, truth: tuple[TrueBox, ...] | None, file: Path) -> FilmBoxes:
        """Of a report of an analysable film."""
        normal = report.detection.normal if report.detection is not None else None
        return cls(
            name,
            (float(report.film.width), float(report.film.height)),
            report.all_boxes,
            tuple(sorted({box.name for box in report.boxes})),
            normal.probability if normal is not None else None,
            truth,
            file,
        )


def table_of(films: Sequence[FilmBoxes], path: Path, sizes: Mapping[str, Size] | None = None) -> BoxTable:
    """The boxes as a table for `path`; in pixels of the published films where `sizes` has them, which must be all.

    A film with a filter's probability p of being normal has the row "No Finding" of score p with the box 0 0 1 1. Corners
    are rounded to a hundredth of a pixel; boxes that are nothing then are left out, as no table takes them.
    """
    rows = []
    for film in films:
        by = (1.0, 1.0)
        if sizes is not None:
            if film.name not in sizes:
                raise BoxError(
                    f"film '{film.name}' has no size", path=path, mend="Add it to the table of sizes."
                )
            by = (sizes[film.name][0] / film.size[0], sizes[film.name][1] / film.size[1])
        for box in film.boxes:
            x1, y1, x2, y2 = (round(edge, 2) for edge in scaled(box.box, by))
            if x2 > x1 and y2 > y1:
                score = float(f"{box.score:.7g}")  # as it is written: what then is the same row stands once
                rows.append((film.name, class_name(box.name), score, x1, y1, x2, y2))
        if film.normal is not None:
            rows.append((film.name, NO_FINDING, film.normal, *NOTHING))
    numbers = {"score": pl.Float64, **dict.fromkeys(CORNERS, pl.Float64)}
    schema = {"image_id": pl.String, "finding": pl.String, **numbers}
    boxes = pl.DataFrame(rows, schema=schema, orient="row").unique(maintain_order=True)
    named = pl.DataFrame({"image_id": [film.name for film in films]}, schema={"image_id": pl.String})
    lines = named.with_row_index("line", offset=2).select("image_id", pl.col("line").cast(pl.Int64))
    return BoxTable(
        path,
        "long",
        lines.with_columns(patient=pl.lit(None, pl.String)),
        boxes.with_columns(line=pl.lit(0, pl.Int64)),
    )


def class_name(name: str) -> str:
    """A detector's class as tables and truths have it: the vocabulary's name where that knows it, else its own."""
    return known_name(name, "vinbig") or name


def write_boxes(table: BoxTable, path: Path) -> Path:
    """Every box in the long format of `hilum boxes`; films without boxes are rows too."""
    return box_tables.write(table, path, "long")


@dataclass
class GrowingTable:
    """The table of `write_boxes` while films are still at work: the rows of each stand in it, whole, as soon as it ends.

    Whoever is killed keeps what was done, in the order in which films ended. It begins with the first film, so that a call
    that reads none leaves an earlier table as it was.
    """

    path: Path
    sizes: Mapping[str, Size] | None = None
    begun: bool = False

    def add(self, film: FilmBoxes) -> None:
        """Raises HilumError where the table cannot be written."""
        rows = box_tables.text(table_of([film], self.path, self.sizes), "long", header=not self.begun)
        try:
            with self.path.open("ab" if self.begun else "wb") as file:
                file.write(rows)
        except OSError as error:
            fault = f"the table of boxes cannot be written ({error.strerror or error})"
            raise HilumError(fault, path=self.path, mend="Check space and permissions.") from error
        self.begun = True


def write_submission(table: BoxTable, path: Path) -> Path:
    """The competition's format: class numbers of VinBigData, and `14 1 0 0 1 1` for a film without any box.

    BoxError for a class that the competition does not know.
    """
    return box_tables.write(box_tables.with_no_finding(replace(table, path=path)), path, "submission")
