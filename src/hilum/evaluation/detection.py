"""Boxes beside the truth: which predicted box finds which true one. Arrays in, arrays out.

The measures built on it: `detection_ap` (PASCAL VOC), `detection_coco`, `froc`, `detection_films` (films called by their
boxes, calibration of scores), and all of them at once in `detection_summary`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from hilum.boxes import group_numbers, paired_iou, valid
from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Bools, Floats, Ints

_BLOCK_VALUES = 1_000_000  # 8 MB an array


@dataclass(frozen=True)
class Detections:
    """Predicted and true boxes of the same films, checked when made.

    Attributes
    ----------
    boxes, scores, film, kind: of n predictions: (n, 4) x1 y1 x2 y2, (n,) any finite numbers, (n,) film numbers from 0,
        (n,) class numbers from 0.
    true_boxes, true_film, true_kind: of m true boxes, likewise.
    films, classes: how many there are, those without any box among them: a film without boxes still has room for false
        ones.

    Raises EvaluationError for boxes of no area, scores that are not finite, numbers out of range.
    """

    boxes: Floats
    scores: Floats
    film: Ints
    kind: Ints
    true_boxes: Floats
    true_film: Ints
    true_kind: Ints
    films: int
    classes: int

    def __post_init__(self) -> None:
        for name in ("boxes", "true_boxes"):
            corners = np.asarray(getattr(self, name), np.float64).reshape(-1, 4)
            object.__setattr__(self, name, corners)
            if not valid(corners).all():
                row = int(np.flatnonzero(~valid(corners))[0])
                raise EvaluationError(f"{name}: row {row} is no box: {corners[row].tolist()}")
        object.__setattr__(self, "scores", np.asarray(self.scores, np.float64))
        if not np.isfinite(self.scores).all():
            raise EvaluationError("a score is not finite", mend="Give every predicted box a number.")
        for name, limit in (("film", self.films), ("kind", self.classes)):
            for prefix, n in (("", len(self.boxes)), ("true_", len(self.true_boxes))):
                numbers = np.asarray(getattr(self, prefix + name), np.int64)
                object.__setattr__(self, prefix + name, numbers)
                if numbers.shape != (n,):
                    raise EvaluationError(f"{prefix}{name} is {numbers.shape} for {n} boxes")
                if n and not 0 <= numbers.min() <= numbers.max() < limit:
                    raise EvaluationError(f"a number of {prefix}{name} lies outside 0 to {limit - 1}")
        if self.scores.shape != (len(self.boxes),):
            raise EvaluationError(f"scores are {self.scores.shape} for {len(self.boxes)} boxes")

    def of_classes(self, chosen: ArrayLike) -> Detections:
        """Boxes of some classes (k,) alone; the classes keep their numbers."""
        mine, true = np.isin(self.kind, np.asarray(chosen)), np.isin(self.true_kind, np.asarray(chosen))
        return replace(
            self,
            boxes=self.boxes[mine],
            scores=self.scores[mine],
            film=self.film[mine],
            kind=self.kind[mine],
            true_boxes=self.true_boxes[true],
            true_film=self.true_film[true],
            true_kind=self.true_kind[true],
        )


@dataclass(frozen=True)
class Pairs:
    """Predicted and true boxes of one film and class that overlap: rows of each (p,), and their IoU (p,)."""

    predicted: Ints
    true: Ints
    iou: Floats


def pairs(boxes: Detections) -> Pairs:
    """Every pair of one film and class whose IoU is above 0, by predicted row, then by true row."""
    n = len(boxes.boxes)
    group = group_numbers(
        np.concatenate([boxes.film, boxes.true_film]), np.concatenate([boxes.kind, boxes.true_kind])
    )
    mine, theirs = group[:n], group[n:]
    order = np.argsort(theirs, kind="stable")
    low = np.searchsorted(theirs[order], mine, "left")
    count = np.searchsorted(theirs[order], mine, "right") - low
    predicted = np.repeat(np.arange(n), count)
    within = np.arange(len(predicted)) - np.repeat(np.cumsum(count) - count, count)
    true = order[np.repeat(low, count) + within]
    overlap = paired_iou(boxes.boxes[predicted], boxes.true_boxes[true])
    met = overlap > 0
    return Pairs(predicted[met], true[met], overlap[met])


def weighed(statistic: Callable[[Floats], Floats], weights: Floats, rows: int) -> Floats:
    """A statistic of weights (b, films), which holds several arrays (rows, b) at once, on few weightings at a time."""
    size = max(1, _BLOCK_VALUES // max(rows, 1))
    return np.concatenate([statistic(weights[i : i + size]) for i in range(0, len(weights), size)])


@dataclass(frozen=True)
class Matches:
    """What each predicted box finds.

    near: (n,) the true box that it overlaps most, where by more than the threshold; else -1.
    hit: (n,) it is the first (highest score) to find that true box. Near without hit is a second find.
    order: (n,) predictions from the highest score down; of equal scores the earlier row first.
    """

    near: Ints
    hit: Bools
    order: Ints


def match(boxes: Detections, iou_threshold: float) -> Matches:
    """Match as PASCAL VOC does (Everingham et al., IJCV 2010, 4.2): a box looks at the true box of its film and class that
    it overlaps most, wants an IoU above the threshold (strictly), and must come first.

    A box whose best true box was found before counts as a second find, even where it also overlaps another.
    """
    if not 0 <= iou_threshold < 1:
        raise EvaluationError(f"an IoU threshold of {iou_threshold:g}", mend="Give 0 to less than 1.")
    met = pairs(boxes)
    best = np.lexsort((met.true, -met.iou, met.predicted))
    best = best[np.flatnonzero(np.diff(met.predicted[best], prepend=-1))]
    best = best[met.iou[best] > iou_threshold]
    near = np.full(len(boxes.boxes), -1, np.int64)
    near[met.predicted[best]] = met.true[best]
    order = np.argsort(-boxes.scores, kind="stable")
    finds = order[near[order] >= 0]
    hit = np.zeros(len(near), bool)
    hit[finds[np.unique(near[finds], return_index=True)[1]]] = True
    return Matches(near, hit, order)
