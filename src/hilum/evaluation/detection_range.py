"""Average precision over a range of IoUs, with an interval, and the score from which on a class's boxes count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation.arrays import Floats
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, percentile_estimate
from hilum.evaluation.detection import Detections, match
from hilum.evaluation.detection_ap import COMPETITION_IOU, ranked_finds
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.thresholds import Threshold

RANGE = tuple(float(value) for value in np.arange(50, 100, 5) / 100)
"""COCO's ten IoUs, 0.50 to 0.95."""


def ap_estimate(
    boxes: Detections,
    ious: Sequence[float] = RANGE,
    groups: ArrayLike | None = None,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Average precision (all points, IoU above each of `ious`), the mean over these and over classes with true boxes.

    groups: (films,) patients, who are drawn; without them films are.
    """
    ranked = [ranked_finds(boxes, match(boxes, iou)) for iou in ious]

    def statistic(weights: Floats) -> Floats:
        each = np.stack([one.average_precision(weights) for one in ranked])  # (IoUs, b, classes)
        known = ~np.isnan(each)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = np.where(known, each, 0).sum((0, 2)) / known.sum((0, 2))
        return found

    value = float(statistic(np.ones((1, boxes.films)))[0])
    drawn = bootstrap_weighted(statistic, boxes.films, groups, replicates=replicates, seed=seed)
    return percentile_estimate(
        value,
        drawn,
        boxes.films,
        positives=len(boxes.true_boxes),
        by_patient=groups is not None,
        confidence=confidence,
    )


def best_f1(boxes: Detections, iou_threshold: float = COMPETITION_IOU) -> tuple[Threshold, ...]:
    """For each class the score from which on its boxes have the greatest F1, a find being a first match above the IoU.

    The threshold's `sensitivity` is the share of true boxes found there; of its specificity boxes know nothing (NaN). NaN
    with a note for a class without true boxes, or of which none is found.
    """
    found, out = match(boxes, iou_threshold), []
    for kind in range(boxes.classes):
        order = found.order[boxes.kind[found.order] == kind]
        true = int((boxes.true_kind == kind).sum())
        hits = np.cumsum(found.hit[order])
        if not true or not len(hits) or not hits[-1]:
            note = "no true box" if not true else "none of its boxes was found"
            out.append(Threshold(np.nan, "f1", np.nan, np.nan, boxes.films, true, note))
            continue
        f1 = 2 * hits / (np.arange(1, len(hits) + 1) + true)
        # Boxes of equal score are called together: only the last of each run is a cut.
        scores = boxes.scores[order]
        last = np.append(scores[:-1] != scores[1:], True)
        best = int(np.argmax(np.where(last, f1, -1)))
        below = scores[best + 1] if best + 1 < len(scores) else 0.0
        middle = float((scores[best] + below) / 2)
        out.append(
            Threshold(
                min(1.0, middle if middle > below else float(scores[best])),
                "f1", float(hits[best] / true), np.nan, boxes.films, true,
            )
        )  # fmt: skip
    return tuple(out)
