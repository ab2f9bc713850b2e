"""Everything that `hilum boxes score` says of predicted boxes: each number with its interval."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hilum.evaluation.arrays import as_clusters, label_names
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_ap import ApEstimates, voc_ap_estimates
from hilum.evaluation.detection_coco import CocoScores, coco
from hilum.evaluation.detection_films import box_calibration_error, film_scores
from hilum.evaluation.estimate import Estimate, finite
from hilum.evaluation.froc import RATES, froc_estimates
from hilum.evaluation.summary import Summary, multilabel_summary


@dataclass(frozen=True)
class DetectionSummary:
    """names: of the classes. films, patients, predicted, true: how many. iou_threshold: of AP, FROC and calibration.

    ap: PASCAL VOC's. coco: COCO's. froc: sensitivity at each of `froc.RATES`, then their mean, over boxes of findings.
    calibration_error: of the scores of findings' boxes. as_films: whole films called by their best box, with
    `film_threshold`.
    """

    names: tuple[str, ...]
    films: int
    patients: int
    predicted: int
    true: int
    iou_threshold: float
    film_threshold: float
    ap: ApEstimates
    coco: CocoScores
    froc: tuple[Estimate, ...]
    calibration_error: Estimate
    as_films: Summary

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        by_class = zip(self.names, self.ap.classes, self.coco.by_class, strict=True)
        return {
            "films": self.films,
            "patients": self.patients,
            "predicted_boxes": self.predicted,
            "true_boxes": self.true,
            "iou_threshold": self.iou_threshold,
            "film_threshold": self.film_threshold,
            "voc": {
                "mean": self.ap.mean.as_dict(),
                "classes": {name: estimate.as_dict() for name, estimate, _ in by_class},
            },
            "coco": self.coco.as_dict()
            | {"classes": dict(zip(self.names, map(finite, self.coco.by_class), strict=True))},
            "froc": {
                "sensitivity": {
                    f"{rate:g}": found.as_dict() for rate, found in zip(RATES, self.froc, strict=False)
                },
                "mean": self.froc[-1].as_dict(),
            },
            "calibration_error": self.calibration_error.as_dict(),
            "films_called": self.as_films.as_dict(),
        }


def detection_summary(
    boxes: Detections,
    names: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    *,
    iou_threshold: float = 0.4,
    film_threshold: float = 0.5,
    no_lesion: Collection[str] = ("No Finding",),
    replicates: int = REPLICATES,
    seed: int = 0,
) -> DetectionSummary:
    """Score predicted boxes whose scores are probabilities, 0 to 1.

    Parameters
    ----------
    names: of the classes. groups: (films,) patients, drawn for the intervals; without them films are drawn.
    film_threshold: a film is called to have a finding where a box of it has at least this score; choose it on other films.
    no_lesion: classes whose boxes mark no place, which FROC and calibration leave out.
    """
    called = label_names(names, boxes.classes)
    lesions = boxes.of_classes([i for i, name in enumerate(called) if name not in no_lesion])
    draw: dict[str, Any] = {"replicates": replicates, "seed": seed}
    rates, mean = froc_estimates(lesions, iou_threshold, groups, **draw)
    truth, scores = film_scores(boxes)
    return DetectionSummary(
        called,
        boxes.films,
        as_clusters(groups, boxes.films)[1],
        len(boxes.boxes),
        len(boxes.true_boxes),
        iou_threshold,
        film_threshold,
        voc_ap_estimates(boxes, iou_threshold, groups, **draw),
        coco(boxes),
        (*rates, mean),
        box_calibration_error(lesions, iou_threshold, groups, **draw),
        multilabel_summary(truth, scores, np.full(boxes.classes, film_threshold), groups, called, **draw),
    )
