"""Measures of a lung mask that say whether a whole pair of lungs lies in the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 128  # measured on a grid of this side; the shares below do not depend on it
_SPECK = 0.005  # components smaller than this share of the picture are not lungs


@dataclass(frozen=True)
class LungField:
    """Shares of the picture, all in [0, 1].

    `area`: of both lungs. `balance`: smaller lung over larger, 0 for one lung. `centre`: (x, y) of the
    lungs' centroid, (0.5, 0.5) where there are none. `cut`: for each edge of the picture, the share of it
    that lungs lie on.
    """

    area: float
    balance: float
    centre: tuple[float, float]
    cut: dict[str, float]


def measure(lungs: NDArray[np.uint8]) -> LungField:
    """Of a mask (h, w) over the whole picture: 0 none; 1 and 2 the two lungs, or any value for lung."""
    mask = cv2.resize(lungs, (_SIDE, _SIDE), interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8)
    lung = mask > 0
    cut = {"top": lung[0], "bottom": lung[-1], "left": lung[:, 0], "right": lung[:, -1]}
    rows, columns = np.nonzero(lung)
    centre = ((columns.mean() + 0.5) / _SIDE, (rows.mean() + 0.5) / _SIDE) if len(rows) else (0.5, 0.5)
    return LungField(
        area=float(lung.mean()),
        balance=_balance(mask),
        centre=(float(centre[0]), float(centre[1])),
        cut={edge: float(line.mean()) for edge, line in cut.items()},
    )


def _balance(mask: NDArray[np.uint8]) -> float:
    """By label where two are given, else by components; one wide component is taken for two joined lungs."""
    first, second = float((mask == 1).mean()), float((mask == 2).mean())
    if first > _SPECK and second > _SPECK:
        return min(first, second) / max(first, second)
    _, _, stats, _ = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA] / mask.size
    widths = stats[1:, cv2.CC_STAT_WIDTH] / mask.shape[1]
    real = areas > _SPECK
    largest = np.sort(areas[real])[::-1]
    if len(largest) >= 2:
        return float(largest[1] / largest[0])
    return 1.0 if len(largest) == 1 and float(widths[real][0]) > 0.5 else 0.0
