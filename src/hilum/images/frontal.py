"""Does a picture look like an upright frontal chest film? A small learnt check on a 64 x 64 thumbnail.

The check is a mean over a few four-layer convolutional networks (about 30,000 weights each) evaluated in
NumPy, so that this floor needs no torch. `frontal.safetensors` beside this file holds the weights and
`frontal.json` says on which films they were fitted, by which command, with which licence, and what was
measured on films kept out.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

Pixels = NDArray[np.float32]

SIDE = 64
KINDS = ("frontal", "lateral", "turned", "inverted", "partial", "other")
_WORKING_SIDE = 128  # borders are searched, and thumbnails are cut, at this size
_LAYERS = 4


def thumbnail(pixels: Pixels) -> Pixels:
    """Film float32 (h, w) in [0, 1] to float32 (64, 64) in [-1, 1].

    Flat borders are trimmed, the rest is squashed, percentiles 1 and 99 come to lie at -1 and 1.
    """
    height, width = pixels.shape
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    small = pixels
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    square = cv2.resize(trim_borders(small), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(square, [1, 99])
    return np.clip((square - low) / max(high - low, 1e-3) * 2 - 1, -1, 1).astype(np.float32)


def trim_borders(pixels: Pixels, tolerance: float = 0.06) -> Pixels:
    """The picture without flat borders (black or white bars, unexposed film, letterboxing).

    A row or column is flat where its 5th and 95th percentiles differ by less than `tolerance` of the
    picture's own range. Where less than a third of a side would be left, that side stays as it is.
    """
    low, high = np.percentile(pixels, [1, 99])
    for axis in (0, 1):
        across = np.percentile(pixels, [5, 95], axis=1 - axis)
        busy = np.flatnonzero(across[1] - across[0] >= tolerance * max(high - low, 1e-3))
        if len(busy) and 3 * (busy[-1] + 1 - busy[0]) >= pixels.shape[axis]:
            pixels = pixels[busy[0] : busy[-1] + 1] if axis == 0 else pixels[:, busy[0] : busy[-1] + 1]
    return pixels


def looks_like(pixels: Pixels) -> dict[str, float]:
    """Probability of each of `KINDS` for a film float32 (h, w) in [0, 1]; they sum to 1."""
    probabilities = forward(thumbnail(pixels), weights())
    return {kind: float(p) for kind, p in zip(KINDS, probabilities, strict=True)}


def forward(thumb: Pixels, tensors: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    """Mean softmax over the networks in `tensors`, for one thumbnail (64, 64); returns (len(KINDS),)."""
    total = np.zeros(len(KINDS))
    members = sum(name.endswith(".head.weight") for name in tensors)
    for member in range(members):
        x = thumb[None]
        for layer in range(_LAYERS):
            name = f"{member}.conv{layer}"
            x = np.maximum(_convolve(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"]), 0)
        logits = tensors[f"{member}.head.weight"] @ x.ravel() + tensors[f"{member}.head.bias"]
        odds = np.exp(logits.astype(np.float64) - logits.max())
        total += odds / odds.sum()
    return total / members


@lru_cache(maxsize=1)
def weights() -> dict[str, NDArray[np.float32]]:
    """The shipped tensors by name, as float32."""
    stored = load(files("hilum.images").joinpath("frontal.safetensors").read_bytes())
    return {name: tensor.astype(np.float32) for name, tensor in stored.items()}


@lru_cache(maxsize=1)
def provenance() -> dict[str, Any]:
    """The content of `frontal.json`: how the weights were fitted, what was measured, the thresholds."""
    record: dict[str, Any] = json.loads(files("hilum.images").joinpath("frontal.json").read_text("utf-8"))
    return record


def _convolve(x: Pixels, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Pixels:
    """A 3 x 3 convolution (c, h, w) to (c', h / 2, w / 2) with stride 2 and zero padding 1."""
    channels, height, width = x.shape
    padded = np.zeros((channels, height + 2, width + 2), np.float32)
    padded[:, 1:-1, 1:-1] = x
    patches = np.empty((channels, 3, 3, height // 2, width // 2), np.float32)
    for row in range(3):
        for column in range(3):
            patches[:, row, column] = padded[:, row : row + height : 2, column : column + width : 2]
    out = weight.reshape(len(weight), -1) @ patches.reshape(channels * 9, -1) + bias[:, None]
    return out.reshape(-1, height // 2, width // 2)
