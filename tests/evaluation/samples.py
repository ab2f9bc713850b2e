"""Made-up truth, scores and patients for the tests of this room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def labelled(
    n: int = 300, labels: int = 3, *, unknown: float = 0.0, decimals: int = 2, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Truth (n, labels), scores (n, labels) in [0, 1] with ties, and patients of a few films."""
    random = np.random.default_rng(seed)
    patients = np.sort(random.integers(0, max(1, n // 2), n))
    risk = random.normal(size=(patients.max() + 1, labels))[patients]
    truth = (risk + random.normal(size=(n, labels)) > 1.2).astype(np.float64)
    logit = 1.1 * truth + 0.8 * risk + random.normal(size=(n, labels)) - 1
    truth[random.random((n, labels)) < unknown] = np.nan
    return truth, np.round(1 / (1 + np.exp(-logit)), decimals), patients
