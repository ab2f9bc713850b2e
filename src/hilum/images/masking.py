"""What of a film is not diagnostic: what lies outside the body, far from the lungs, or is burnt-in text.

Pure functions from a film to the pixels of it that stay. They work on a small copy of the film, whatever its size, and the
outline comes back on the film's own grid. Where a film gives no good answer all of it stays: a model loses nothing by seeing
too much, and much by seeing a lung cut off.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.images.markers import letters
from hilum.images.mask_parts import without_holes

Bools = NDArray[np.bool_]
Pixels = NDArray[np.float32]

SIDE = 256  # pixels of the longer side at which outlines are found
AIR = 0.08  # of the film's range (percentiles 0.5 to 99.5): so dark is what no body weakens
BLACK = 0.12  # of the grey scale: lighter than this is no air, but a lung on a film without air
FLAT = 0.03  # of that range: a row or column along an edge that varies by less may be a bar (a shutter, unexposed)
STEP = 0.08  # of that range: how far, on average, a bar lies from what begins where it ends
LEAST_BODY = 0.3  # of the film: less than this is no body but a failure to find it
LEAST_OUTSIDE = 0.005  # of the film: an outside smaller than this, in all or in a part, is none
MARGIN = 0.015  # of the longer side: what stays around the body
TEXT_EDGE = 0.15  # of each side: where text stands on a film whose lungs are not known
AROUND_LETTERS = 0.006  # of the longer side: what is covered around a letter


def outside_body(pixels: Pixels) -> Bools | None:
    """The pixels (h, w) outside the body and a little around it, of a film float32 (h, w) in [0, 1]; None for none.

    Flat bars along the edges (collimation, letterboxing) are taken off, then the dark regions that reach an edge; of the
    rest the largest connected part is the body, with its holes. None where the body touches all sides, and where what is
    found is less than `LEAST_BODY` of the film, as on a film that is black.
    """
    small = _small(pixels)
    rows, columns = _busy(small)
    inner = small[rows, columns]
    low, high = np.percentile(inner, [0.5, 99.5])
    if high - low < 1e-3:
        return None
    dark = cv2.blur(inner, (5, 5)) < min(low + AIR * (high - low), BLACK)
    outside = _reaching_an_edge(dark.astype(np.uint8))
    found = np.zeros(small.shape, np.uint8)
    # Opened, so that a marker in the air hangs on the body by no thread.
    solid = np.asarray(cv2.morphologyEx(1 - outside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    found[rows, columns] = without_holes(_largest(solid))
    if cv2.countNonZero(found) < LEAST_BODY * found.size:
        return None
    grown = _grown(found, MARGIN * SIDE)
    return ~_on_film(grown, pixels.shape) if grown.mean() <= 1 - LEAST_OUTSIDE else None


def around_lungs(lungs: NDArray[np.uint8], margin: float) -> Bools:
    """The pixels (h, w) of the lungs of a mask (h, w; not empty), of what lies between them, and of `margin` around both.

    `margin`: a share of the longer side of the lungs' box. Between the lungs lie, row by row, heart and mediastinum.
    """
    small = _small((lungs > 0).astype(np.float32)) >= 0.5
    from_left = np.maximum.accumulate(small, axis=1)
    from_right = np.maximum.accumulate(small[:, ::-1], axis=1)[:, ::-1]
    chest = (from_left & from_right).astype(np.uint8)
    _, _, across, down = cv2.boundingRect(chest)
    return _on_film(_grown(chest, margin * max(across, down)), lungs.shape)


def lettering(pixels: Pixels, lungs: NDArray[np.uint8] | None = None) -> Bools:
    """The pixels (h, w) of boxes around what looks like a letter (`markers.letters`).

    Without `lungs` (h, w) only letters within `TEXT_EDGE` of an edge count, for on ribs and clips some things look like one.
    """
    height, width = pixels.shape
    out = np.zeros((height, width), bool)
    reach = round(AROUND_LETTERS * max(height, width))
    for x1, y1, x2, y2 in letters(pixels, lungs):
        x, y = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        if lungs is None and min(x, y, 1 - x, 1 - y) > TEXT_EDGE:
            continue
        out[max(0, y1 - reach) : y2 + reach, max(0, x1 - reach) : x2 + reach] = True
    return out


def _small(pixels: Pixels) -> Pixels:
    scale = SIDE / max(pixels.shape)
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.float32)


def _on_film(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> Bools:
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) >= 0.5)


def _busy(small: Pixels) -> tuple[slice, slice]:
    """Rows and columns between flat bars along the edges; all of a side of which bars would leave less than half.

    A bar ends in a step; evenly grey tissue along an edge goes over into the rest.
    """
    span = float(small.max() - small.min())
    found = []
    for lines in (small, small.T):
        busy = np.flatnonzero(lines.std(1) >= FLAT * span)
        ends = [0, len(lines)]
        if len(busy) and 2 * (busy[-1] + 1 - busy[0]) >= len(lines):
            for end, (edge, inwards) in enumerate(((int(busy[0]), 1), (int(busy[-1]), -1))):
                beyond, inside = edge - 2 * inwards, edge + 2 * inwards
                if 0 <= beyond < len(lines) and np.abs(lines[beyond] - lines[inside]).mean() >= STEP * span:
                    ends[end] = edge + end
        found.append(slice(*ends))
    return found[0], found[1]


def _reaching_an_edge(dark: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of a mask the parts (4 neighbours) that touch an edge, but for the smallest."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(dark, connectivity=4)
    keep = np.zeros(count, np.uint8)
    for line in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        keep[line] = 1
    keep[stats[:, cv2.CC_STAT_AREA] < LEAST_OUTSIDE * dark.size] = 0
    keep[0] = 0
    return keep[parts]


def _largest(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return mask
    return (parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)


def _grown(mask: NDArray[np.uint8], reach: float) -> NDArray[np.uint8]:
    distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    return (distance <= reach).astype(np.uint8)
