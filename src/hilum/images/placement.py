"""Where a prepared image lies in its source: exact arithmetic between the two pixel grids."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Placement:
    """An axis-aligned map between a source image and the prepared image cut from it.

    A source point (x, y), in pixel-edge coordinates (0 is the left edge of the first pixel), lies at
    `(x * scale_x + left, y * scale_y + top)` in the prepared image.

    Attributes
    ----------
    source: (height, width) of the source in pixels.
    prepared: (height, width) of the prepared image in pixels.
    scale_x, scale_y: prepared pixels a source pixel.
    left, top: prepared pixels; positive where the source was padded, negative where it was cropped.
    """

    source: tuple[int, int]
    prepared: tuple[int, int]
    scale_x: float
    scale_y: float
    left: float
    top: float

    def boxes_to_prepared(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Boxes (n, 4) as x1, y1, x2, y2 in source pixels, in prepared pixels (not clipped)."""
        scale, shift = self._scale_shift()
        return np.asarray(boxes, np.float64).reshape(-1, 4) * scale + shift

    def boxes_to_source(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `boxes_to_prepared`."""
        scale, shift = self._scale_shift()
        return (np.asarray(boxes, np.float64).reshape(-1, 4) - shift) / scale

    def map_to_source(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """A map on the prepared grid at any resolution, (h, w), interpolated to (height, width) of the source.

        The map is taken to cover the whole prepared image. Source pixels that the preparation cropped away get the
        value at the nearest edge.
        """
        values = np.ascontiguousarray(values, np.float32)
        height, width = self.source
        own = self._own_cells(values.shape[0], values.shape[1])
        if own is None:
            return self._warped(values, slice(0, height), slice(0, width))
        # Faster than warping, and the same but for half a cell at an edge beyond which the map goes on.
        out = np.asarray(cv2.resize(values[own], (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        rows, columns = own
        y = ceil(height / (rows.stop - rows.start) / 2)
        x = ceil(width / (columns.stop - columns.start) / 2)
        everywhere = slice(None)
        for needed, strip in (
            (rows.start > 0, (slice(0, y), everywhere)),
            (rows.stop < values.shape[0], (slice(height - y, height), everywhere)),
            (columns.start > 0, (everywhere, slice(0, x))),
            (columns.stop < values.shape[1], (everywhere, slice(width - x, width))),
        ):
            if needed:
                out[strip] = self._warped(values, *strip)
        return out

    def _warped(self, values: NDArray[np.float32], rows: slice, columns: slice) -> NDArray[np.float32]:
        """`map_to_source` of the source's `rows` and `columns` alone."""
        top, bottom, _ = rows.indices(self.source[0])
        left, right, _ = columns.indices(self.source[1])
        fx = values.shape[1] / self.prepared[1]
        fy = values.shape[0] / self.prepared[0]
        # cv2.warpAffine wants source-from-destination in pixel-centre coordinates.
        matrix = np.array(
            [
                [self.scale_x * fx, 0.0, ((left + 0.5) * self.scale_x + self.left) * fx - 0.5],
                [0.0, self.scale_y * fy, ((top + 0.5) * self.scale_y + self.top) * fy - 0.5],
            ]
        )
        size = right - left, bottom - top
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(values, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
        )

    def reduced(self, longest: int) -> Placement:
        """The same placement for the same source drawn with at most `longest` pixels a side."""
        height, width = self.source
        share = min(1.0, longest / max(height, width))
        small = max(1, round(height * share)), max(1, round(width * share))
        return replace(
            self,
            source=small,
            scale_x=self.scale_x * width / small[1],
            scale_y=self.scale_y * height / small[0],
        )

    def _own_cells(self, rows: int, columns: int) -> tuple[slice, slice] | None:
        """The cells of a map of so many that the source fills; None where it begins or ends within one, or was cropped."""
        fy, fx = rows / self.prepared[0], columns / self.prepared[1]
        top, left = self.top * fy, self.left * fx
        bottom, right = top + self.source[0] * self.scale_y * fy, left + self.source[1] * self.scale_x * fx
        ends = np.array([top, bottom, left, right])
        whole = np.rint(ends).astype(int)
        if (
            np.abs(ends - whole).max() > 1e-6
            or min(top, left) < -1e-6
            or whole[1] > rows
            or whole[3] > columns
        ):
            return None
        return slice(whole[0], whole[1]), slice(whole[2], whole[3])

    def _scale_shift(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scale = np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y])
        shift = np.array([self.left, self.top, self.left, self.top])
        return scale, shift
