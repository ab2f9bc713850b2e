"""The lung crop: a window of the film around its lungs, and the way back from what was prepared from it.

A window is whole film pixels, so cutting loses nothing. What is cut then goes through a `Preparation` of any size as a film
would, and `Window.within` joins both steps to one `Placement` on the whole film: boxes, heatmaps and lungs come back by it
as they do without a crop.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.images.mask_parts import without_specks
from hilum.images.placement import Placement

Kind = TypeVar("Kind", bound=np.generic)

LEAST = 0.01  # lungs on less than this share of the film are a finder's error, nothing to cut a film by


@dataclass(frozen=True)
class Window:
    """Columns `left` to `left + width` and rows `top` to `top + height` of a film of (height, width) `film`, in pixels.

    `found`: False where no lungs were found to put a window around, which is then the whole film.
    `clear`: the pixels (height, width) of the film that the model sees, where the others are hidden by what lungs they lie
    far from (`masking`); None: all. It moves nothing, and takes no part in comparisons.
    """

    film: tuple[int, int]
    left: int
    top: int
    width: int
    height: int
    found: bool = True
    clear: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def whole(cls, film: tuple[int, int]) -> Window:
        """All of a film of (height, width), for want of lungs."""
        return cls(film, 0, 0, film[1], film[0], found=False)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in film pixels, edge coordinates."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def cut(self, image: NDArray[Kind]) -> NDArray[Kind]:
        """The window of a film or mask (h, w, ...), a view. Raises ValueError for an image of another size."""
        if image.shape[:2] != self.film:
            raise ValueError(
                f"the window is of a film of {self.film} pixels, the image has {image.shape[:2]}"
            )
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def within(self, prepared: Placement) -> Placement:
        """From the whole film to what `prepared` makes of the window: `window.within(preparation.place((height, width)))`.

        Raises ValueError for the placement of a source of another size.
        """
        if prepared.source != (self.height, self.width):
            raise ValueError(
                f"the window has {(self.height, self.width)} pixels, what was prepared {prepared.source}"
            )
        return replace(
            prepared,
            source=self.film,
            left=prepared.left - self.left * prepared.scale_x,
            top=prepared.top - self.top * prepared.scale_y,
        )

    def mask_to_film(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask (h, w) of any size that covers the window, by nearest neighbour on the film's grid; 0 outside.

        With `cut` and cv2's INTER_NEAREST_EXACT before it, exact for a mask of at least the window's size.
        """
        inside = cv2.resize(mask, (self.width, self.height), interpolation=cv2.INTER_NEAREST_EXACT)
        film = np.zeros(self.film, np.uint8)
        self.cut(film)[...] = inside
        return film


def lung_crop(mask: NDArray[np.uint8], margin: float = 0.05) -> Window | None:
    """The smallest square around the lungs of a mask (h, w), 0 none, any other value lung; None where it holds none.

    `margin`, at least 0: on each side of the lungs, as a share of the longer side of their box. The square is shifted to
    lie inside the film; the margin gives way where the film is too narrow for it, and where the film is too narrow for a
    square of the lungs' longer side, the window is clipped to the film and is no square. All lungs lie in it, but for
    specks (parts under a tenth of the largest one) and lungs on less than `LEAST` of the film, which are taken for none.
    """
    if margin < 0:
        raise ValueError(f"a margin is at least 0, got {margin}")
    lung = without_specks((mask > 0).astype(np.uint8))
    if np.count_nonzero(lung) < max(1.0, LEAST * lung.size):
        return None
    height, width = lung.shape
    x, y, across, down = cv2.boundingRect(lung)
    longest = max(across, down)
    side = max(longest, min(round(longest * (1 + 2 * margin)), height, width))
    left, across = _span(x, across, side, width)
    top, down = _span(y, down, side, height)
    return Window((height, width), left, top, across, down)


def lung_window(mask: NDArray[np.uint8], margin: float = 0.05) -> Window:
    """`lung_crop`, and the whole film where that finds no lungs."""
    return lung_crop(mask, margin) or Window.whole((mask.shape[0], mask.shape[1]))


def _span(start: int, length: int, side: int, limit: int) -> tuple[int, int]:
    """(start, length) of `side` pixels around `length` pixels from `start`, shifted and clipped to 0 ... `limit`."""
    side = min(side, limit)
    return min(max((2 * start + length - side) // 2, 0), limit - side), side
