"""One door to every method: boxes of several models in, one set of boxes out."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from hilum.boxes.fusion import ConfType, Fused, model_weights, nmw, of_rows, wbf
from hilum.boxes.geometry import Floats, Ints, as_boxes
from hilum.boxes.ranked import checked
from hilum.boxes.suppression import nms, soft_nms
from hilum.errors import BoxError

Method = Literal["wbf", "nmw", "nms", "soft-nms", "soft-nms-linear"]
METHODS: tuple[Method, ...] = get_args(Method)
__all__ = ["METHODS", "Fused", "Method", "fuse", "group_numbers"]


def group_numbers(images: ArrayLike, classes: ArrayLike) -> Ints:
    """One number for each pair of film and class, (n,): what boxes must share to meet. Names or numbers, both (n,)."""
    film, _ = _codes(images)
    kind, kinds = _codes(classes)
    if film.shape != kind.shape:
        raise BoxError(f"{len(film)} films beside {len(kind)} classes", mend="Give one of each a box.")
    return film * max(1, kinds) + kind


def fuse(
    boxes: ArrayLike,
    scores: ArrayLike,
    models: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    method: Method = "wbf",
    iou_threshold: float = 0.55,
    skip_box_threshold: float = 0.0,
    weights: ArrayLike | None = None,
    conf_type: ConfType = "box_and_model_avg",
    allows_overflow: bool = False,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
) -> Fused:
    """Fuse boxes (n, 4) of several models by a method of `METHODS`; films and classes are kept apart by `groups` (n,).

    Parameters
    ----------
    models: (n,) numbers from 0. weights: (models,), by default equal; NMS and soft-NMS then take each score
        times its model's share of the weight.
    conf_type, allows_overflow: of "wbf". sigma, score_threshold: of the soft methods ("soft-nms" is the Gaussian one).

    The default, "wbf" by "box_and_model_avg", never gives a score above the highest that went in.
    """
    if method == "wbf":
        return wbf(
            boxes,
            scores,
            models,
            groups,
            weights=weights,
            iou_threshold=iou_threshold,
            skip_box_threshold=skip_box_threshold,
            conf_type=conf_type,
            allows_overflow=allows_overflow,
        )
    if method == "nmw":
        return nmw(
            boxes,
            scores,
            models,
            groups,
            weights=weights,
            iou_threshold=iou_threshold,
            skip_box_threshold=skip_box_threshold,
        )
    if method not in METHODS:
        raise BoxError(f"no method '{method}'", mend=f"There are: {', '.join(METHODS)}.")
    corners, values = checked(boxes, scores)
    model, weight = model_weights(models, weights, len(values))
    used = np.flatnonzero(values >= skip_box_threshold)
    apart = of_rows(groups, used, len(values))
    if weights is not None:
        values = values * weight[model] / weight.sum()
    if method == "nms":
        kept = nms(corners[used], values[used], iou_threshold, apart)
        return _chosen(corners, used[kept], values[used[kept]])
    kept, decayed = soft_nms(
        corners[used],
        values[used],
        iou_threshold,
        apart,
        decay="linear" if method == "soft-nms-linear" else "gaussian",
        sigma=sigma,
        score_threshold=score_threshold,
    )
    return _chosen(corners, used[kept], decayed)


def _chosen(boxes: Floats, row: Ints, scores: Floats) -> Fused:
    """Boxes that stay as they were."""
    one, into = np.ones(len(row), np.int64), np.full(len(boxes), -1)
    into[row] = np.arange(len(row))
    return Fused(as_boxes(boxes)[row], scores, row, one, one, into)


def _codes(names: ArrayLike) -> tuple[Ints, int]:
    unique, inverse = np.unique(np.asarray(names), return_inverse=True)
    return inverse.astype(np.int64), len(unique)
