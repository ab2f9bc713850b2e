"""Lettering on a film: side markers (L, R), names, times and the like, by their look.

Letters are burnt in or laid on as lead, so they are thin, near white, sharp, and of one brightness, and they stand where no
lung is. What has this look: a small connected part of a film's brightest detail (a white top-hat, which keeps what is
thinner than its window), of the size of a letter, nearly as bright as the film's brightest, on a ground that is much
darker, filled like a letter. Calcified buttons, clips and cables can pass for letters; grey or blurred letters, and those
over bright bone or at a lung's edge, are missed. It is made to compare groups of films, not to judge one of them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import EvaluationError

SIDE = 512  # films are looked at with this longer side
STROKE = 21  # pixels: thicker things are anatomy
LETTER = (7, 56)  # pixels: the longer side of a letter
THINNEST = 3  # pixels: the shorter side
RISE = 0.25  # of the grey scale: how far above its ground
WHITE = 0.55  # of the film's brightest (percentile 99.9): how bright
FILLED = (0.12, 0.92)  # share of its box that a letter fills
EVEN = 0.2  # standard deviation of its pixels at most: one brightness
AROUND = 24  # pixels around the lungs, where ribs seen edge-on are as thin and bright as letters
SHARP = 0.1  # mean gradient along its outline, of the grey scale per pixel


def letters(pixels: ArrayLike, lungs: ArrayLike | None = None) -> NDArray[np.int64]:
    """Boxes (n, 4) as x1, y1, x2, y2 in the film's pixels of what looks like a letter.

    pixels: (h, w) in [0, 1]. lungs: (h, w); what touches them, or lies between them, is left out.
    """
    film = np.asarray(pixels, np.float32)
    if film.ndim != 2 or not film.size or not np.isfinite(film).all():
        raise EvaluationError(f"a film of shape {film.shape}, or with values that are not finite")
    small, scale = _small(film)
    ground = cv2.morphologyEx(small, cv2.MORPH_OPEN, np.ones((STROKE, STROKE), np.uint8))
    top = float(np.percentile(small, 99.9))
    bright = ((small - ground > RISE) & (small > WHITE * top)).astype(np.uint8)
    steep = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    away = None if lungs is None else _chest(np.asarray(lungs, bool), small.shape)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    found = []
    for number in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[number])
        if not (LETTER[0] <= max(w, h) <= LETTER[1] and min(w, h) >= THINNEST):
            continue
        window = slice(y, y + h), slice(x, x + w)
        if away is not None and away[window].any():
            continue
        part = parts[window] == number
        outline = part & ~cv2.erode(part.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(
            bool
        )
        if (
            FILLED[0] <= area / (w * h) <= FILLED[1]
            and float(small[window][part].std()) <= EVEN
            and float(steep[window][outline].mean()) >= SHARP
        ):
            found.append((x / scale, y / scale, (x + w) / scale, (y + h) / scale))
    return np.rint(np.array(found, np.float64).reshape(-1, 4)).astype(np.int64)


def _small(film: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The film with its longer side `SIDE`, and prepared pixels a film pixel."""
    scale = SIDE / max(film.shape)
    size = max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(film, size, interpolation=how), np.float32), scale


def _chest(lungs: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The lungs, `AROUND` them and, row by row, what lies between them."""
    small = cv2.resize(lungs.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
    grown = cv2.dilate(small, np.ones((2 * AROUND + 1, 2 * AROUND + 1), np.uint8))
    from_left = np.maximum.accumulate(grown > 0, axis=1)
    from_right = np.maximum.accumulate(grown[:, ::-1] > 0, axis=1)[:, ::-1]
    return np.asarray(from_left & from_right)
