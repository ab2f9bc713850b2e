"""From a detector's candidates, thousands a film, to the boxes that it is taken to mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.boxes.fuse import group_numbers
from hilum.boxes.suppression import nms

LEAST, MOST, OVERLAP = 0.001, 300, 0.6


@dataclass(frozen=True)
class Selected:
    """Boxes (m, 4), scores (m,), film numbers (m,) and class numbers (m,); film after film, the best first."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    film: NDArray[np.int64]
    kind: NDArray[np.int64]


def select(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    least: float = LEAST,
    iou_threshold: float = OVERLAP,
    most: int = MOST,
) -> Selected:
    """Candidates of n films: boxes (n, k, 4) and a score a class (n, k, classes), to those above `least` after NMS by class.

    A candidate stands once for each class that it scores above `least` in. `iou_threshold`: 1 takes no two boxes for one. At
    most `most` boxes a film are kept. Boxes of no width or height, or with values that are not finite, are left out: a
    network that is not trained yet gives such.
    """
    corners, values = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    usable = np.isfinite(corners).all(-1, keepdims=True) & (corners[..., 2:] > corners[..., :2]).all(
        -1, keepdims=True
    )
    film, row, kind = np.nonzero((values > least) & usable)
    chosen, score = corners[film, row], values[film, row, kind]
    if len(film) and iou_threshold < 1:
        kept = nms(chosen, score, iou_threshold, group_numbers(film, kind))
    else:
        kept = np.argsort(-score, kind="stable")
    kept = kept[np.argsort(film[kept], kind="stable")]  # the best first within a film
    place = np.arange(len(kept)) - np.searchsorted(film[kept], film[kept])
    kept = kept[place < most]
    return Selected(chosen[kept], score[kept], film[kept], kind[kept])
