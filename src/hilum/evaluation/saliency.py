"""How well a heatmap lies where it should: inside the lungs, on a lesion. Arrays (h, w) of one film in, numbers out.

Conventions
-----------
Heat below 0 is evidence against and counts as none. Ignored pixels hold no heat, belong to no mask and to no count.
What cannot be measured is NaN with a reason, never 0: a heatmap without heat, one with values that are not finite, an
empty mask, a film of which every pixel is ignored. A summary leaves such films out and counts them by reason in its note.
Some findings lie outside the lungs by nature (a large heart, a hernia): a low share of heat in the lungs is then right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Bools, Floats
from hilum.evaluation.bootstrap import REPLICATES, mean_over_patients
from hilum.evaluation.estimate import NAN, Estimate, proportion
from hilum.evaluation.overlap import iou

NOT_FINITE = "heatmap with values that are not finite"
NO_HEAT = "heatmap without heat"
EMPTY_MASK = "empty mask"
ALL_IGNORED = "every pixel ignored"


@dataclass(frozen=True)
class Score:
    """What was measured of one film: NaN, with the reason in `note`, where nothing could be."""

    value: float
    note: str = ""

    @classmethod
    def undefined(cls, note: str) -> Score:
        return cls(NAN, note)


def energy(heatmap: ArrayLike, mask: ArrayLike, ignore: ArrayLike | None = None) -> Score:
    """The share of the heat (its sum) inside the mask, 0 to 1: the energy-based pointing game (Score-CAM, Wang 2020).

    Parameters
    ----------
    heatmap: (h, w), any scale.
    mask: (h, w), read as booleans: lungs, a lesion, or boxes (`box_mask`).
    ignore: (h, w), true where it is not known whether the mask holds (such as the value 127 of the V7 masks).

    Raises EvaluationError where the shapes differ.
    """
    heat, inside, note = _read(heatmap, mask, ignore)
    if note:
        return Score.undefined(note)
    scaled = heat / heat.max()  # sums of a float's largest values would overflow
    # Summed in the same order as all of it, so that rounding gives no share above 1.
    within = np.where(inside, scaled, 0)
    return Score(float(within.sum() / scaled.sum()))


def pointing(
    heatmap: ArrayLike, mask: ArrayLike, ignore: ArrayLike | None = None, *, tolerance: float = 15.0
) -> Score:
    """The pointing game (excitation backprop, Zhang 2018): 1 where the hottest pixel lies in the mask, or near it, else 0.

    Parameters
    ----------
    tolerance: how far from the mask's nearest pixel still hits, in pixels between centres; Zhang takes 15.

    Where several pixels are the hottest, it is the share of them that hit: the chance of a hit, were one drawn.
    """
    if not tolerance >= 0:
        raise EvaluationError(f"a tolerance of {tolerance:g} pixels", mend="Give 0 or more pixels.")
    heat, inside, note = _read(heatmap, mask, ignore)
    if note:
        return Score.undefined(note)
    peaks = heat == heat.max()
    return Score(float(np.mean(distance_transform_edt(~inside)[peaks] <= tolerance)))


def iou_at_maximum(
    heatmap: ArrayLike, mask: ArrayLike, ignore: ArrayLike | None = None, *, share: float
) -> Score:
    """IoU of the mask with the pixels that hold at least `share` (above 0, to 1) of the map's maximum."""
    _check_share(share)
    heat, inside, note = _read(heatmap, mask, ignore)
    if note:
        return Score.undefined(note)
    return Score(iou(inside, heat >= share * heat.max(), ignore))


def iou_at_area(
    heatmap: ArrayLike, mask: ArrayLike, ignore: ArrayLike | None = None, *, share: float
) -> Score:
    """IoU of the mask with the hottest `share` (above 0, to 1) of the pixels that are not ignored.

    The number of pixels is rounded, at least one. Pixels as hot as the last of them are in too; those without heat never.
    """
    _check_share(share)
    heat, inside, note = _read(heatmap, mask, ignore)
    if note:
        return Score.undefined(note)
    known = heat.size if ignore is None else int(np.sum(~np.asarray(ignore, bool)))
    kept = max(1, round(share * known))
    last = np.partition(heat, heat.size - kept, axis=None)[heat.size - kept]
    return Score(iou(inside, (heat >= last) & (heat > 0), ignore))


def box_mask(boxes: ArrayLike, shape: tuple[int, int]) -> Bools:
    """Boxes (n, 4) as x1, y1, x2, y2 on pixel edges to the pixels (h, w) = `shape` whose centre lies in one of them.

    A box may reach beyond the film. Raises EvaluationError where a box ends before it begins or is not finite.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    wrong = ~np.isfinite(corners).all(1) | (corners[:, 2:] < corners[:, :2]).any(1)
    if wrong.any():
        raise EvaluationError(
            f"the box {corners[wrong][0].tolist()} is none",
            mend="Give x1, y1, x2, y2 with x1 <= x2 and y1 <= y2.",
        )
    y, x = (np.arange(side) + 0.5 for side in shape)
    mask = np.zeros(shape, bool)
    for x1, y1, x2, y2 in corners:
        mask |= ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))
    return mask


def differences(first: Sequence[Score], second: Sequence[Score]) -> list[Score]:
    """First minus second, film by film: two models on the same films. NaN, with the first reason, where either is."""
    if len(first) != len(second):
        raise EvaluationError(f"{len(first)} scores beside {len(second)} cannot be paired")
    pairs = zip(first, second, strict=True)
    return [Score(a.value - b.value, a.note or b.note) for a, b in pairs]


def summarise_scores(
    scores: Sequence[Score],
    patients: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Mean over patients (of each patient's mean over films), with an interval from drawing patients."""
    found = mean_over_patients(
        [score.value for score in scores], patients, replicates=replicates, seed=seed, confidence=confidence
    )
    return _with_reasons(found, scores)


def hit_rate(
    scores: Sequence[Score], patients: ArrayLike | None = None, *, confidence: float = 0.95
) -> Estimate:
    """The share of films that hit, of `pointing`: Wilson's interval by patient, which is honest when all or none hit."""
    values = np.array([score.value for score in scores], np.float64)
    known = ~np.isnan(values)
    groups = None if patients is None else np.asarray(patients)
    if groups is not None and groups.shape != values.shape:
        raise EvaluationError(f"patients are {groups.shape} for {len(values)} films")
    found = proportion(values[known], None if groups is None else groups[known], confidence=confidence)
    return _with_reasons(found, scores)


def read_heat(heatmap: ArrayLike, ignore: ArrayLike | None = None) -> tuple[Floats, str]:
    """A heatmap (h, w) with nothing below 0 and nothing where it is ignored, and why it cannot be measured, if so."""
    heat = np.asarray(heatmap, np.float64)
    if heat.ndim != 2 or not heat.size:
        raise EvaluationError(
            f"a heatmap of shape {heat.shape}", mend="Give one film's map, (height, width)."
        )
    left_out = np.zeros(heat.shape, bool) if ignore is None else np.asarray(ignore, bool)
    if left_out.shape != heat.shape:
        raise EvaluationError(f"the ignore mask is {left_out.shape}, the heatmap is {heat.shape}")
    if left_out.all():
        return heat, ALL_IGNORED
    if not np.isfinite(heat[~left_out]).all():
        return heat, NOT_FINITE
    heat = np.where(left_out, 0.0, heat).clip(min=0.0)
    return heat, "" if heat.any() else NO_HEAT


def _with_reasons(found: Estimate, scores: Sequence[Score]) -> Estimate:
    reasons = Counter(score.note or "no reason given" for score in scores if np.isnan(score.value))
    if not reasons:
        return found
    told = "; ".join(f"{reason}: {films}" for reason, films in sorted(reasons.items()))
    alone = "; one patient" if found.note.endswith("one patient") else ""
    return replace(found, note=f"{reasons.total()} of {len(scores)} films left out ({told}){alone}")


def _read(heatmap: ArrayLike, mask: ArrayLike, ignore: ArrayLike | None) -> tuple[Floats, Bools, str]:
    heat, note = read_heat(heatmap, ignore)
    inside = np.asarray(mask, bool)
    if inside.shape != heat.shape:
        raise EvaluationError(
            f"the mask is {inside.shape}, the heatmap is {heat.shape}",
            mend="Bring both to the film's pixels first.",
        )
    if ignore is not None:
        inside = inside & ~np.asarray(ignore, bool)
    return heat, inside, note or ("" if inside.any() else EMPTY_MASK)


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise EvaluationError(f"a threshold at a share of {share:g}", mend="Give a share above 0, to 1.")
