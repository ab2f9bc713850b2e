"""Covers: parts of a film taken away, to see what a model still knows without them.

What is covered takes one value, the mean of what is not: a value that the film has, so that black or white patches do not
stretch its grey scale, and one that tells nothing of what lies underneath.

A cover of the lungs' own outline still shows that outline, and so their size and shape, and the heart's edge between
them. `lung_box` hides these too: of it only the four sides of a rectangle are left.
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import EvaluationError

Cover = Literal["lungs", "lung_box", "outside_lungs", "border"]
COVERS: tuple[Cover, ...] = get_args(Cover)
"""`lungs`: the lungs and a little around them. `lung_box`: the smallest upright rectangle around those. `outside_lungs`:
all but the lungs and a little around them. `border`: a frame along the film's edges, where markers and text stand."""

MARGIN = 0.02  # of the film's longer side: how far a cover reaches past the lungs' outline
FRAME = 0.1  # of each side: the width of the border on either end

Bools = NDArray[np.bool_]


def hidden(what: Cover, lungs: ArrayLike) -> Bools:
    """The pixels (h, w) that a cover hides.

    lungs: (h, w), read as booleans, on the film's own grid.

    Raises EvaluationError for lungs that are empty, for a cover that would hide the whole film, and for none of that name.
    """
    mask = np.asarray(lungs, bool)
    if mask.ndim != 2 or not mask.size:
        raise EvaluationError(
            f"a lung mask of shape {mask.shape}", mend="Give one film's mask, (height, width)."
        )
    if what not in COVERS:
        raise EvaluationError(f"there is no cover {what!r}", mend=f"Choose of {', '.join(COVERS)}.")
    if what == "border":
        return _frame(mask.shape)
    if not mask.any():
        raise EvaluationError("the lung mask is empty: there is nothing to cover or to keep")
    grown = _grown(mask)
    out = {"lungs": lambda: grown, "lung_box": lambda: _box(grown), "outside_lungs": lambda: ~grown}[what]()
    if out.all() or not out.any():
        raise EvaluationError(f"the cover '{what}' hides the whole film, or none of it: the lungs fill it")
    return out


def cover(pixels: ArrayLike, hides: ArrayLike) -> NDArray[np.float32]:
    """A copy of the film (h, w) in which the pixels of `hides` (h, w) have the mean of all others.

    Raises EvaluationError where the shapes differ or nothing is left uncovered.
    """
    film, away = np.asarray(pixels, np.float32), np.asarray(hides, bool)
    if film.shape != away.shape or film.ndim != 2:
        raise EvaluationError(f"the cover is {away.shape}, the film is {film.shape}")
    if away.all():
        raise EvaluationError("a cover that hides the whole film leaves nothing to read")
    out = film.copy()
    out[away] = film[~away].mean(dtype=np.float64)
    return out


def _grown(mask: Bools) -> Bools:
    """By `MARGIN`, so that neither the outline's own blur nor a mask drawn too tight shows the lung's edge."""
    reach = MARGIN * max(mask.shape)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(distance <= reach)


def _box(mask: Bools) -> Bools:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    out = np.zeros(mask.shape, bool)
    out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return out


def _frame(shape: tuple[int, ...]) -> Bools:
    height, width = shape
    wide, high = max(1, round(FRAME * width)), max(1, round(FRAME * height))
    out = np.ones((height, width), bool)
    out[high : height - high, wide : width - wide] = False
    if out.all():
        raise EvaluationError(f"a film of {width} x {height} pixels is all border")
    return out
