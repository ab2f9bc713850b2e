"""Do heatmaps hang on what the model learnt? Maps before and after its weights are made random (Adebayo 2018).

A method whose maps stay alike when the weights are random draws the film's edges, not the model's reasons: high similarity
is bad. Absolute values are not needed here, as heat below 0 counts as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.ranking import midranks
from hilum.evaluation.saliency import Score, read_heat, summarise_scores

_SIGMA, _RADIUS = 1.5, 5  # the 11 x 11 window of Wang 2004
_STABLE = (0.01**2, 0.03**2)  # its C1 and C2 at a range of 1


@dataclass(frozen=True)
class Similarity:
    """How alike two maps of one film are: 1 is the same, 0 unrelated."""

    spearman: Score
    ssim: Score


@dataclass(frozen=True)
class Randomisation:
    """Similarity of maps before and after randomisation: means over patients, with intervals by patient."""

    spearman: Estimate
    ssim: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: estimate.as_dict() for name, estimate in vars(self).items()}


def randomisation(
    before: Sequence[ArrayLike],
    after: Sequence[ArrayLike],
    patients: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Randomisation:
    """The sanity check over films: each one's map before and after, in the same order."""
    if len(before) != len(after):
        raise EvaluationError(f"{len(before)} maps before beside {len(after)} after cannot be paired")
    pairs = [similarity(one, other) for one, other in zip(before, after, strict=True)]
    summarise = partial(
        summarise_scores, patients=patients, replicates=replicates, seed=seed, confidence=confidence
    )
    return Randomisation(summarise([p.spearman for p in pairs]), summarise([p.ssim for p in pairs]))


def similarity(before: ArrayLike, after: ArrayLike) -> Similarity:
    """Spearman's rank correlation and SSIM of two maps (h, w) of one shape, each first divided by its maximum.

    A map without heat (a method may well give none once the weights are random), or with values that are not finite, gives
    NaN with the reason. Raises EvaluationError where shapes differ or a side has fewer than 11 pixels, SSIM's window.
    """
    (first, why), (second, why_too) = read_heat(before), read_heat(after)
    if first.shape != second.shape or min(first.shape) <= 2 * _RADIUS:
        raise EvaluationError(
            f"maps of {first.shape} and {second.shape} cannot be compared",
            mend=f"Give maps of one shape, each side {2 * _RADIUS + 1} pixels or more.",
        )
    reasons = [f"{note} {when}" for note, when in ((why, "before"), (why_too, "after")) if note]
    if reasons:
        unknown = Score.undefined(" and ".join(reasons))
        return Similarity(unknown, unknown)
    return Similarity(_spearman(first, second), Score(ssim(first / first.max(), second / second.max())))


def ssim(first: Floats, second: Floats) -> float:
    """Mean structural similarity of two images (h, w) in [0, 1], 11 or more pixels a side (Wang 2004, equation 13).

    Gaussian window, sigma 1.5 pixels, 11 x 11; windows that reach over the edge are left out.
    """
    c1, c2 = _STABLE
    mean, mean_too = _local(first), _local(second)
    variance, variance_too = _local(first**2) - mean**2, _local(second**2) - mean_too**2
    covariance = _local(first * second) - mean * mean_too
    alike = (2 * mean * mean_too + c1) * (2 * covariance + c2)
    whole = (mean**2 + mean_too**2 + c1) * (variance + variance_too + c2)
    return float(np.mean(alike / whole))


def _local(values: Floats) -> Floats:
    """The weighted mean in the window around each pixel that has a whole one."""
    inner = slice(_RADIUS, -_RADIUS)
    return np.asarray(gaussian_filter(values, _SIGMA, radius=_RADIUS), np.float64)[inner, inner]


def _spearman(first: Floats, second: Floats) -> Score:
    ranks, others = (midranks(values.ravel()) - (values.size + 1) / 2 for values in (first, second))
    scale = float(np.sqrt((ranks @ ranks) * (others @ others)))
    if scale == 0:
        return Score.undefined("a map of one value has no ranks")
    return Score(float(ranks @ others) / scale)
