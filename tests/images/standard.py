"""PS3.3 C.7.6.3, C.11.1, C.11.2 and C.11.6 written out step by step: the judge of the greyscale matrix.

One plain function over the stored values of a film whose header it is told. Nothing here is shared with the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """`entries[i]` is the output for the input `first + i`; entries have `bits` bits."""

    entries: Sequence[int]
    first: int
    bits: int


@dataclass(frozen=True)
class Header:
    photometric: str = "MONOCHROME2"
    shape: str | None = None
    slope: float = 1.0
    intercept: float = 0.0
    modality: Table | None = None
    window: tuple[float, float, str] | None = None
    voi: Table | None = None


def looked_up(x: float, table: Table) -> float:
    """C.11.1.1.1 and C.11.2.1.1: inputs below the first take the first entry, above the last the last."""
    if x < table.first:
        return table.entries[0]
    if x > table.first + len(table.entries) - 1:
        return table.entries[-1]
    return table.entries[round(x) - table.first]


def windowed(x: float, c: float, w: float, function: str) -> float:
    """C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT) with y from 0 to 1."""
    if function == "LINEAR":
        if x <= c - 0.5 - (w - 1) / 2:
            return 0.0
        if x > c - 0.5 + (w - 1) / 2:
            return 1.0
        return (x - (c - 0.5)) / (w - 1) + 0.5
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        if x > c + w / 2:
            return 1.0
        return (x - c) / w + 0.5
    return 1 / (1 + math.exp(-4 * (x - c) / w))


def shown(stored: NDArray[np.int64], header: Header) -> NDArray[np.float64]:
    """What a reader sees, 0 black to 1 white."""
    unique = [int(v) for v in np.unique(stored)]
    after_modality = [
        looked_up(v, header.modality) if header.modality else header.slope * v + header.intercept
        for v in unique
    ]
    low, high = min(after_modality), max(after_modality)
    out = {}
    for v, x in zip(unique, after_modality, strict=True):
        if header.voi is not None:
            y = looked_up(x, header.voi) / (2**header.voi.bits - 1)
        elif header.window is not None:
            y = windowed(x, *header.window)
        else:  # no VOI: the film's own range
            y = (x - low) / (high - low)
        # C.11.6.1.2: the shape decides where it is present; else C.7.6.3.1.2.
        inverse = header.photometric == "MONOCHROME1" if header.shape is None else header.shape == "INVERSE"
        if inverse:
            y = 1 - y
        out[v] = y
    return np.vectorize(out.__getitem__, otypes=[np.float64])(stored)
