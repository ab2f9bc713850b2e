"""Colour images in strips of rows: a whole one in floating point would take many times the memory of its file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRIP = 2**18  # pixels in work at once: a few MB whatever is made of them


class Rows(Protocol):
    """What has rows of RGB: an array (h, w, 3) of uint8 or uint16, or `Strips`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __getitem__(self, rows: slice, /) -> NDArray: ...


def strips_of(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an image of this shape (h, w, ...), from top to bottom, about `STRIP` pixels at a time."""
    height, width = shape[:2]
    step = max(1, STRIP // max(1, width))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


@dataclass(frozen=True)
class Strips:
    """A colour image that Pillow holds, whose rows are made when they are asked for: RGB, what is transparent black.

    Attributes
    ----------
    high: RGB or RGBA; all of an 8-bit image, the high bytes of a 16-bit one, for which Pillow has no mode.
    low: the low bytes of a 16-bit image, or None.
    key: the one colour of a 16-bit image that is transparent (PNG 11.3.1.1), or None.
    packed: `high` is 16-bit grey and alpha, two bytes each in the place of RGBA's four.
    """

    high: Image.Image
    low: Image.Image | None = None
    key: tuple[int, ...] | None = None
    packed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.high.height, self.high.width, 3

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint16 if self.packed or self.low is not None else np.uint8)

    @property
    def transparent(self) -> bool:
        """Whether any pixel is less than opaque."""
        if self.key is None and self.high.mode != "RGBA":
            return False
        top = np.iinfo(self.dtype).max
        return any(int(self._stored(rows)[..., 3].min()) < top for rows in strips_of(self.shape))

    def __getitem__(self, rows: slice, /) -> NDArray[np.unsignedinteger]:
        stored = self._stored(rows)
        top = np.iinfo(self.dtype).max
        if stored.shape[2] == 3 or int(stored[..., 3].min()) == top:
            return stored[..., :3]
        share = stored[..., 3:].astype(np.float32) / top
        return np.rint(stored[..., :3].astype(np.float32) * share).astype(self.dtype)

    def _stored(self, rows: slice) -> NDArray[np.unsignedinteger]:
        """(n, w, 3) or (n, w, 4) as the file has them."""
        top, bottom, _ = rows.indices(self.high.height)
        box = (0, top, self.high.width, bottom)
        values: NDArray[np.unsignedinteger] = np.asarray(self.high.crop(box))
        if self.packed:
            return values.view(">u2")[..., [0, 0, 0, 1]].astype(np.uint16)
        if self.low is not None:
            values = values.astype(np.uint16) << 8 | np.asarray(self.low.crop(box))
        if self.key is not None:
            alpha = np.where((values == np.array(self.key)).all(2), 0, 65535).astype(np.uint16)
            values = np.dstack([values, alpha])
        return values
