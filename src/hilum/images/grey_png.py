"""Films as PNG files, and many of them as one picture."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.images.preparation import quantise


def grey_png(pixels: NDArray[Any], bits: Literal[8, 16] = 8) -> bytes:
    """Pixels (h, w) in [0, 1] as a greyscale PNG of `bits`; 0 and 1 are the ends of its range."""
    done, data = cv2.imencode(".png", quantise(np.asarray(pixels, np.float32), bits))
    if not done:
        raise ValueError(f"cannot encode a film of shape {pixels.shape}")
    return data.tobytes()


def film_grid(films: NDArray[Any], columns: int, gap: int = 2) -> NDArray[np.float32]:
    """Films (n, h, w) in [0, 1] side by side, row by row, with `gap` white pixels between and around them."""
    count, height, width = films.shape
    rows = -(-count // columns)
    grid = np.ones((gap + rows * (height + gap), gap + columns * (width + gap)), np.float32)
    for number, film in enumerate(films):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        grid[top : top + height, left : left + width] = film
    return grid
