"""Arms that detect: what each found on the films that it held out, all of them fused, and a segmenter's boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.analysis.analyzer import segment_lungs
from hilum.boxes import fuse, group_numbers
from hilum.bundles import Bundle
from hilum.datasets.manifest import Manifest, concat
from hilum.errors import RecipeError
from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_films import film_scores
from hilum.images.read import read
from hilum.learning.detections import true_boxes
from hilum.learning.material import patient_keys
from hilum.progress import tracked
from hilum.studies.jobs import Job, by_arm
from hilum.studies.results import HELD_OUT, Predictions, cuts_of, mark
from hilum.studies.study import Fusion, Variant

CORNERS = ("x1", "y1", "x2", "y2")
BOXES = pl.Schema(
    {"image_id": pl.String, "finding": pl.String, "score": pl.Float64, **dict.fromkeys(CORNERS, pl.Float64)}
)


@dataclass(frozen=True)
class Found:
    """What one system found on films that it had not seen: `boxes` as `hilum evaluate` writes them."""

    title: str
    films: Manifest
    labels: tuple[str, ...]
    boxes: pl.DataFrame

    @property
    def patients(self) -> NDArray[np.str_]:
        return np.array(patient_keys(self.films))

    @property
    def detections(self) -> Detections:
        """Beside the boxes of the films."""
        films = pl.DataFrame({"image_id": self.films.image_ids, "film": np.arange(len(self.films))})
        kinds = pl.DataFrame({"finding": list(self.labels), "kind": np.arange(len(self.labels))})
        mine = self.boxes.join(films, on="image_id", maintain_order="left")
        mine = mine.join(kinds, on="finding", maintain_order="left")
        true = true_boxes(self.films, self.labels)
        return Detections(
            boxes=mine.select(CORNERS).to_numpy(),
            scores=mine["score"].to_numpy(),
            film=mine["film"].to_numpy(),
            kind=mine["kind"].to_numpy(),
            true_boxes=true.select(CORNERS).to_numpy().astype(np.float64),
            true_film=true["film"].to_numpy(),
            true_kind=true["kind"].to_numpy(),
            films=len(self.films),
            classes=len(self.labels),
        )

    def only(self, image_ids: set[str]) -> Found:
        return replace(self, films=self.films.filter(pl.col("image_id").is_in(sorted(image_ids))))


def found_by(variant: Variant, jobs: Sequence[Job]) -> dict[str, Found]:
    """What each arm found, the films of all its folds together; of films held out several times the first find counts."""
    return {arm: _joined(variant.arms[arm].title, own) for arm, own in by_arm(jobs).items()}


def fused(found: Sequence[Found], wish: Fusion) -> Found | None:
    """The boxes of all arms as one, on the films that all held out; None where that is a single arm or no film."""
    shared = set.intersection(*(set(each.films.image_ids) for each in found))
    if len(found) < 2 or not shared:
        return None
    parts = [each.boxes.filter(pl.col("image_id").is_in(sorted(shared))) for each in found]
    whole = pl.concat([part.with_columns(model=pl.lit(i)) for i, part in enumerate(parts)])
    # An arm without any box is one too, whom nobody else would count.
    weights = [1.0] * len(found) if wish.method in ("wbf", "nmw") else None
    made = fuse(
        whole.select(CORNERS).to_numpy(),
        whole["score"].to_numpy(),
        whole["model"].to_numpy(),
        group_numbers(whole["image_id"].to_numpy(), whole["finding"].to_numpy()),
        method=wish.method,
        iou_threshold=wish.iou,
        weights=weights,
    )
    rows = whole[made.row]
    columns = {name: made.boxes[:, i] for i, name in enumerate(CORNERS)}
    boxes = rows.select("image_id", "finding").with_columns(score=made.scores, **columns)
    title = f"all {len(found)} fused ({wish.method}, IoU {wish.iou:g})"
    return replace(found[0].only(shared), title=title, boxes=boxes.select(BOXES.names()))


def outlined(bundle: Bundle, found: Found) -> Found:
    """The smallest boxes around the lungs that a segmenter outlines, with score 1, on those of the films whose patients it
    has neither learnt from nor was chosen on. RecipeError for labels other than a right and a left lung.
    """
    sides = {label: label.split()[0].lower() for label in found.labels}
    if set(sides.values()) != {"right", "left"}:
        raise RecipeError(
            f"a segmenter's boxes are of a right and a left lung, not of {', '.join(found.labels)}"
        )
    keys = patient_keys(found.films)
    known = set(bundle.trained_on(sorted(set(keys))))
    films = found.films.filter(pl.Series([key not in known for key in keys], dtype=pl.Boolean))
    rows: list[tuple[Any, ...]] = []
    for image_id, path in zip(films.image_ids, tracked(films.paths(), "outlining"), strict=True):
        lungs = segment_lungs(bundle, read(path))
        for label, side in sides.items():
            mask = lungs.right if side == "right" else lungs.left
            down, across = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if len(down):
                box = across[0], down[0], across[-1] + 1, down[-1] + 1
                rows.append((image_id, label, 1.0, *map(float, box)))
    boxes = pl.DataFrame(rows, BOXES, orient="row")
    return Found(f"boxes around the lungs of `{bundle.info.name}`", films, found.labels, boxes)


def called(job: Job) -> Predictions:
    """Films called by their best boxes, at the thresholds of the run."""
    found = _of_run("", job)
    truth, scores = film_scores(found.detections)
    cuts = cuts_of(job)
    assert cuts is not None
    ids = np.array(found.films.image_ids)
    return Predictions(found.labels, ids, found.patients, truth, scores, np.tile(cuts, (len(ids), 1)))


def _joined(title: str, jobs: Sequence[Job]) -> Found:
    parts, seen = [], set[str]()
    for job in jobs:
        part = _of_run(title, job)
        new = set(part.films.image_ids) - seen
        seen |= new
        parts.append(replace(part.only(new), boxes=part.boxes.filter(pl.col("image_id").is_in(sorted(new)))))
    return replace(
        parts[0], films=concat([p.films for p in parts]), boxes=pl.concat([p.boxes for p in parts])
    )


def _of_run(title: str, job: Job) -> Found:
    """What a run found on the films that it held out and that could be read."""
    place = job.folder / HELD_OUT
    failed = {str(fault).partition(":")[0] for fault in mark(place).get("unreadable", [])}
    films = Manifest.load(job.folder / "manifest.parquet").filter(split="test")
    films = films.filter(~pl.col("image_id").is_in(sorted(failed)))
    boxes = pl.read_csv(place / "boxes.csv", schema_overrides=BOXES)
    return Found(title, films, job.recipe.data.labels, boxes)
