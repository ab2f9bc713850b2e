"""Boxes as lines on the film: closed polylines in the stored pixel matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.analysis.report import Report
from hilum.clinic.results.source import Source


def outline(box: NDArray[np.floating], report: Report, source: Source) -> NDArray[np.float32]:
    """A box (x1, y1, x2, y2) of the upright film as 5 points (column, row), the last one the first.

    0\\0 is the upper left corner of the first stored pixel and 1\\1 its lower right one, in structured reports (PS3.3
    C.18.6) and in presentation states (C.10.5) as in Hilum's boxes.
    """
    x1, y1, x2, y2 = source.boxes(box, report)[0]
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], np.float32)
