"""The greyscale chain of PS3.3: stored values to what a reader is shown, in the one right order.

stored values -> mask to Bits Stored -> sign -> padding set aside -> Modality LUT or rescale (C.11.1) -> VOI LUT or
window (C.11.2) -> presentation (C.11.6, C.7.6.3.1.2) -> float32 in [0, 1], bone white.

Every step works on one value at a time and stored values have at most 16 bits, so the chain is worked out once for
each value that a pixel can hold, in float64, and the film is looked up in that table.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Coding:
    """Where the value lies in its container: `bits` of it below and including bit `high` (0 is the lowest)."""

    bits: int
    high: int
    signed: bool


@dataclass(frozen=True)
class Rescale:
    """C.11.1.1.2: output = slope * stored + intercept."""

    slope: float
    intercept: float

    def __call__(self, x: Table) -> Table:
        return x * self.slope + self.intercept


@dataclass(frozen=True)
class Lut:
    """C.11.1.1.1, C.11.2.1.1: `first` is the input that the first entry stands for; inputs outside get the end entries.

    `bits` is the width of an entry. Inputs that a rescale left between two integers take the nearest entry.
    """

    entries: NDArray[np.uint16]
    first: int
    bits: int

    def __call__(self, x: Table) -> Table:
        index = np.clip(np.rint(x) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index].astype(np.float64)


@dataclass(frozen=True)
class Window:
    """C.11.2.1.2, C.11.2.1.3; `function` is LINEAR, LINEAR_EXACT or SIGMOID. Gives values in [0, 1]."""

    centre: float
    width: float
    function: str = "LINEAR"

    @property
    def valid(self) -> bool:
        least = self.width >= 1 if self.function == "LINEAR" else self.width > 0
        return bool(np.isfinite([self.centre, self.width]).all() and least)

    def over(self, low: float, high: float, inverted: bool) -> tuple[float, float]:
        """(centre, width) of a LINEAR or LINEAR_EXACT window where `low` counts as 0 and `high` as 1, or the other way round
        where `inverted`; (0.5, 1) where they are equal. A window of one value has a tenth of its width, for a step."""
        if high <= low:
            return 0.5, 1.0
        exact = self.function == "LINEAR_EXACT"
        centre = self.centre if exact else self.centre - 0.5
        width = self.width if exact else max(0.1, self.width - 1)
        at = (centre - low) / (high - low)
        return 1 - at if inverted else at, width / (high - low)

    def __call__(self, x: Table) -> Table:
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (x - self.centre) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((x - self.centre) / self.width + 0.5, 0, 1)
        low = self.centre - 0.5 - (self.width - 1) / 2
        if self.width == 1:
            return (x > low).astype(np.float64)
        return np.clip((x - low) / (self.width - 1), 0, 1)


@dataclass(frozen=True)
class Chain:
    """`padding`: (low, high) of stored values, inclusive, that are no image. `inverted`: small values are white."""

    coding: Coding
    modality: Rescale | Lut | None = None
    voi: Window | Lut | None = None
    inverted: bool = False
    padding: tuple[int, int] | None = None


@dataclass(frozen=True)
class Rendered:
    """`pixels` float32 (h, w) in [0, 1], bone white; `padded`: the share of pixels that are padding, in [0, 1]; `ends`: the
    outputs of the modality step that became 0 and 1 (1 and 0 where inverted), where no window or LUT decided."""

    pixels: NDArray[np.float32]
    padded: float
    ends: tuple[float, float] = (0.0, 0.0)


def render(stored: NDArray[np.unsignedinteger], chain: Chain) -> Rendered:
    """Containers uint8 or uint16 (h, w), as decoded, through the chain.

    Without a window or VOI LUT the lowest and the highest value of the film, padding left out, become 0 and 1. (The
    standard then shows the full range that Bits Stored allows; headers that promise 16 bits and fill 12 would turn
    black, and on films that fill their range both are the same.) Padding is black after presentation.
    """
    levels = 1 << (8 * stored.dtype.itemsize)
    values = _stored_values(levels, chain.coding)
    padding = np.zeros(levels, np.bool_)
    counts = None
    if chain.padding is not None:
        padding = (values >= chain.padding[0]) & (values <= chain.padding[1])
    if chain.padding is not None or chain.voi is None:
        counts = cv2.calcHist([np.ascontiguousarray(stored)], [0], None, [levels], [0, levels]).ravel()

    modality = chain.modality(values) if chain.modality is not None else values
    ends = 0.0, 0.0
    if isinstance(chain.voi, Lut):
        shown = chain.voi(modality) / ((1 << chain.voi.bits) - 1)
    elif chain.voi is not None:
        shown = chain.voi(modality)
    else:
        assert counts is not None
        shown, ends = _full_range(modality, (counts > 0) & ~padding)
    shown = np.clip(shown, 0, 1)
    table = np.where(padding, 0, 1 - shown if chain.inverted else shown).astype(np.float32)
    padded = float(counts[padding].sum() / stored.size) if counts is not None else 0.0
    return Rendered(_look_up(stored, table), padded, ends)


def modality_range(chain: Chain, levels: int) -> tuple[float, float]:
    """Lowest and highest output of the modality step that stored values can reach."""
    values = _stored_values(levels, chain.coding)
    out = chain.modality(values) if chain.modality is not None else values
    return float(out.min()), float(out.max())


def _stored_values(levels: int, coding: Coding) -> Table:
    """The value that each container 0 .. levels - 1 holds: shifted, masked and signed."""
    span = 1 << coding.bits
    values = (np.arange(levels) >> (coding.high + 1 - coding.bits)) & (span - 1)
    if coding.signed:
        values = values - np.where(values >= span // 2, span, 0)
    return values.astype(np.float64)


def _look_up(stored: NDArray[np.unsignedinteger], table: NDArray[np.float32]) -> NDArray[np.float32]:
    if stored.dtype == np.uint8 or _WIDE_LUT:
        return cv2.LUT(stored, table).astype(np.float32, copy=False)
    return table.take(stored)


def _has_wide_lut() -> bool:
    """OpenCV 5 looks up 16-bit values, four times as fast as NumPy; OpenCV 4 refuses them."""
    try:
        cv2.LUT(np.zeros((1, 1), np.uint16), np.zeros(65536, np.float32))
    except cv2.error:
        return False
    return True


_WIDE_LUT = _has_wide_lut()


def _full_range(values: Table, present: NDArray[np.bool_]) -> tuple[Table, tuple[float, float]]:
    if not present.any():
        return np.zeros_like(values), (0.0, 0.0)
    low, high = float(values[present].min()), float(values[present].max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values), (low, high)
