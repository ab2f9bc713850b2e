"""Several readers of one film, kept apart; and one truth made of them, by a rule that is said."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.boxes import fuse, group_numbers, nms
from hilum.datasets.manifest import LABEL, Manifest
from hilum.errors import ManifestError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RULES = ("all", "nms", "wbf", "majority")
"""How boxes of several readers become one truth; a reader's name is a rule too."""

IOU_THRESHOLD = 0.4
"""Above which boxes of two readers are of one thing: the competition's."""


@dataclass(frozen=True, eq=False)
class Readings:
    """Who read which film, and what each drew.

    Attributes
    ----------
    image_ids: the films. names: the readers, by number. findings: the classes.
    read: (films, readers), who read which.
    film, reader, finding: (boxes,) numbers into these; boxes: (boxes, 4) in pixels of the film.
    sizes: (films, 2) width and height in pixels, NaN where unknown.
    """

    image_ids: tuple[str, ...]
    names: tuple[str, ...]
    findings: tuple[str, ...]
    read: Bools
    film: Ints
    reader: Ints
    finding: Ints
    boxes: Floats
    sizes: Floats

    @classmethod
    def of(cls, manifest: Manifest) -> Readings:
        """The readings of a manifest with a column `readers` (names with blanks between) and boxes that say whose they are.

        Who is there without a box of a finding saw none. ManifestError where the column is absent, or a box is of nobody,
        of no reader of its film, or of a finding that has no label column.
        """
        table, boxes = manifest.table, manifest.boxes
        if "readers" not in table.columns:
            mend = "Prepare it with source 'vinbig', or add who read each film, with blanks between."
            raise ManifestError("the manifest has no column 'readers'", mend=mend)
        read = table.select("image_id", reader=pl.col("readers").str.split(" ")).explode("reader")
        read = read.filter(pl.col("reader") != "")
        names = tuple(sorted(read["reader"].unique(), key=_natural))
        missing = boxes.with_row_index("row").join(read, on=["image_id", "reader"], how="anti").sort("row")
        if missing.height:
            row, film, who = missing.select("row", "image_id", "reader").row(0)
            raise ManifestError(f"box {row} (film '{film}') is of '{who}', who is no reader of it")
        strange = boxes.filter(~pl.col("finding").is_in(manifest.findings))
        if strange.height:
            raise ManifestError(f"boxes of '{strange['finding'][0]}', which is no label of the manifest")
        films = {image_id: i for i, image_id in enumerate(manifest.image_ids)}
        who = {name: i for i, name in enumerate(names)}
        which = {name: i for i, name in enumerate(manifest.findings)}
        there = np.zeros((len(films), len(names)), np.bool_)
        there[_numbers(read["image_id"], films), _numbers(read["reader"], who)] = True
        return cls(
            tuple(manifest.image_ids),
            names,
            manifest.findings,
            there,
            _numbers(boxes["image_id"], films),
            _numbers(boxes["reader"], who),
            _numbers(boxes["finding"], which),
            boxes.select("x1", "y1", "x2", "y2").to_numpy().reshape(-1, 4),
            table.select(pl.col("width", "height").cast(pl.Float64)).fill_null(float("nan")).to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def only(self, readers: Bools) -> Readings:
        """As if nobody else had read: `readers` (films, readers), or (readers,) for every film."""
        read = self.read & readers
        return self._taken(read[self.film, self.reader], read)

    def of_films(self, films: Bools) -> Readings:
        """These films alone, (films,)."""
        number = np.cumsum(films) - 1
        part = self._taken(films[self.film], self.read)
        chosen = np.flatnonzero(films)
        return replace(
            part,
            image_ids=tuple(self.image_ids[i] for i in chosen),
            read=part.read[chosen],
            film=number[part.film],
            sizes=part.sizes[chosen],
        )

    def marks(self) -> Floats:
        """(films, readers, findings): 1 where the reader boxed the finding, 0 where not, NaN who did not read the film."""
        marked = np.where(self.read[:, :, None], 0.0, np.nan) * np.ones(len(self.findings))
        marked[self.film, self.reader, self.finding] = 1.0
        return marked

    def slots(self) -> list[Bools]:
        """The readers of each film one by one: mask k (films, readers) holds each film's k-th reader, in order of names."""
        place = np.cumsum(self.read, 1)
        return [self.read & (place == k + 1) for k in range(int(place.max(initial=0)))]

    def area_shares(self) -> Floats:
        """(boxes,) of the film's area, NaN where its size is unknown."""
        width, height = self.boxes[:, 2] - self.boxes[:, 0], self.boxes[:, 3] - self.boxes[:, 1]
        shares: Floats = width * height / self.sizes[self.film].prod(1)
        return shares

    def _taken(self, rows: Bools, read: Bools) -> Readings:
        return replace(
            self,
            read=read,
            film=self.film[rows],
            reader=self.reader[rows],
            finding=self.finding[rows],
            boxes=self.boxes[rows],
        )


@dataclass(frozen=True, eq=False)
class Truth:
    """One set of boxes: film and finding (boxes,) by number, boxes (boxes, 4), and of how many readers each is."""

    film: Ints
    finding: Ints
    boxes: Floats
    readers: Ints


def truth(readings: Readings, rule: str, iou_threshold: float = IOU_THRESHOLD) -> Truth:
    """The boxes of a film's readers as one set, by one of `RULES` or by a reader's name.

    "all": every box of every reader. "nms": of boxes of one finding that overlap by more than the threshold the
    first stays, in order of readers. "wbf": such boxes become their mean (weighted boxes fusion, every reader alike).
    "majority": those of these means that more than half of the film's readers have a box in. A name: that reader's boxes;
    films that the reader did not read have none, which `with_truth` leaves out.
    """
    if rule not in RULES:
        one = readings.only(np.array([name == rule for name in readings.names]))
        if rule not in readings.names:
            known = ", ".join((*RULES, *readings.names))
            raise ManifestError(f"'{rule}' is neither a rule nor a reader", mend=f"There are: {known}.")
        return Truth(one.film, one.finding, one.boxes, np.ones(len(one.film), np.int64))
    ordered = np.lexsort((readings.reader, readings.finding, readings.film))
    film, finding, boxes = readings.film[ordered], readings.finding[ordered], readings.boxes[ordered]
    alone = np.ones(len(film), np.int64)
    if rule == "all" or not len(film):
        return Truth(film, finding, boxes, alone)
    groups = group_numbers(film, finding)
    if rule == "nms":
        kept = np.sort(nms(boxes, np.ones(len(boxes)), iou_threshold, groups))
        return Truth(film[kept], finding[kept], boxes[kept], alone[kept])
    fused = fuse(
        boxes,
        np.ones(len(boxes)),
        readings.reader[ordered],
        groups,
        method="wbf",
        iou_threshold=iou_threshold,
    )
    by_row = np.argsort(fused.row, kind="stable")
    row, readers = fused.row[by_row], fused.models_in[by_row]
    stays = np.ones(len(row), np.bool_)
    if rule == "majority":
        stays = 2 * readers > readings.read.sum(1)[film[row]]
    row, mean = row[stays], fused.boxes[by_row][stays]
    return Truth(film[row], finding[row], mean, readers[stays])


def with_truth(manifest: Manifest, rule: str, iou_threshold: float = IOU_THRESHOLD) -> Manifest:
    """The manifest with one set of boxes by `truth`, whose `reader` is the rule, and labels of 1 where they have a box.

    Films that nobody read, or by a reader's name films that this one did not read, are left out.
    """
    readings = Readings.of(manifest)
    found = truth(readings, rule, iou_threshold)
    by = np.array([rule in RULES or name == rule for name in readings.names], np.bool_)
    read = (readings.read & by).any(1)
    ids, names = np.array(readings.image_ids), np.array(readings.findings)
    boxes = pl.DataFrame(
        {
            "image_id": ids[found.film],
            "finding": names[found.finding],
            **{c: found.boxes[:, i] for i, c in enumerate(("x1", "y1", "x2", "y2"))},
            "reader": [rule] * len(found.film),
        },
        schema=manifest.boxes.schema,
    )
    seen = np.zeros((len(readings), len(readings.findings)), np.float32)
    seen[found.film, found.finding] = 1
    labels = [pl.Series(LABEL + name, seen[:, i]) for i, name in enumerate(readings.findings)]
    kept = manifest.table.with_columns(labels).filter(pl.Series(read))
    note = f"Boxes and labels are of the readers by the rule '{rule}' at IoU {iou_threshold:g}."
    return replace(manifest, table=kept, boxes=boxes, notes=(*manifest.notes, note))


def _numbers(values: pl.Series, number: dict[str, int]) -> Ints:
    return np.array([number[v] for v in values], np.int64)


def _natural(name: str) -> list[Any]:
    """R2 before R10: text and numbers by turns."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
