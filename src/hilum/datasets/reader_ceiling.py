"""How one reader scores against the film's others: what a detector that reads as a radiologist does would reach."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from hilum.datasets.readers import IOU_THRESHOLD, Bools, Floats, Ints, Readings, truth
from hilum.errors import EvaluationError
from hilum.evaluation.bootstrap import REPLICATES, bootstrap_weighted, percentile_estimate
from hilum.evaluation.detection import Detections, match
from hilum.evaluation.detection_ap import ApEstimates, voc_ap_estimates
from hilum.evaluation.estimate import Estimate

_NOTHING_BOX = (0.0, 0.0, 1.0, 1.0)  # the competition's box of a film without findings


@dataclass(frozen=True)
class Ceiling:
    """One reader's boxes against the others' truth by `rule`.

    mean: over the findings. with_nothing: over the findings and "No finding" as one more class, as the competition has
    it. findings: average precision of each. precision, recall: of each finding's boxes at the threshold, NaN where there
    are none. unordered: the mean over findings of precision times recall, which is what average precision is where all
    scores are one and no order is made of them: boxes put in some order always make a little more.
    """

    rule: str
    mean: Estimate
    with_nothing: Estimate
    findings: tuple[Estimate, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    unordered: Estimate


def leave_one_out(
    readings: Readings,
    rule: str,
    *,
    reader: str | None = None,
    iou_threshold: float = IOU_THRESHOLD,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Ceiling:
    """Each reader's boxes, with score 1, against a truth of the film's other readers by a rule of `readers.RULES`.

    Every reader of a film is left out in turn, and all readings are scored as one set of images, in an order drawn by
    `seed` (all scores are 1, so that the order of the rows would otherwise decide). With `reader` only this one is.
    Average precision is PASCAL VOC's at `iou_threshold`; intervals come from drawing films, each with all its readings.

    It is no upper bound of what a detector can reach on a truth made by more readers, or of one who averages them.
    """
    boxes, films = _left_out(readings, rule, reader, iou_threshold, seed)
    count = len(readings.findings)
    only = boxes.of_classes(np.arange(count))
    options = {"groups": films, "replicates": replicates, "seed": seed}
    found: ApEstimates = voc_ap_estimates(only, iou_threshold, **options)  # type: ignore[arg-type]
    every: ApEstimates = voc_ap_estimates(boxes, iou_threshold, **options)  # type: ignore[arg-type]
    hit = match(only, iou_threshold).hit
    counts = [
        csr_array((np.ones(len(film)), (film, kind)), shape=(only.films, count + 1))
        for film, kind in (
            (only.film[hit], only.kind[hit]),
            (only.film, only.kind),
            (only.true_film, only.true_kind),
        )
    ]

    def rates(weights: Floats) -> tuple[Floats, Floats]:
        """(b, images) to precision and recall (b, findings)."""
        hits, drawn, true = (weights @ counted for counted in counts)
        with np.errstate(invalid="ignore"):
            return (hits / drawn)[:, :count], (hits / true)[:, :count]

    def unordered(weights: Floats) -> Floats:
        precision, recall = rates(weights)
        # A finding that nobody drew has no precision, and finds nothing.
        each = np.where(np.isnan(recall), np.nan, np.nan_to_num(precision) * recall)
        known = ~np.isnan(each)
        return np.where(known, each, 0).sum(1) / np.maximum(known.sum(1), 1)

    every_image = np.ones((1, only.films))
    precision, recall = (tuple(rate[0].tolist()) for rate in rates(every_image))
    drawn = bootstrap_weighted(unordered, only.films, films, replicates=replicates, seed=seed)
    level = percentile_estimate(float(unordered(every_image)[0]), drawn, only.films)
    mean, with_nothing, level, *each = (
        replace(e, method="bootstrap by film")
        for e in (found.mean, every.mean, level, *found.classes[:count])
    )
    return Ceiling(rule, mean, with_nothing, tuple(each), precision, recall, level)


def _left_out(
    readings: Readings, rule: str, reader: str | None, iou_threshold: float, seed: int
) -> tuple[Detections, Ints]:
    """Every reading as an image of its own, and the film of each image."""
    if reader is None:
        turns = readings.slots()
    elif reader in readings.names:
        turns = [readings.read & np.array([name == reader for name in readings.names])]
    else:
        raise EvaluationError(f"no reader '{reader}'", mend=f"There are: {', '.join(readings.names)}.")
    parts = [_one(readings, turn, rule, iou_threshold) for turn in turns]
    images = np.concatenate([films for _, films in parts])
    if not len(images):
        raise EvaluationError("no film has a second reader to hold the first to")
    starts = np.cumsum([0, *(len(films) for _, films in parts)])
    joined = {
        name: np.concatenate([getattr(part, name) + start * (name in ("film", "true_film"))
                              for (part, _), start in zip(parts, starts, strict=False)])
        for name in ("boxes", "film", "kind", "true_boxes", "true_film", "true_kind")
    }  # fmt: skip
    place = np.random.default_rng(seed).permutation(len(images))
    order = np.argsort(place[joined["film"]], kind="stable")
    joined |= {name: joined[name][order] for name in ("boxes", "film", "kind")}
    scores = np.ones(len(order))
    return Detections(**joined, scores=scores, films=len(images), classes=len(readings.findings) + 1), images


def _one(readings: Readings, turn: Bools, rule: str, iou_threshold: float) -> tuple[Detections, Ints]:
    """`turn` (films, readers): at most one reader a film, whose boxes are the predictions."""
    read: Bools = np.logical_and(turn.any(1), (readings.read & ~turn).any(1))
    here, mine = readings.of_films(read), turn[read]
    one, others = here.only(mine), truth(here.only(~mine), rule, iou_threshold)
    count, nothing = len(here), len(here.findings)
    film, kind, boxes = _with_nothing(one.film, one.finding, one.boxes, count, nothing)
    true_film, true_kind, true_boxes = _with_nothing(
        others.film, others.finding, others.boxes, count, nothing
    )
    scores = np.ones(len(film))
    found = Detections(boxes, scores, film, kind, true_boxes, true_film, true_kind, count, nothing + 1)
    return found, np.flatnonzero(read)


def _with_nothing(
    film: Ints, kind: Ints, boxes: np.ndarray, films: int, nothing: int
) -> tuple[Ints, Ints, np.ndarray]:
    """The box 0 0 1 1 of class `nothing` on every film without another."""
    empty = np.flatnonzero(np.bincount(film, minlength=films) == 0)
    return (
        np.concatenate([film, empty]),
        np.concatenate([kind, np.full(len(empty), nothing)]),
        np.concatenate([boxes, np.tile(_NOTHING_BOX, (len(empty), 1))]),
    )
