"""Upright: head at the top, the patient's left at the viewer's right, where a header says otherwise clearly.

PS3.3 C.7.6.1.1.1: Patient Orientation names the direction of the rows (left to right) and of the columns (top to
bottom). A frontal film is L\\F. Field of View Rotation and Horizontal Flip relate to the detector, not to the
patient, and tell nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.images.radiograph import Notice


@dataclass(frozen=True)
class Turn:
    """Transpose first, then mirror rows and columns."""

    transpose: bool
    flip_vertical: bool
    flip_horizontal: bool

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        out = pixels.T if self.transpose else pixels
        out = out[:: -1 if self.flip_vertical else 1, :: -1 if self.flip_horizontal else 1]
        return np.ascontiguousarray(out)

    def spacing(self, spacing: tuple[float, float] | None) -> tuple[float, float] | None:
        return (spacing[1], spacing[0]) if spacing is not None and self.transpose else spacing


def turn_to_upright(rows: str, columns: str) -> Turn | None:
    """The turn that makes a frontal film L\\F, or None where it is upright or the letters do not say.

    `rows` and `columns`: the two values of Patient Orientation. Oblique ones (`LF`) and laterals (`A`, `P`) are left.
    """
    across, down = rows.strip(), columns.strip()
    transpose = across in ("H", "F") and down in ("L", "R")
    if transpose:
        across, down = down, across
    if across not in ("L", "R") or down not in ("H", "F"):
        return None
    turn = Turn(transpose, flip_vertical=down == "H", flip_horizontal=across == "R")
    return turn if turn != Turn(False, False, False) else None


def turn_notice(rows: str, columns: str) -> Notice:
    return Notice(
        "turned",
        f"The header's patient orientation is {rows}\\{columns}; the pixels were turned to L\\F. "
        "Positions in this report refer to the turned film.",
    )
