"""What boxes say of whole films, and what their scores mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hilum.errors import EvaluationError
from hilum.evaluation.arrays import Floats
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, centred, percentile_estimate
from hilum.evaluation.detection import Detections, match
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.reliability import BINS, bin_gaps, equal_width_bins, weighted_calibration_error


def film_scores(boxes: Detections) -> tuple[Floats, Floats]:
    """Truth and scores of whole films, both (films, classes): has it a true box of the class, and the highest score that
    a predicted box of the class has on it (0 without one). For the ROC, AUC and rates of the other modules.
    """
    truth, scores = np.zeros((2, boxes.films, boxes.classes))
    truth[boxes.true_film, boxes.true_kind] = 1
    np.maximum.at(scores, (boxes.film, boxes.kind), boxes.scores)
    return truth, scores


def box_truth(boxes: Detections, iou_threshold: float = 0.4) -> Floats:
    """1 for each predicted box that is a true find (see `detection.match`), else 0, (n,): what its score is calibrated
    against. A second find of a true box is 0.
    """
    return match(boxes, iou_threshold).hit.astype(np.float64)


def box_calibration_error(
    boxes: Detections,
    iou_threshold: float = 0.4,
    groups: ArrayLike | None = None,
    *,
    bins: int = BINS,
    replicates: int = REPLICATES,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Expected calibration error of the scores over bins of equal width: does a box with score 0.3 find something three
    times in ten? Detection ECE of Küppers et al. (CVPR Workshops 2020), by score alone; interval by drawing films or
    patients `groups` (films,).
    """
    if np.any((boxes.scores < 0) | (boxes.scores > 1)):
        raise EvaluationError("scores lie outside [0, 1]", mend="Calibration is asked of probabilities.")
    if not len(boxes.scores):
        return Estimate.undefined("no predicted boxes", 0)
    truth = box_truth(boxes, iou_threshold)
    each = bin_gaps(truth, boxes.scores, equal_width_bins(boxes.scores, bins))
    gaps = np.zeros((boxes.films, each.shape[1]))
    np.add.at(gaps, boxes.film, each)
    count = np.bincount(boxes.film, minlength=boxes.films).astype(np.float64)

    def error(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return weighted_calibration_error(gaps, weights) * weights.sum(1) / (weights @ count)

    value = float(error(np.ones((1, boxes.films)))[0])
    drawn = bootstrap_weighted(error, boxes.films, groups, replicates=replicates, seed=seed)
    return percentile_estimate(
        value,
        centred(value, drawn),
        len(truth),
        positives=int(truth.sum()),
        by_patient=groups is not None,
        confidence=confidence,
    )
