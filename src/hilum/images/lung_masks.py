"""From a segmenter's probabilities to a left and a right lung on the film's own grid.

Cleaning and splitting run on the prepared grid, which is small; probabilities, not masks, are enlarged to the film, so that
the outline stays smooth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.images.mask_parts import without_holes, without_specks
from hilum.images.placement import Placement

Mask = NDArray[np.uint8]

VALLEY = 0.5  # two lungs: between them a column holds less than this share of the lower of their two highest columns
NEAR = 384  # pixels of the longer side at which it is asked which lung is nearer


@dataclass(frozen=True)
class Lungs:
    """Masks on the film's own grid, uint8 (height, width) 0 or 1: both lungs, the person's left and right one."""

    mask: Mask = field(repr=False, compare=False)
    left: Mask = field(repr=False, compare=False)
    right: Mask = field(repr=False, compare=False)

    @property
    def area_share(self) -> float:
        """Lungs as a share of the film."""
        return cv2.countNonZero(self.mask) / self.mask.size


def find_lungs(probability: NDArray[np.floating], placement: Placement, cut: float) -> Lungs:
    """Lungs from `probability` (h, w) on the prepared grid, 0 to 1, where it is at least `cut`.

    A film in which nothing looks like a lung gives empty masks.
    """
    mask = (probability >= cut).astype(np.uint8)
    left, right = split(mask)
    kept = left | right
    # Specks go to 0 and filled holes to 1: their neighbours lie on that side of the cut, so enlarging moves no other edge.
    cleaned = np.where(kept > 0, np.where(mask > 0, probability, 1.0), np.where(mask > 0, 0.0, probability))
    on_film = (placement.map_to_source(cleaned) >= cut).view(np.uint8)
    if left.any() and right.any():
        on_the_left = _nearer(left, right, placement)
        on_left = on_film & on_the_left
        sides = on_left, on_film - on_left
    else:
        empty = np.zeros_like(on_film)
        sides = (on_film, empty) if left.any() else (empty, on_film)
    return Lungs(on_film, *sides)


def split(mask: Mask) -> tuple[Mask, Mask]:
    """A lung mask (h, w) of 0 and 1 to the person's (left, right) lung: holes filled, specks gone.

    The film shows the person from the front: the left lung is on the film's right. Lungs that touch are cut at the
    column between them that holds the fewest lung pixels; a single lung is put on the side on which its middle lies.
    """
    film_left, film_right = np.zeros_like(mask), np.zeros_like(mask)
    mask = without_specks(mask)
    divide = dividing_column(mask)
    film_left[:, :divide] = mask[:, :divide]
    film_right[:, divide:] = mask[:, divide:]
    return without_holes(without_specks(film_right)), without_holes(without_specks(film_left))


def dividing_column(mask: Mask) -> int:
    """The column that parts the two lungs: everything before it is on the film's left."""
    width = mask.shape[1]
    columns = np.flatnonzero(mask.any(0))
    if len(columns) == 0:
        return width // 2
    first, last = int(columns[0]), int(columns[-1]) + 1
    profile = cv2.blur(mask.sum(0, dtype=np.float32)[None], (max(3, width // 64) | 1, 1))[0]
    start = first + 3 * (last - first) // 10  # the middle two fifths
    inner = profile[start : max(start + 1, last - 3 * (last - first) // 10)]
    lowest = float(inner.min())
    valley = start + int(np.mean(np.flatnonzero(inner <= lowest)))
    if lowest < VALLEY * min(profile[first : valley + 1].max(), profile[valley:last].max()):
        return valley
    return 0 if first + last > width else width  # one lung: all of it lies on one side


def _nearer(a: Mask, b: Mask, placement: Placement) -> Mask:
    """1 where the film is nearer to mask `a` than to `b` (both on the prepared grid, neither empty), else 0.

    Worked out at a few hundred pixels: it only parts lungs that touch.
    """
    to_a, to_b = (cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3) for mask in (a, b))
    nearer = (placement.reduced(NEAR).map_to_source(to_b - to_a) > 0).astype(np.uint8)
    return np.asarray(cv2.resize(nearer, placement.source[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
