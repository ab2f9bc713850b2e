"""COCO's average precision and recall (Lin et al., ECCV 2014, and the code that its authors publish), to the last digit.

How it differs from PASCAL VOC's: ten IoU thresholds; of the true boxes not yet found the best one that reaches the
threshold counts, so a box may take its second choice; at most 100 boxes a film and class; precision is read at 101
recalls; true boxes outside an area range neither count nor are held against what finds them. Areas are width times
height in the boxes' unit squared: "small" is below 32 x 32 pixels, which few findings on a whole radiograph are.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hilum.boxes import area
from hilum.evaluation.arrays import Bools, Floats, Ints
from hilum.evaluation.detection import Detections, pairs
from hilum.evaluation.estimate import finite

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = (1, 10, 100)
AREAS: dict[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


@dataclass(frozen=True)
class CocoScores:
    """NaN where a class has no true box of that area.

    precision: (areas, IoUs, classes) average precision with 100 boxes a film and class. recall: the same of recalls.
    recall_at: (boxes a film: 1, 10, 100; IoUs, classes) recall over all areas.
    """

    precision: Floats
    recall: Floats
    recall_at: Floats

    @property
    def ap(self) -> float:
        """The mean over IoU 0.50 to 0.95 and classes: COCO's first number."""
        return _mean(self.precision[0])

    @property
    def by_class(self) -> Floats:
        """AP of each class over IoU 0.50 to 0.95, (classes,)."""
        return np.array([_mean(column) for column in self.precision[0].T])

    def as_dict(self) -> dict[str, float | None]:
        """The twelve numbers that COCO prints; None where there is nothing to average."""
        found = {
            "AP": self.ap,
            "AP50": _mean(self.precision[0, 0]),
            "AP75": _mean(self.precision[0, 5]),
        }
        found |= {f"AP_{name}": _mean(self.precision[i]) for i, name in enumerate(AREAS) if i}
        found |= {f"AR{most}": _mean(self.recall_at[i]) for i, most in enumerate(MAX_DETECTIONS)}
        found |= {f"AR_{name}": _mean(self.recall[i]) for i, name in enumerate(AREAS) if i}
        return {name: finite(value) for name, value in found.items()}


def coco(boxes: Detections) -> CocoScores:
    """COCO's numbers of predicted boxes against true ones."""
    rank = _ranks(boxes)
    found, ignored, outside = _matched(boxes, rank)
    shape = (len(AREAS), len(IOUS), boxes.classes)
    precision, recall = np.full(shape, np.nan), np.full(shape, np.nan)
    recall_at = np.full((len(MAX_DETECTIONS), *shape[1:]), np.nan)
    order = np.lexsort((rank, boxes.film, -boxes.scores))
    order = order[rank[order] < MAX_DETECTIONS[-1]]
    for kind in range(boxes.classes):
        mine = order[boxes.kind[order] == kind]
        for a in range(len(AREAS)):
            total = int((~outside[a, boxes.true_kind == kind]).sum())
            if not total:
                continue
            counted = ~ignored[a][:, mine]
            hit = found[a][:, mine] & counted
            precision[a, :, kind], recall[a, :, kind] = _averaged(hit, counted, total)
            if a == 0:
                for i, most in enumerate(MAX_DETECTIONS):
                    recall_at[i, :, kind] = hit[:, rank[mine] < most].sum(1) / total
    return CocoScores(precision, recall, recall_at)


def _ranks(boxes: Detections) -> Ints:
    """The place of each predicted box among those of its film and class, from 0 for the highest score, (n,)."""
    order = np.lexsort((-boxes.scores, boxes.kind, boxes.film))
    film, kind = boxes.film[order], boxes.kind[order]
    starts = np.append(True, (np.diff(film) != 0) | (np.diff(kind) != 0))[: len(order)]
    place = np.arange(len(order))
    rank = np.empty(len(order), np.int64)
    rank[order] = place - np.maximum.accumulate(np.where(starts, place, 0))
    return rank


def _matched(boxes: Detections, rank: Ints) -> tuple[Bools, Bools, Bools]:
    """Per area and IoU: which predictions find a true box, and which are left out of the count, both (areas, IoUs, n); and
    which true boxes lie outside the area, (areas, m).

    Greedy within a film and class, so walked through from the best prediction down: step t handles the t-th of every film
    and class at once. Predictions that reach no true box by 0.5 find nothing, and take no step.
    """
    low, high = np.array(list(AREAS.values())).T[:, :, None]
    true_area, own_area = area(boxes.true_boxes), area(boxes.boxes)
    outside = (true_area < low) | (true_area > high)
    found = np.zeros((len(AREAS), len(IOUS), len(boxes.boxes)), bool)
    ignored = np.broadcast_to(((own_area < low) | (own_area > high))[:, None], found.shape).copy()
    met = pairs(boxes)
    near = np.flatnonzero((met.iou >= IOUS[0]) & (rank[met.predicted] < MAX_DETECTIONS[-1]))
    predicted, true, overlap = met.predicted[near], met.true[near], met.iou[near]
    step = _steps(boxes, predicted, rank)
    for a in range(len(AREAS)):
        taken = np.zeros((len(IOUS), len(boxes.true_boxes)), bool)
        # True boxes of the area first, then the better overlap, then (as COCO's loop does) the later true box.
        order = np.lexsort((-true, -overlap, outside[a, true], predicted, step))
        bounds = np.searchsorted(step[order], np.arange(step.max(initial=-1) + 2))
        for first, last in pairwise(bounds):
            here = order[first:last]
            may = ~taken[:, true[here]] & (overlap[here] >= IOUS[:, None])
            iou, pair = _first_of_each(may, predicted[here])
            hit, finds = predicted[here][pair], true[here][pair]
            taken[iou, finds] = True
            found[a, iou, hit] = True
            ignored[a, iou, hit] = outside[a, finds]
    return found, ignored, outside


def _steps(boxes: Detections, predicted: Ints, rank: Ints) -> Ints:
    """For each pair, how many better predictions of its film and class stand in pairs too, (p,)."""
    rows = np.unique(predicted)
    order = np.lexsort((rank[rows], boxes.kind[rows], boxes.film[rows]))
    film, kind = boxes.film[rows][order], boxes.kind[rows][order]
    starts = np.append(True, (np.diff(film) != 0) | (np.diff(kind) != 0))[: len(order)]
    place = np.arange(len(order))
    number = np.empty(len(order), np.int64)
    number[order] = place - np.maximum.accumulate(np.where(starts, place, 0))
    return number[np.searchsorted(rows, predicted)]


def _first_of_each(may: Bools, predicted: Ints) -> tuple[Ints, Ints]:
    """(IoU, pair) of the first true of each run of one prediction in each row of (IoUs, pairs)."""
    iou, pair = np.nonzero(may)
    key = iou * (len(predicted) + 1) + np.cumsum(np.append(0, np.diff(predicted) != 0))[pair]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return iou[first], pair[first]


def _averaged(hit: Bools, counted: Bools, total: int) -> tuple[Floats, Floats]:
    """Mean precision at 101 recalls, and the last recall, of predictions (IoUs, n) from the best down."""
    true = np.cumsum(hit, axis=1, dtype=np.float64)
    seen = np.cumsum(counted, axis=1, dtype=np.float64)
    recall = true / total
    precision = true / (seen + np.spacing(1))
    peaks = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    average = np.zeros(len(hit))
    for i, (reached, peak) in enumerate(zip(recall, peaks, strict=True)):
        at = np.searchsorted(reached, RECALLS, "left")
        average[i] = peak[at[at < len(peak)]].sum() / len(RECALLS)
    last = recall[:, -1] if hit.shape[1] else np.zeros(len(hit))
    return average, last


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
