"""How well a mask covers the truth: Dice, IoU, and distances between outlines. Two-dimensional boolean masks.

Conventions
-----------
Ignored pixels belong to neither mask and to no count; outline points that touch them are not measured from.
Both masks empty: everything is NaN (nothing to find, nothing found: 0/0), except the specificity.
One mask empty: Dice and IoU are 0 and distances are NaN, for there is no outline to measure to; a summary
counts such films in its note, so that a missed lung cannot hide behind good distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Bools, Floats, as_clusters
from hilum.evaluation.bootstrap import REPLICATES, mean_over_patients
from hilum.evaluation.estimate import NAN, Estimate

EMPTY = "the mask is empty (Dice is 0 where anything was found)"
IGNORED = "the mask is ignored throughout (there is no Dice either)"
MISSED = "nothing was found (Dice is 0)"


@dataclass(frozen=True)
class OverlapScores:
    """One film's scores; each NaN where undefined (see the module's conventions).

    `hausdorff95` is the greater of the two directed 95th percentiles of outline distances, `surface_distance`
    the mean over the points of both outlines (average symmetric surface distance); both in the unit of
    `spacing`.
    """

    dice: float
    iou: float
    sensitivity: float
    specificity: float
    hausdorff95: float
    surface_distance: float


@dataclass(frozen=True)
class OverlapSummary:
    """Mean over patients (of each patient's mean over films), with an interval from drawing patients."""

    dice: Estimate
    iou: Estimate
    sensitivity: Estimate
    specificity: Estimate
    hausdorff95: Estimate
    surface_distance: Estimate
    films: int
    patients: int
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {k: v.as_dict() if isinstance(v, Estimate) else v for k, v in vars(self).items()}

    def table(self) -> list[dict[str, Any]]:
        """One row a metric, for printing."""
        measured = {k: v for k, v in vars(self).items() if isinstance(v, Estimate)}
        return [{"metric": name, **estimate.as_dict()} for name, estimate in measured.items()]


def dice(truth: ArrayLike, predicted: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """2 |A and B| / (|A| + |B|) (Dice 1945), of masks (h, w); `ignore` marks pixels left out."""
    actual, found = _masks(truth, predicted, ignore)
    return _ratio(2 * np.sum(actual & found), np.sum(actual) + np.sum(found))


def iou(truth: ArrayLike, predicted: ArrayLike, ignore: ArrayLike | None = None) -> float:
    """|A and B| / |A or B| (Jaccard)."""
    actual, found = _masks(truth, predicted, ignore)
    return _ratio(np.sum(actual & found), np.sum(actual | found))


def overlap_scores(
    truth: ArrayLike,
    predicted: ArrayLike,
    ignore: ArrayLike | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> OverlapScores:
    """All scores of one film.

    Parameters
    ----------
    truth, predicted: (h, w), read as booleans.
    ignore: (h, w), true where the truth is not known (such as the value 127 of the V7 masks).
    spacing: row and column spacing in mm; (1, 1) gives distances in pixels.
    """
    actual, found = _masks(truth, predicted, ignore)
    outside = ~actual if ignore is None else ~(actual | np.asarray(ignore, bool))
    both = int(np.sum(actual & found))
    there, back = surface_distances(truth, predicted, ignore, spacing)
    measurable = len(there) > 0 and len(back) > 0
    return OverlapScores(
        dice=_ratio(2 * both, np.sum(actual) + np.sum(found)),
        iou=_ratio(both, np.sum(actual | found)),
        sensitivity=_ratio(both, np.sum(actual)),
        specificity=_ratio(np.sum(outside & ~found), np.sum(outside)),
        hausdorff95=float(max(np.percentile(there, 95), np.percentile(back, 95))) if measurable else NAN,
        surface_distance=float(np.concatenate([there, back]).mean()) if measurable else NAN,
    )


def surface_distances(
    truth: ArrayLike,
    predicted: ArrayLike,
    ignore: ArrayLike | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> tuple[Floats, Floats]:
    """Distances from each outline point of the truth to the prediction's outline, and back; in units of
    `spacing`.

    The outline is the mask's pixels with a 4-neighbour outside it; beyond the image's edge is outside. Both
    are empty where a mask is.
    """
    actual, found = _masks(truth, predicted, ignore)
    if not actual.any() or not found.any():
        return np.empty(0), np.empty(0)
    either = actual | found
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    # Every outline point lies in the box around both masks, so distances within it are exact, and cheaper.
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    outline, other = _outline(actual[box]), _outline(found[box])
    measured = np.ones(outline.shape, bool)
    if ignore is not None:
        measured = ~binary_dilation(np.asarray(ignore, bool))[box]
    to_other = distance_transform_edt(~other, sampling=spacing)
    to_outline = distance_transform_edt(~outline, sampling=spacing)
    return to_other[outline & measured], to_outline[other & measured]


def summarise_overlap(
    scores: Sequence[OverlapScores],
    patients: ArrayLike | None = None,
    *,
    unit: str = "pixel",
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> OverlapSummary:
    """Means over patients with clustered bootstrap intervals; `unit` names that of distances ("mm")."""
    if not scores:
        raise EvaluationError("no films to summarise")
    _, count = as_clusters(patients, len(scores))
    estimates = {
        field.name: mean_over_patients(
            [getattr(score, field.name) for score in scores],
            patients,
            replicates=replicates,
            seed=seed,
            confidence=confidence,
        )
        for field in fields(OverlapScores)
    }
    return OverlapSummary(**estimates, films=len(scores), patients=count, unit=unit)


def without_outline(scores: Sequence[OverlapScores]) -> dict[str, list[int]]:
    """Which films have no outline to measure from or to: a reason each, and the positions of its films in `scores`.

    Told by the scores alone: of an empty mask there is no sensitivity, of one that is ignored throughout no specificity
    either; nothing found is a sensitivity of 0 beside no false pixel.
    """
    found: dict[str, list[int]] = {EMPTY: [], IGNORED: [], MISSED: []}
    for at, score in enumerate(scores):
        if np.isnan(score.sensitivity):
            found[IGNORED if np.isnan(score.specificity) else EMPTY].append(at)
        elif score.sensitivity == 0 and (np.isnan(score.specificity) or score.specificity == 1):
            found[MISSED].append(at)
    return {why: films for why, films in found.items() if films}


def _masks(truth: ArrayLike, predicted: ArrayLike, ignore: ArrayLike | None) -> tuple[Bools, Bools]:
    actual, found = np.asarray(truth, bool), np.asarray(predicted, bool)
    if actual.ndim != 2 or actual.shape != found.shape:
        raise EvaluationError(f"masks of shape {actual.shape} and {found.shape} cannot be compared")
    if ignore is None:
        return actual, found
    left_out = np.asarray(ignore, bool)
    if left_out.shape != actual.shape:
        raise EvaluationError(f"the ignore mask is {left_out.shape}, the masks are {actual.shape}")
    return actual & ~left_out, found & ~left_out


def _outline(mask: Bools) -> Bools:
    return mask & ~binary_erosion(mask)


def _ratio(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else NAN
