"""Free-response ROC: the share of true boxes found, over false boxes a film (Bunch 1977; Chakraborty 1989).

A predicted box finds the true box of its class that it overlaps most, where the IoU exceeds the threshold. Second finds
of a true box are neither true nor false, as in LUNA16 (Setio et al., 2017); boxes that find nothing are false. Boxes of
equal score come together: no threshold could part them.
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

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False boxes a film at which sensitivity is read; their mean is the score of LUNA16."""


@dataclass(frozen=True)
class Froc:
    """A curve, a point a distinct score of a find, from the strictest threshold down, all (k,)."""

    false_per_film: Floats
    sensitivity: Floats
    thresholds: Floats


def froc(boxes: Detections, iou_threshold: float = 0.4) -> Froc:
    """The curve of all classes together; for one class give `boxes.of_classes([kind])`."""
    ranked = _Ranked.of(boxes, match(boxes, iou_threshold))
    true, false, total = ranked.counts(np.ones((1, boxes.films)))
    last = np.append(np.diff(ranked.scores) != 0, True)[: len(ranked.scores)]
    return Froc(
        false[last, 0] / boxes.films, true[last, 0] / np.where(total > 0, total, np.nan), ranked.scores[last]
    )


def sensitivity_at(boxes: Detections, iou_threshold: float = 0.4, rates: tuple[float, ...] = RATES) -> Floats:
    """The highest sensitivity that a threshold gives with at most so many false boxes a film, (rates,).

    No line is drawn between points. NaN without true boxes.
    """
    ranked = _Ranked.of(boxes, match(boxes, iou_threshold))
    return ranked.sensitivity_at(np.ones((1, boxes.films)), rates)[0]


def froc_estimates(
    boxes: Detections,
    iou_threshold: float = 0.4,
    groups: ArrayLike | None = None,
    *,
    rates: tuple[float, ...] = RATES,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[tuple[Estimate, ...], Estimate]:
    """`sensitivity_at` each rate, and the mean of them, with intervals by drawing films or patients `groups` (films,)."""
    ranked = _Ranked.of(boxes, match(boxes, iou_threshold))

    def with_mean(weights: Floats) -> Floats:
        each = ranked.sensitivity_at(weights, rates)
        return np.column_stack([each, each.mean(1)])

    values = with_mean(np.ones((1, boxes.films)))[0]
    blocks = replicate_weights(boxes.films, groups, replicates, seed)
    drawn = np.concatenate([weighed(with_mean, block, len(ranked.film)) for block in blocks])
    found = [
        percentile_estimate(
            float(value),
            column,
            boxes.films,
            positives=len(boxes.true_boxes),
            by_patient=groups is not None,
            confidence=confidence,
        )
        for value, column in zip(values, drawn.T, strict=True)
    ]
    return tuple(found[:-1]), found[-1]


@dataclass(frozen=True)
class _Ranked:
    """film, scores: (k,) of each find, the best first. false: (k, films) false boxes of a film with a score between that
    of a find and of the one before; ties with a find go to it. true: (films,) true boxes.
    """

    film: Ints
    scores: Floats
    false: csr_array
    true: Floats

    @classmethod
    def of(cls, boxes: Detections, found: Matches) -> _Ranked:
        finds = found.order[found.hit[found.order]]
        lost = found.near < 0
        # Scores rise with -score: the first find whose score is not above the false box's.
        segment = np.searchsorted(-boxes.scores[finds], -boxes.scores[lost], "left")
        counted = segment < len(finds)
        false = csr_array(
            (np.ones(int(counted.sum())), (segment[counted], boxes.film[lost][counted])),
            shape=(len(finds), boxes.films),
            dtype=np.float64,
        )
        true = np.bincount(boxes.true_film, minlength=boxes.films).astype(np.float64)
        return cls(boxes.film[finds], boxes.scores[finds], false, true)

    def counts(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Finds and false boxes up to each find (k, b), and true boxes (b,), of weights (b, films)."""
        true = np.cumsum(weights.T[self.film], axis=0)
        return true, np.cumsum(self.false @ weights.T, axis=0), weights @ self.true

    def sensitivity_at(self, weights: Floats, rates: tuple[float, ...]) -> Floats:
        true, false, total = self.counts(weights)
        true = np.concatenate([np.zeros((1, len(weights))), true])
        films = weights.sum(1)
        reached = []
        for rate in rates:
            allowed = (false <= rate * films).sum(0)
            reached.append(true[allowed, np.arange(len(weights))])
        return (np.array(reached) / np.where(total > 0, total, np.nan)).T
