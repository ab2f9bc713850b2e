"""A synthetic frontal chest film with known lungs and lesions, for tests and for pictures in the docs."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Phantom:
    """`pixels` float32 (h, w) in [0, 1], bone white; `lungs` uint8 (h, w), 1 the film's left half, 2 its right half;
    `boxes` float64 (n, 4) as x1, y1, x2, y2 around each lesion."""

    pixels: NDArray[np.float32]
    lungs: NDArray[np.uint8]
    boxes: NDArray[np.float64]


def phantom(seed: int = 0, height: int = 512, width: int = 448, lesions: int = 0) -> Phantom:
    """A body with two dark lungs, mediastinum, heart, ribs, spine and noise; `lesions` bright discs inside the lungs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (x + 0.5) / width, (y + 0.5) / height
    shift = rng.uniform(-0.02, 0.02, 2)

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.bool_]:
        return ((x - cx - shift[0]) / rx) ** 2 + ((y - cy - shift[1]) / ry) ** 2 <= 1

    body = ellipse(0.5, 0.62, 0.47, 0.62) | ellipse(0.5, 0.08, 0.13, 0.2)
    grow = rng.uniform(0.95, 1.05)
    film_left = ellipse(0.29, 0.48, 0.155 * grow, 0.31 * grow) & (y < 0.78)
    film_right = ellipse(0.71, 0.48, 0.15 * grow, 0.3 * grow) & (y < 0.76)
    heart = ellipse(0.57, 0.62, 0.14, 0.16)
    lungs = np.zeros((height, width), np.uint8)
    lungs[film_left & ~heart] = 1
    lungs[film_right & ~heart] = 2

    pixels = np.where(body, 0.62, 0.03).astype(np.float32)
    pixels[lungs > 0] = 0.25
    pixels[heart & body] = 0.72
    pixels[ellipse(0.5, 0.5, 0.045, 0.6) & body] += 0.12  # spine
    ribs = 0.06 * (np.sin((y + 0.25 * (x - 0.5) ** 2) * 2 * np.pi * 11) > 0.55)
    pixels += np.where(ellipse(0.5, 0.45, 0.36, 0.36), ribs, 0).astype(np.float32)

    boxes = []
    inside = np.argwhere(cv2.erode((lungs > 0).astype(np.uint8), np.ones((31, 31), np.uint8)))
    for _ in range(lesions):
        cy, cx = inside[rng.integers(len(inside))]
        radius = rng.uniform(0.02, 0.045) * width
        disc = (np.arange(width)[None] + 0.5 - cx) ** 2 + (
            np.arange(height)[:, None] + 0.5 - cy
        ) ** 2 <= radius**2
        pixels[disc] += 0.3
        boxes.append([cx - radius, cy - radius, cx + radius, cy + radius])

    pixels = cv2.GaussianBlur(pixels, (0, 0), 1.2) + rng.normal(0, 0.012, pixels.shape).astype(np.float32)
    return Phantom(
        np.clip(pixels, 0, 1).astype(np.float32), lungs, np.array(boxes, np.float64).reshape(-1, 4)
    )
