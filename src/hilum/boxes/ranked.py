"""Boxes of many films and classes, sorted so that all groups can be walked through side by side.

Suppression and fusion are sequential within a group (the best box first, then the next) and independent between groups.
So step t handles the t-th best box of every group at once, as a few array operations. Groups of like size are taken
together, in blocks small enough for the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hilum.boxes.geometry import Floats, Ints, as_boxes, overlaps, valid
from hilum.errors import BoxError

_BLOCK_GROUPS = 1024


@dataclass(frozen=True)
class Ranked:
    """Boxes by group, and within each from the highest score down; of equal scores the earlier row first.

    order: (n,) the row that each place came from. boxes (n, 4), scores (n,): in this order.
    starts, sizes: (groups,) where each group begins, and how many boxes it has; the largest group first.
    """

    order: Ints
    boxes: Floats
    scores: Floats
    starts: Ints
    sizes: Ints

    def blocks(self, groups: int = _BLOCK_GROUPS) -> Iterator[tuple[Ints, Ints]]:
        """Starts and sizes of at most so many groups at a time."""
        for first in range(0, len(self.sizes), groups):
            yield self.starts[first : first + groups], self.sizes[first : first + groups]


def ranked(boxes: Floats, scores: Floats, groups: ArrayLike | None) -> Ranked:
    """Sort boxes (n, 4) with scores (n,) by group (n,); without groups all boxes may meet."""
    group = np.zeros(len(boxes), np.int64) if groups is None else _numbers(groups, len(boxes))
    order = np.lexsort((-scores, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    by_size = np.argsort(-sizes, kind="stable")
    return Ranked(order, boxes[order], scores[order], starts[by_size], sizes[by_size])


def checked(boxes: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Boxes (n, 4) and scores (n,), or a BoxError that names the first row which is no box or has no score >= 0."""
    corners, values = as_boxes(boxes), np.asarray(scores, np.float64)
    if values.shape != (len(corners),):
        raise BoxError(f"scores of shape {values.shape} for {len(corners)} boxes")
    wrong = np.flatnonzero(~valid(corners))
    if len(wrong):
        box = ", ".join(f"{edge:g}" for edge in corners[wrong[0]])
        mend = "x2 must exceed x1 and y2 must exceed y1; hilum.boxes.valid says which boxes to keep."
        raise BoxError(f"row {wrong[0]} is no box: {box} ({len(wrong)} such)", mend=mend)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        raise BoxError(
            f"row {wrong[0]} has the score {values[wrong[0]]:g}", mend="A score is a number from 0."
        )
    return corners, values


def cluster_by_first(rows: Ranked, iou_threshold: float) -> Ints:
    """The cluster of each box in `rows`' order, (n,): a box joins the cluster whose first (and best) box it overlaps
    most, if by more than the threshold; else it begins one. Clusters are numbered by the place of their first box.
    """
    return _clusters(rows, iou_threshold, _Places)


def cluster_by_mean(rows: Ranked, iou_threshold: float) -> Ints:
    """As `cluster_by_first`, but a cluster lies at the mean of its boxes so far, weighted by their scores."""
    return _clusters(rows, iou_threshold, _Means)


class _Places:
    """Where the clusters of a block's groups lie: coordinates (4, clusters, groups), and each one's first box."""

    def __init__(self, groups: int) -> None:
        self.corners = np.zeros((4, 4, groups))  # an empty place meets no box
        self.first = np.zeros((4, groups), np.int64)
        self.found = np.zeros(groups, np.int64)

    def match(self, box: Floats) -> tuple[Ints, Floats]:
        """For the next box (4, groups) of each of the first groups: its best cluster, and the IoU with it."""
        active = box.shape[1]
        most = max(1, int(self.found[:active].max()))
        each = overlaps(self.corners[:, :most, :active], box[:, None])
        best = each.argmax(0)
        return best, each[best, np.arange(active)]

    def begin(self, groups: Ints, box: Floats, score: Floats, place: Ints) -> None:
        number = self.found[groups]
        if number.max() >= len(self.first):
            self._grow()
        self.corners[:, number, groups] = box
        self.first[number, groups] = place
        self.found[groups] += 1

    def join(self, clusters: Ints, groups: Ints, box: Floats, score: Floats) -> None:
        """The first box decides where a cluster lies."""

    def _grow(self) -> None:
        self.corners = np.concatenate([self.corners, np.zeros_like(self.corners)], 1)
        self.first = np.concatenate([self.first, np.zeros_like(self.first)])


class _Means(_Places):
    """Clusters that move: sums (4, clusters, groups) of score times coordinates, and of scores."""

    def __init__(self, groups: int) -> None:
        super().__init__(groups)
        self.sums, self.weight = np.zeros_like(self.corners), np.zeros(self.first.shape)

    def begin(self, groups: Ints, box: Floats, score: Floats, place: Ints) -> None:
        number = self.found[groups]
        super().begin(groups, box, score, place)
        self.sums[:, number, groups] = score * box
        self.weight[number, groups] = score

    def join(self, clusters: Ints, groups: Ints, box: Floats, score: Floats) -> None:
        sums = self.sums[:, clusters, groups] + score * box
        weight = self.weight[clusters, groups] + score
        self.sums[:, clusters, groups], self.weight[clusters, groups] = sums, weight
        where = weight > 0  # boxes of score 0 pull nothing
        self.corners[:, clusters[where], groups[where]] = sums[:, where] / weight[where]

    def _grow(self) -> None:
        super()._grow()
        self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)], 1)
        self.weight = np.concatenate([self.weight, np.zeros_like(self.weight)])


def _clusters(rows: Ranked, iou_threshold: float, kind: type[_Places]) -> Ints:
    if not 0 <= iou_threshold < 1:
        raise BoxError(f"an IoU threshold of {iou_threshold:g}", mend="Give 0 to less than 1.")
    corners = np.ascontiguousarray(rows.boxes.T)
    first = np.empty(len(rows.order), np.int64)
    for starts, sizes in rows.blocks():
        places = kind(len(starts))
        active = len(starts)
        for step in range(sizes[0]):
            while sizes[active - 1] <= step:
                active -= 1
            place = starts[:active] + step
            box, score = corners[:, place], rows.scores[place]
            cluster, overlap = places.match(box)
            joins = overlap > iou_threshold
            old, new = np.flatnonzero(joins), np.flatnonzero(~joins)
            first[place[new]] = place[new]
            first[place[old]] = places.first[cluster[old], old]
            if len(old):
                places.join(cluster[old], old, box[:, old], score[old])
            if len(new):
                places.begin(new, box[:, new], score[new], place[new])
    return first


def _numbers(groups: ArrayLike, n: int) -> Ints:
    names = np.asarray(groups)
    if names.shape != (n,):
        raise BoxError(f"groups of shape {names.shape} for {n} boxes", mend="Give one group a box.")
    if names.dtype.kind in "iu":
        return names.astype(np.int64) - (int(names.min()) if n else 0)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
