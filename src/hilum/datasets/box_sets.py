"""Several tables of boxes together: models fused to one, and predictions beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hilum.boxes import fuse, group_numbers
from hilum.datasets.box_rows import CORNERS
from hilum.datasets.box_tables import COMPETITION_CLASSES, BoxTable, Fault, refuse
from hilum.datasets.manifest import Manifest
from hilum.errors import BoxError
from hilum.evaluation.detection import Detections


def fuse_tables(tables: Sequence[BoxTable], *, skip_bad: bool = False, **options: Any) -> BoxTable:
    """The boxes of several models as one table, in the first one's order of films; `options` as in `boxes.fuse`.

    Every film must stand in every table: BoxError names the first that does not. With `skip_bad` it is fused of the tables
    that have it, to which the others count as models that saw nothing, and stands among `faults`.
    """
    if not tables:
        raise BoxError("no tables to fuse")
    if len(options.get("weights") or tables) != len(tables):
        raise BoxError(
            f"{len(options['weights'])} weights for {len(tables)} tables", mend="Give one a table."
        )
    films = pl.concat([t.films for t in tables]).unique("image_id", keep="first", maintain_order=True)
    faults = [
        fault
        for table in tables
        for other in tables
        if other is not table
        for fault in absent(other, table, "Fuse models that were run on the same films.", stays=True)
    ]
    faults = list({(f.image_id, f.what): f for f in faults}.values())
    if faults and not skip_bad:
        refuse(faults)
    if options.get("weights") is None and options.get("method", "wbf") in ("wbf", "nmw"):
        options["weights"] = [1.0] * len(tables)  # a table without any box is a model too
    boxes = pl.concat([t.boxes.with_columns(model=pl.lit(i)) for i, t in enumerate(tables)])
    fused = fuse(
        boxes.select(CORNERS).to_numpy(),
        boxes["score"].to_numpy(),
        boxes["model"].to_numpy(),
        group_numbers(
            *(boxes[c].cast(pl.Categorical).to_physical().to_numpy() for c in ("image_id", "finding"))
        ),
        **options,
    )
    made = boxes[fused.row].with_columns(
        score=pl.Series(fused.scores), **{c: pl.Series(fused.boxes[:, i]) for i, c in enumerate(CORNERS)}
    )
    kept = tuple(fault for table in tables for fault in table.faults)
    return BoxTable(tables[0].path, tables[0].format, films, made.drop("model"), (*kept, *faults))


def absent(other: BoxTable, table: BoxTable, mend: str, *, stays: bool) -> list[Fault]:
    """A fault for each of `table`'s films that `other` lacks, whose row in `table` it names; `stays` as in `Fault`."""
    missing = table.films.join(other.films, on="image_id", how="anti", maintain_order="left")
    what = f"the film is not in {other.path.name}"
    return [
        Fault(table.path, line, image_id, what, mend, stays=stays)
        for line, image_id in missing.select("line", "image_id").iter_rows()
    ]


def of_manifest(manifest: Manifest, path: str | Path) -> BoxTable:
    """A manifest's boxes as truth; the films without any are films without a box."""
    films = manifest.table.select("image_id", "patient").with_row_index("line", offset=1)
    boxes = manifest.boxes.with_columns(score=pl.lit(None, pl.Float64), line=pl.lit(0, pl.Int64))
    return BoxTable(
        Path(path),
        "long",
        films.select("image_id", pl.col("line").cast(pl.Int64), "patient"),
        boxes.select("image_id", "finding", "score", *CORNERS, "line"),
    )


@dataclass(frozen=True, eq=False)
class Beside:
    """boxes: predictions and truth of the same films, by number. names: of the classes. image_ids: of the films.
    patients: of the films, None where the truth does not say. faults: what was kept out or, as a `Fault` says, stays.
    """

    boxes: Detections
    names: tuple[str, ...]
    image_ids: tuple[str, ...]
    patients: np.ndarray | None
    faults: tuple[Fault, ...]


def beside(predicted: BoxTable, truth: BoxTable, *, skip_bad: bool = False) -> Beside:
    """Predictions beside the truth, on the truth's films.

    A film that stands in one table alone is an error (BoxError). With `skip_bad` predictions for films without truth are
    kept out, and films without predictions are **scored as films without boxes**: a model gains nothing by leaving out
    what it finds hard. Both stand among `faults`.
    """
    faults = [
        *absent(predicted, truth, "A film without boxes needs a row too.", stays=True),
        *absent(truth, predicted, "Score films that have a truth.", stays=False),
    ]
    if faults and not skip_bad:
        refuse(faults)
    ids = truth.films["image_id"]
    number = {name: i for i, name in enumerate(ids)}
    found = set(truth.boxes["finding"]) | set(predicted.boxes["finding"])
    if not len(ids) or not found:
        what = "no film" if not len(ids) else "no box, nor do the predictions"
        raise BoxError(f"the truth holds {what}", path=truth.path, mend="There is nothing to score.")
    names = [name for name in COMPETITION_CLASSES if name in found] + sorted(found - set(COMPETITION_CLASSES))
    kinds = {name: i for i, name in enumerate(names)}
    mine = predicted.boxes.filter(pl.col("image_id").is_in(ids.implode()))

    def numbered(boxes: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        film = boxes["image_id"].replace_strict(number, return_dtype=pl.Int64).to_numpy()
        kind = boxes["finding"].replace_strict(kinds, return_dtype=pl.Int64).to_numpy()
        return boxes.select(CORNERS).to_numpy(), film, kind

    corners, film, kind = numbered(mine)
    true, true_film, true_kind = numbered(truth.boxes)
    patients = truth.films["patient"]
    known = patients.null_count() < len(patients)
    return Beside(
        Detections(
            corners,
            mine["score"].to_numpy(),
            film,
            kind,
            true,
            true_film,
            true_kind,
            len(ids),
            len(names),
        ),
        tuple(names),
        tuple(ids),
        # A film of unknown patient is a patient of its own.
        patients.fill_null(pl.format("film {}", ids)).to_numpy() if known else None,
        (*predicted.faults, *truth.faults, *faults),
    )
