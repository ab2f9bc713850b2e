"""What readers marked on films, for pictures of truth and output side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hilum.datasets import box_tables
from hilum.datasets.box_rows import CORNERS
from hilum.datasets.manifest import Manifest
from hilum.images.radiograph import Radiograph

Size = tuple[float, float]


@dataclass(frozen=True)
class TrueBox:
    """A box (x1, y1, x2, y2) with who drew it, where that is known."""

    name: str
    box: tuple[float, float, float, float]
    reader: str | None = None


@dataclass(frozen=True)
class Truth:
    """Boxes by the film's name; a film without boxes has none, a film that is not here has no truth.

    `published`: boxes are in pixels of the published films (`sizes` of whoever asks), not in those of the file.
    """

    films: Mapping[str, tuple[TrueBox, ...]]
    published: bool

    def of(self, name: str, film: Radiograph, size: Size | None) -> tuple[TrueBox, ...] | None:
        """The boxes in the film's own pixels; None where nothing is known of it. `size`: its published width and height."""
        boxes = self.films.get(name)
        if boxes is None or size is None or not self.published:
            return boxes
        return tuple(
            TrueBox(b.name, scaled(b.box, (film.width / size[0], film.height / size[1])), b.reader)
            for b in boxes
        )


def read_truth(path: str | Path) -> Truth:
    """A manifest (.parquet), whose boxes are in pixels of the file, each reader's apart; or a table of boxes as
    `hilum boxes score` takes it, in published pixels. Raises HilumError where it is neither."""
    where = Path(path)
    if where.suffix == ".parquet":
        manifest = Manifest.load(where)
        return Truth(_by_film(manifest.image_ids, manifest.boxes), published=False)
    table = box_tables.read(where, scored=False)
    boxes = table.boxes.filter(pl.col("finding") != box_tables.NO_FINDING)
    return Truth(_by_film(table.films["image_id"].to_list(), boxes), published=True)


def scaled(box: Sequence[float], by: tuple[float, float]) -> tuple[float, float, float, float]:
    """The box with x and y multiplied by `by`."""
    x1, y1, x2, y2 = box
    return x1 * by[0], y1 * by[1], x2 * by[0], y2 * by[1]


def _by_film(names: Sequence[str], boxes: pl.DataFrame) -> dict[str, tuple[TrueBox, ...]]:
    found: dict[str, list[TrueBox]] = {name: [] for name in names}
    if "reader" not in boxes.columns:
        boxes = boxes.with_columns(reader=pl.lit(None, pl.String))
    for image_id, name, reader, *box in boxes.select("image_id", "finding", "reader", *CORNERS).iter_rows():
        found[image_id].append(TrueBox(name, (box[0], box[1], box[2], box[3]), reader))
    return {name: tuple(each) for name, each in found.items()}
