"""Upright: head at the top, the patient's left at the viewer's right, where a header says otherwise clearly.

PS3.3 C.7.6.1.1.1: Patient Orientation names the direction of the rows (left to right) and of the columns (top to
bottom). A frontal film is L\\F. Field of View Rotation and Horizontal Flip relate to the detector, not to the
patient, and tell nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hilum.images.dicom_header import values
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

    def undo(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Upright pixels (h, w) as they are stored: the inverse of calling it."""
        out = pixels[:: -1 if self.flip_vertical else 1, :: -1 if self.flip_horizontal else 1]
        return np.ascontiguousarray(out.T if self.transpose else out)

    def undo_boxes(self, boxes: NDArray[np.floating], height: int, width: int) -> NDArray[np.float64]:
        """Boxes (n, 4) as x1, y1, x2, y2 in pixels of the upright film of `height` and `width`, in stored pixels."""
        x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
        if self.flip_horizontal:
            x1, x2 = width - x2, width - x1
        if self.flip_vertical:
            y1, y2 = height - y2, height - y1
        return np.stack([y1, x1, y2, x2] if self.transpose else [x1, y1, x2, y2], axis=1)

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


def turn_of(dataset: Dataset) -> Turn | None:
    """The turn that a film's header asks for: `turn_to_upright` of its Patient Orientation."""
    orientation = orientation_of(dataset)
    return turn_to_upright(*orientation) if orientation is not None else None


def orientation_of(dataset: Dataset) -> tuple[str, str] | None:
    """The two values of Patient Orientation in upper case, or None where there are not two."""
    found = [str(v).upper() for v in values(dataset, "PatientOrientation")]
    return (found[0], found[1]) if len(found) == 2 else None


def turn_notice(rows: str, columns: str) -> Notice:
    return Notice(
        "turned",
        f"The header's patient orientation is {rows}\\{columns}; the pixels were turned to L\\F. "
        "Positions in this report refer to the turned film.",
    )
