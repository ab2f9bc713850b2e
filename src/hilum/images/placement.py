"""Where a prepared image lies in its source: exact arithmetic between the two pixel grids."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        fx = values.shape[1] / self.prepared[1]
        fy = values.shape[0] / self.prepared[0]
        # cv2.warpAffine wants source-from-destination in pixel-centre coordinates.
        matrix = np.array(
            [
                [self.scale_x * fx, 0.0, (0.5 * self.scale_x + self.left) * fx - 0.5],
                [0.0, self.scale_y * fy, (0.5 * self.scale_y + self.top) * fy - 0.5],
            ]
        )
        height, width = self.source
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(values, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE),
            np.float32,
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

    def _scale_shift(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scale = np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y])
        shift = np.array([self.left, self.top, self.left, self.top])
        return scale, shift
