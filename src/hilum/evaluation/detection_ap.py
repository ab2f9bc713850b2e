"""Average precision of boxes as PASCAL VOC computes it from 2010 on, and the VinBigData competition with it.

How the competition counts: per class, the area under precision over recall with precision made monotone (all points, no
sampling), a box true where its IoU with a true box that no better box found is above 0.4 (strictly); the mean over the
classes that have true boxes. "No finding" is a class like the others (number 14): its true box is 0 0 1 1, and a
submission says `14 1 0 0 1 1`, or a lower score than 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from hilum.evaluation.arrays import Floats, Ints
from hilum.evaluation.bootstrap import REPLICATES, percentile_estimate, replicate_weights
from hilum.evaluation.detection import Detections, Matches, match, weighed
from hilum.evaluation.estimate import Estimate

COMPETITION_IOU = 0.4


def voc_ap(boxes: Detections, iou_threshold: float = COMPETITION_IOU) -> Floats:
    """Average precision of each class, (classes,), 0 to 1; NaN for a class without true boxes."""
    found = match(boxes, iou_threshold)
    return ranked_finds(boxes, found).average_precision(np.ones((1, boxes.films)))[0]


def voc_map(boxes: Detections, iou_threshold: float = COMPETITION_IOU) -> float:
    """The competition's number: the mean of `voc_ap` over classes with true boxes; NaN where there are none."""
    return float(_mean(voc_ap(boxes, iou_threshold)))


@dataclass(frozen=True)
class ApEstimates:
    """The mean over classes with true boxes, and each class: values with intervals."""

    mean: Estimate
    classes: tuple[Estimate, ...]


def voc_ap_estimates(
    boxes: Detections,
    iou_threshold: float = COMPETITION_IOU,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> ApEstimates:
    """`voc_ap` and its mean with percentile intervals by drawing films, or the patients `groups` (films,).

    Boxes are matched once; a replicate weighs the films. One that leaves a class without true boxes takes the mean over the
    others, as the competition's number would be on these films.
    """
    ranked = ranked_finds(boxes, match(boxes, iou_threshold))
    values = ranked.average_precision(np.ones((1, boxes.films)))[0]
    weights = replicate_weights(boxes.films, groups, replicates, seed)
    drawn = np.concatenate([ranked.average_precision(block) for block in weights])
    true = np.bincount(boxes.true_kind, minlength=boxes.classes)

    def estimate(value: float, column: Floats, positives: int) -> Estimate:
        return percentile_estimate(
            value,
            column,
            boxes.films,
            positives=positives,
            by_patient=groups is not None,
            confidence=confidence,
        )

    return ApEstimates(
        estimate(float(_mean(values)), _mean(drawn), int(true.sum())),
        tuple(estimate(float(v), column, int(t)) for v, column, t in zip(values, drawn.T, true, strict=True)),
    )


@dataclass(frozen=True)
class RankedFinds:
    """Per class, what the average precision of any weighting of the films needs; see `_Ranked`."""

    classes: tuple[_Ranked, ...]

    def average_precision(self, weights: Floats) -> Floats:
        """Weights (b, films) to (b, classes)."""
        each = [weighed(r.average_precision, weights, len(r.film)) for r in self.classes]
        return np.column_stack(each)


def ranked_finds(boxes: Detections, found: Matches) -> RankedFinds:
    ranked = []
    for kind in range(boxes.classes):
        order = found.order[boxes.kind[found.order] == kind]
        true = np.bincount(boxes.true_film[boxes.true_kind == kind], minlength=boxes.films)
        ranked.append(_Ranked.of(found.hit[order], boxes.film[order], true))
    return RankedFinds(tuple(ranked))


@dataclass(frozen=True)
class _Ranked:
    """One class. film: (k,) of each true find, the best first. false: (k, films) false boxes of each film between one find
    and the one before. true: (films,) true boxes. Precision only has peaks right after finds, so that is all there is
    to know.
    """

    film: Ints
    false: csr_array
    true: Floats

    @classmethod
    def of(cls, hit: np.ndarray, film: Ints, true: Ints) -> _Ranked:
        segment = np.cumsum(hit) - hit  # the find that comes next
        count = int(hit.sum())
        lost = ~hit & (segment < count)
        false = csr_array(
            (np.ones(int(lost.sum())), (segment[lost], film[lost])),
            shape=(count, len(true)),
            dtype=np.float64,
        )
        return cls(film[hit], false, true.astype(np.float64))

    def average_precision(self, weights: Floats) -> Floats:
        own = weights.T[self.film]
        true = np.cumsum(own, axis=0)
        false = np.cumsum(self.false @ weights.T, axis=0)
        total = weights @ self.true
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(true > 0, true / (true + false), 0.0)
            peaks = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            return np.where(total > 0, (own * peaks).sum(0) / total, np.nan)


def _mean(values: Floats) -> Floats:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    return np.where(count > 0, np.where(known, values, 0).sum(-1) / np.maximum(count, 1), np.nan)
