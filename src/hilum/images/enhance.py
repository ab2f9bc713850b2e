"""Filters on pixels: each a pure function from float32 (h, w) in [0, 1] to the same."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]


def median(pixels: Pixels, size: int = 3) -> Pixels:
    """Median over `size` x `size` pixels (odd; 3 or 5 run on float, larger ones at 8 bit)."""
    _check_odd(size)
    if size <= 5:
        return np.asarray(cv2.medianBlur(pixels, size), np.float32)
    return cv2.medianBlur(_to_8_bit(pixels), size).astype(np.float32) / np.float32(255)


def gaussian(pixels: Pixels, size: int = 5, sigma: float = 0.0) -> Pixels:
    """Gaussian blur with a `size` x `size` kernel (odd) and `sigma` pixels (0: 0.3 * ((size - 1) / 2 - 1) + 0.8)."""
    _check_odd(size)
    return np.asarray(cv2.GaussianBlur(pixels, (size, size), sigma), np.float32)


def non_local_means(pixels: Pixels, strength: float = 0.02, patch: int = 5, search: int = 11) -> Pixels:
    """Non-local means (Buades 2005) at 16 bit.

    `strength`: the filter's h as a share of full range, 0 to 1; `patch` and `search`: odd sizes in pixels.
    """
    _check_odd(patch)
    _check_odd(search)
    stored = np.rint(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)
    # OpenCV's 16-bit version measures patches by the L1 norm.
    out = cv2.fastNlMeansDenoising(
        stored, [strength * 65535], templateWindowSize=patch, searchWindowSize=search, normType=cv2.NORM_L1
    )
    return out.astype(np.float32) / np.float32(65535)


def stretch(
    pixels: Pixels, low: float = 0.0, high: float = 100.0, of: NDArray[np.bool_] | None = None
) -> Pixels:
    """Percentiles `low` and `high` (0 to 100) become 0 and 1; values outside are clipped. A constant image becomes 0.

    `of`: the pixels (h, w) that the percentiles are of; None: all.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles must be 0 <= low < high <= 100, got {low} and {high}")
    floor, ceiling = np.percentile(pixels if of is None else pixels[of], [low, high])
    if ceiling <= floor:
        return np.zeros_like(pixels)
    return np.clip((pixels - np.float32(floor)) / np.float32(ceiling - floor), 0, 1).astype(np.float32)


def unit_variance(pixels: Pixels, spread: float = 3.0, of: NDArray[np.bool_] | None = None) -> Pixels:
    """Zero mean and unit variance, kept in [0, 1]: mean becomes 0.5 and `spread` standard deviations become 0 and 1.

    `of`: the pixels (h, w) that mean and deviation are of; None: all.
    """
    values = pixels if of is None else pixels[of]
    if values.min() == values.max():  # the float32 mean of equal values is not quite their value
        return np.full_like(pixels, 0.5)
    deviation = float(values.std())
    scaled = (pixels - np.float32(values.mean())) / np.float32(2 * spread * deviation) + np.float32(0.5)
    return np.clip(scaled, 0, 1).astype(np.float32)


def clahe(pixels: Pixels, clip: float = 2.0, grid: int = 8) -> Pixels:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994) at 8 bit.

    `clip`: the contrast limit as a multiple of a flat histogram's bin; `grid`: tiles a side.
    """
    # At 16 bit a tile of a prepared film has fewer pixels than the histogram has bins, and OpenCV's limit, never below
    # one pixel a bin, does nothing: clips of 1 and of 4 gave the same image up to 1,024 x 1,024.
    out = cv2.createCLAHE(clipLimit=clip, tileGridSize=(grid, grid)).apply(_to_8_bit(pixels))
    return out.astype(np.float32) / np.float32(255)


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """To (height, width): by area where it shrinks, bilinear where it grows."""
    if pixels.shape == (height, width):
        return pixels
    shrinks = height * width < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.float32)


def _check_odd(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"a filter's size must be odd and positive, got {size}")


def _to_8_bit(pixels: Pixels) -> NDArray[np.uint8]:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
