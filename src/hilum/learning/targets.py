"""What a loss is held to: labels, facts that are learnt beside, soft labels, and a teacher's probabilities among them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.datasets.manifest import SOFT, Manifest
from hilum.errors import RecipeError
from hilum.evaluation.calibration import fit_platt
from hilum.images.crop import Window
from hilum.images.preparation import Preparation
from hilum.learning.recipe_data import Data

logger = logging.getLogger(__name__)

LEAST_INSIDE = 0.1
"""A box of which a smaller share of the area lies in what is prepared is left out, as augmentation does (`Change.boxes`)."""

Targets = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.uint8]


def truth_of(manifest: Manifest, task: str, labels: tuple[str, ...]) -> Targets:
    """Labels (n, labels) float with NaN for unknown, or classes (n,) with -1 for unknown."""
    if not labels:
        return np.zeros((len(manifest), 0), np.float32)
    if task == "multiclass":
        return manifest.classes(labels)
    names, values = manifest.labels()
    lacking = [name for name in labels if name not in names]
    if lacking:
        raise RecipeError(
            f"the films have no label {', '.join(lacking)}", mend=f"They have: {', '.join(names)}"
        )
    return values[:, [names.index(name) for name in labels]]


def boxes_of(
    manifest: Manifest,
    labels: tuple[str, ...],
    preparation: Preparation,
    windows: Mapping[str, Window] | None = None,
) -> NDArray[np.float32]:
    """The boxes that a film's detector is held to, (n, k, 5): class, then x1, y1, x2, y2 in prepared pixels; NaN where none.

    k is the greatest number of boxes on a film, at least 1. Boxes are cut off at the edge of what is prepared, and those of
    which less than `LEAST_INSIDE` of the area lies there are left out; the log says how many. `windows`: the part of each
    film that the model sees, by `image_id`, where the preparation has a focus. RecipeError where a film with boxes does not
    say its size.
    """
    cut_off = left_out = 0
    wanted = manifest.boxes.filter(pl.col("finding").is_in(labels))
    sizes = dict(zip(manifest.image_ids, manifest.table.select("height", "width").rows(), strict=True))
    by_film: dict[str, list[NDArray[np.float64]]] = {image_id: [] for image_id in manifest.image_ids}
    for image_id, finding, *box in wanted.select("image_id", "finding", "x1", "y1", "x2", "y2").rows():
        height, width = sizes[image_id]
        if height is None or width is None:
            raise RecipeError(
                f"{image_id}: a film with boxes does not say its size", mend="Prepare the manifest again"
            )
        window = windows[image_id] if windows else None
        size = (height, width) if window is None else window.film
        # Boxes are in pixels of the size that the manifest says, whatever that of the file.
        scale = np.array([size[1] / width, size[0] / height] * 2)
        placed = preparation.place(size, window).boxes_to_prepared(np.array([box]) * scale)[0]
        limit = np.array([preparation.size[1], preparation.size[0]] * 2, np.float64)
        cut = np.clip(placed, 0, limit)
        inside = float(np.prod(cut[2:] - cut[:2]))
        if inside <= 0 or inside < LEAST_INSIDE * np.prod(placed[2:] - placed[:2]):
            left_out += 1
            continue
        cut_off += not np.allclose(cut, placed, atol=1e-6)
        by_film[image_id].append(np.array([labels.index(finding), *cut]))
    if cut_off or left_out:
        logger.info(
            "of %d boxes %d are cut off at the edge of what the model sees, and %d are left out, for less than %g of their"
            " area lies in it",
            wanted.height, cut_off, left_out, LEAST_INSIDE,
        )  # fmt: skip
    most = max([1, *(len(each) for each in by_film.values())])
    out = np.full((len(by_film), most, 5), np.nan, np.float32)
    for film, each in enumerate(by_film.values()):
        if each:
            out[film, : len(each)] = each
    return out


def auxiliary(manifest: Manifest, name: str) -> NDArray[np.float32]:
    """(n,) 1, 0 or NaN: a finding's label, or whether a column has a value, or whether age reaches a number of years."""
    column, colon, value = name.partition(":")
    if not colon:
        return np.asarray(truth_of(manifest, "multilabel", (name,)), np.float32)[:, 0]
    if column not in ("sex", "view", "age"):
        raise RecipeError(
            f"auxiliary label {name!r}: there is no such fact", mend="Use sex:F, view:AP or age:50"
        )
    try:
        fact = pl.col("age") >= float(value) if column == "age" else pl.col(column) == value
    except ValueError as error:
        raise RecipeError(f"auxiliary label {name!r}: age wants a number of years") from error
    return manifest.table.select(fact.cast(pl.Float32).fill_null(float("nan"))).to_series().to_numpy()


def softened(manifest: Manifest, labels: tuple[str, ...], truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Targets (n, labels) with the manifest's soft ones where the label is unknown (`uncertain: smoothed` makes such)."""
    targets = truth.copy()
    for column, name in enumerate(labels):
        if SOFT + name in manifest.table.columns:
            soft = manifest.table[SOFT + name].fill_null(float("nan")).to_numpy()
            targets[:, column] = np.where(np.isnan(targets[:, column]), soft, targets[:, column])
    return targets


def taught(manifest: Manifest, data: Data, truth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Targets that mix labels with a teacher's probabilities, (n, labels).

    The teacher was trained where findings are rarer, so its logits are first calibrated to the labels of these training
    films (Platt); then target = teacher * probability + (1 - teacher) * label. Films that it did not see keep their labels.
    """
    names, probabilities = manifest.teacher()
    lacking = [name for name in data.labels if name not in names]
    if lacking:
        raise RecipeError(
            f"the teacher says nothing of {', '.join(lacking)}", mend="Give the source a `teacher` option"
        )
    p = np.clip(probabilities[:, [names.index(name) for name in data.labels]], 1e-5, 1 - 1e-5).astype(
        np.float64
    )
    logits = np.log(p / (1 - p))
    seen = np.asarray(~np.isnan(logits).any(1))
    calibrated = fit_platt(truth[seen], logits[seen]).apply(logits[seen])
    targets = truth.copy()
    targets[seen] = data.teacher * calibrated + (1 - data.teacher) * truth[seen]
    logger.info(
        "a teacher's probabilities take part in the targets of %d of %d films", int(seen.sum()), len(seen)
    )
    return targets
