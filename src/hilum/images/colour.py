"""Colour images to grey: a film photographed or exported in colour is read by its luma."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.images.strips import Rows, strips_of


def to_grey(rgb: Rows, top: int) -> tuple[NDArray[np.float32], float]:
    """Luma float32 (h, w) in [0, 1] (ITU-R BT.601), and the mean absolute difference of the channels in [0, 1].

    `rgb`: (h, w, 3) with values up to `top`; it is worked on in strips of rows. Where the channels are the same in the
    whole image the value is kept exactly.
    """
    height, width = rgb.shape[:2]
    apart = sum(_apart(rgb[rows]) for rows in strips_of(rgb.shape))
    grey = np.empty((height, width), np.float32)
    for rows in strips_of(rgb.shape):
        strip = rgb[rows]
        red = strip[..., 0].astype(np.float32) / np.float32(top)
        if apart:
            green, blue = (strip[..., i].astype(np.float32) / np.float32(top) for i in (1, 2))
            luma = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
            grey[rows] = np.clip(luma, 0, 1)
        else:
            grey[rows] = red
    return grey, apart / (3 * top * height * width)


def _apart(strip: NDArray[np.unsignedinteger]) -> int:
    """The channels' absolute differences, summed exactly, so that the strips' heights change nothing."""
    red, green, blue = (strip[..., i].astype(np.int32) for i in range(3))
    pairs = ((red, green), (green, blue), (blue, red))
    return sum(int(np.abs(one - other).sum(dtype=np.int64)) for one, other in pairs)
