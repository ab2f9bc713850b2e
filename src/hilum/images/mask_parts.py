"""Cleaning a mask: its specks go, its holes close."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]

SPECK = 0.1  # a part smaller than this share of the largest part is no lung


def without_specks(mask: Mask, share: float = SPECK) -> Mask:
    """Of a mask (h, w) of 0 and 1, only the connected parts (8 neighbours) of at least `share` of the largest one's area."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = np.concatenate([[False], areas >= share * areas.max()])
    return keep[parts].astype(np.uint8)


def without_holes(mask: Mask) -> Mask:
    """Of a mask (h, w) of 0 and 1, background that the mask encloses becomes part of it."""
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    _, outside = cv2.connectedComponents(1 - framed, connectivity=4)
    return (outside != outside[0, 0])[1:-1, 1:-1].astype(np.uint8)
