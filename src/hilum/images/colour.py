"""Colour images to grey: a film photographed or exported in colour is read by its luma."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_grey(rgb: NDArray[np.unsignedinteger], top: int) -> tuple[NDArray[np.float32], float]:
    """Luma float32 (h, w) in [0, 1] (ITU-R BT.601), and the mean absolute difference of the channels in [0, 1].

    `rgb`: (h, w, 3) with values up to `top`. Where the channels are the same the value is kept exactly.
    """
    red, green, blue = (np.ascontiguousarray(rgb[..., i]) for i in range(3))
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return red.astype(np.float32) / np.float32(top), 0.0
    red, green, blue = (c.astype(np.float32) / np.float32(top) for c in (red, green, blue))
    apart = np.abs(red - green).mean() + np.abs(green - blue).mean() + np.abs(blue - red).mean()
    grey = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return np.clip(grey, 0, 1), float(apart / 3)
