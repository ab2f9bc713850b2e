"""Anchors fitted to the boxes of a training set: k-means, then small random changes that are kept where they fit better.

As YOLOv5 does it (`autoanchor`): what counts is how far a box and its best anchor differ in width or height, whichever
differs more, and boxes that differ by `reach` or more count nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans

from hilum.errors import ManifestError

Sizes = NDArray[np.float64]

SCALES = 3
CHANGED, SPREAD = 0.9, 0.1  # how often an anchor's side is changed, and by how much (standard deviation)
SMALLEST = 2.0  # pixels: boxes with a side below it take no part


def fit_anchors(
    sizes: ArrayLike,
    count: int = 9,
    reach: float = 4.0,
    generations: int = 1000,
    seed: int = 0,
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Widths and heights (m, 2) of boxes, in input pixels, to `count` anchors, dealt to three strides, small first.

    Raises ManifestError where there are too few boxes, or `count` is no multiple of three.
    """
    boxes = np.asarray(sizes, np.float64).reshape(-1, 2)
    boxes = boxes[(boxes >= SMALLEST).all(1)]
    if count % SCALES or count <= 0:
        raise ManifestError(
            f"{count} anchors cannot be dealt to {SCALES} strides", mend=f"Give a multiple of {SCALES}"
        )
    if len(np.unique(boxes, axis=0)) < count:
        raise ManifestError(
            f"{len(np.unique(boxes, axis=0))} different boxes are too few for {count} anchors",
            mend="Take the anchors of another set, or fewer",
        )
    chance = np.random.default_rng(seed)
    anchors = _means(boxes, count, chance)
    best = fitness(anchors, boxes, reach)
    for _ in range(generations):
        changed = chance.random(anchors.shape) < CHANGED
        factor = np.where(changed, 1 + chance.random() * SPREAD * chance.standard_normal(anchors.shape), 1.0)
        candidate = np.maximum(anchors * factor.clip(0.3, 3.0), SMALLEST)
        reached = fitness(candidate, boxes, reach)
        if reached > best:
            anchors, best = candidate, reached
    ordered = anchors[np.argsort(anchors.prod(1), kind="stable")].reshape(SCALES, -1, 2)
    return tuple(tuple((float(w), float(h)) for w, h in scale) for scale in ordered)


def fitness(anchors: ArrayLike, sizes: ArrayLike, reach: float = 4.0) -> float:
    """Mean over boxes (m, 2) of how near the best of the anchors (..., 2) comes, 0 to 1; 0 for a box out of reach of all."""
    nearest = closeness(anchors, sizes).max(1)
    return float(np.where(nearest > 1 / reach, nearest, 0.0).mean())


def recall(anchors: ArrayLike, sizes: ArrayLike, reach: float = 4.0) -> float:
    """Share of the boxes (m, 2) that at least one anchor can learn, 0 to 1."""
    return float((closeness(anchors, sizes).max(1) > 1 / reach).mean())


def closeness(anchors: ArrayLike, sizes: ArrayLike) -> Sizes:
    """(m, anchors): the smaller over the greater of a box's and an anchor's side, the worse of width and height."""
    shape = np.asarray(anchors, np.float64).reshape(-1, 2)
    ratio = np.asarray(sizes, np.float64).reshape(-1, 2)[:, None] / shape[None]
    worst: Sizes = np.minimum(ratio, 1 / ratio).min(2)
    return worst


def _means(boxes: Sizes, count: int, chance: np.random.Generator) -> Sizes:
    """k-means of the boxes with width and height on one scale; where it loses a mean, boxes drawn at random instead."""
    spread = boxes.std(0)
    scale = np.where(spread > 0, spread, 1.0)
    found, _ = kmeans(boxes / scale, count, iter=30, rng=chance)
    if len(found) == count:
        return np.asarray(found * scale)
    drawn = np.unique(boxes, axis=0)
    return drawn[chance.choice(len(drawn), count, replace=False)]
