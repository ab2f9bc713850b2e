"""Where boxes lie: areas, overlaps, clipping, and what is no box. Boxes (n, 4): x1, y1, x2, y2, any unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import BoxError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def as_boxes(boxes: ArrayLike) -> Floats:
    """Boxes as float64 (n, 4); an empty sequence is (0, 4). BoxError for any other shape."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return array.reshape(-1, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise BoxError(f"boxes of shape {array.shape}", mend="Give (n, 4): x1, y1, x2, y2.")
    return array


def valid(boxes: ArrayLike) -> Bools:
    """Which boxes are finite and of positive width and height, (n,)."""
    x1, y1, x2, y2 = as_boxes(boxes).T
    with np.errstate(invalid="ignore"):
        whole: Bools = (x2 > x1) & (y2 > y1) & np.isfinite(x2 - x1) & np.isfinite(y2 - y1)
    return whole


def area(boxes: ArrayLike) -> Floats:
    """Width times height, (n,)."""
    x1, y1, x2, y2 = as_boxes(boxes).T
    return (x2 - x1) * (y2 - y1)


def iou(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over union of every box of `a` with every one of `b`: (n, 4), (m, 4) to (n, m), 0 to 1.

    0 where both are of no area.
    """
    first, second = as_boxes(a), as_boxes(b)
    return overlaps(first.T[:, :, None], second.T[:, None, :])


def paired_iou(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over union of each box of `a` with the one in the same row of `b`: (n, 4) twice to (n,)."""
    first, second = as_boxes(a), as_boxes(b)
    if first.shape != second.shape:
        raise BoxError(f"{len(first)} boxes beside {len(second)}", mend="`iou` compares every pair.")
    return overlaps(first.T, second.T)


def giou(a: ArrayLike, b: ArrayLike) -> Floats:
    """Generalised IoU (Rezatofighi et al., CVPR 2019), every pair: (n, 4), (m, 4) to (n, m), -1 to 1.

    IoU less the share of the smallest enclosing box that belongs to neither: it still falls as boxes that do not meet
    move apart.
    """
    first, second = as_boxes(a).T[:, :, None], as_boxes(b).T[:, None, :]
    inter = intersections(first, second)
    union = _areas(first) + _areas(second) - inter
    width = np.maximum(first[2], second[2]) - np.minimum(first[0], second[0])
    height = np.maximum(first[3], second[3]) - np.minimum(first[1], second[1])
    hull = width * height
    return _ratio(inter, union) - _ratio(hull - union, hull)


def clip(boxes: ArrayLike, width: ArrayLike, height: ArrayLike) -> Floats:
    """Boxes cut at the film's edges, (n, 4); one that lies outside becomes empty (see `valid`).

    width, height: of the film, one for all or (n,), in the boxes' unit.
    """
    x1, y1, x2, y2 = as_boxes(boxes).T
    across, down = np.asarray(width, np.float64), np.asarray(height, np.float64)
    cut = [np.clip(x1, 0, across), np.clip(y1, 0, down), np.clip(x2, 0, across), np.clip(y2, 0, down)]
    return np.stack(cut, 1)


def intersections(a: Floats, b: Floats) -> Floats:
    """Common area of coordinates (4, ...) and (4, ...) that broadcast."""
    width = np.minimum(a[2], b[2])
    width = width - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3])
    height = height - np.maximum(a[1], b[1])
    return np.maximum(width, 0, out=width) * np.maximum(height, 0, out=height)


def overlaps(a: Floats, b: Floats) -> Floats:
    """IoU of coordinates (4, ...) and (4, ...) that broadcast."""
    inter = intersections(a, b)
    return _ratio(inter, _areas(a) + _areas(b) - inter)


def _areas(corners: Floats) -> Floats:
    return (corners[2] - corners[0]) * (corners[3] - corners[1])


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=whole > 0)
