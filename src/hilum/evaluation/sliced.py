"""Sliced Wasserstein distance: how far apart two sets of points lie, cheap enough to be taken each epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError


def sliced_wasserstein(first: ArrayLike, second: ArrayLike, directions: int = 256, seed: int = 0) -> float:
    """The mean, over random directions, of the Wasserstein-1 distance between two sets laid on a line (Rabin 2011).

    `first`, `second`: (n, d) each, of as many points. Each direction is a unit vector, drawn with `seed`.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 2 or not a.size:
        raise EvaluationError(
            f"two sets of points of shapes {a.shape} and {b.shape}; the same (n, d) is wanted"
        )
    axes = np.random.default_rng(seed).normal(size=(a.shape[1], directions))
    axes /= np.linalg.norm(axes, axis=0)
    return float(np.abs(np.sort(a @ axes, axis=0) - np.sort(b @ axes, axis=0)).mean())
