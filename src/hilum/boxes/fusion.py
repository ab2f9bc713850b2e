"""Weighted boxes fusion and non-maximum weighted: boxes of several models that show the same thing become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from hilum.boxes.geometry import Floats, Ints, paired_iou
from hilum.boxes.ranked import Ranked, checked, cluster_by_first, cluster_by_mean, ranked
from hilum.errors import BoxError

ConfType = Literal["box_and_model_avg", "absent_model_aware_avg", "avg", "max"]
CONF_TYPES: tuple[ConfType, ...] = get_args(ConfType)


@dataclass(frozen=True)
class Fused:
    """Boxes made of boxes, the highest score first.

    boxes: (k, 4). scores: (k,). row: (k,) the row of the best box that went into each: its film and class are theirs.
    boxes_in, models_in: (k,) how many boxes went into each, and of how many models. into: (n,) for each row that was given
    the number of the box that it went into, -1 for none.
    """

    boxes: Floats
    scores: Floats
    row: Ints
    boxes_in: Ints
    models_in: Ints
    into: Ints

    def __len__(self) -> int:
        return len(self.scores)


def wbf(
    boxes: ArrayLike,
    scores: ArrayLike,
    models: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    iou_threshold: float = 0.55,
    skip_box_threshold: float = 0.0,
    conf_type: ConfType = "box_and_model_avg",
    allows_overflow: bool = False,
) -> Fused:
    """Weighted boxes fusion (Solovyev, Wang & Gabruseva, Image and Vision Computing 2021).

    From the highest score down each box joins the cluster that it overlaps most, if its IoU exceeds `iou_threshold`, and
    the cluster moves to the mean of its boxes weighted by score; else it begins a cluster.

    Parameters
    ----------
    boxes: (n, 4). scores: (n,), 0 or more. models: (n,) numbers from 0: which model each box is of.
    groups: (n,) film and class of each box; boxes of different groups never meet.
    weights: (models,) how much each model counts; by default equally. Give them where a model may have no box at all.
    skip_box_threshold: boxes whose score lies below it are left out.
    conf_type: the score of a cluster, from scores s, weights w and the M models:
        "box_and_model_avg": sum(w s) / sum(w) over its boxes, times the share of the weight of all models that its
            models have. **The default: it never exceeds the highest score**, and many boxes of one model
            are not taken for many models.
        "absent_model_aware_avg": sum(w s) over its boxes / (sum(w) over its boxes + the weight of the models
            without one). Never exceeds the highest score either.
        "max": the highest w s / the highest w. Never exceeds the highest score.
        "avg": mean of w s, times min(M, its boxes) / sum of the models' weights. The reference's default;
            with unequal weights it can exceed 1.
    allows_overflow: with "avg", the number of boxes is not cut at M: scores may exceed 1 by far.

    A box of score 0 pulls a cluster nowhere. Equal scores: the earlier row first (in `ensemble-boxes` that depends on
    the machine's sort). Sums are in float64 (there float32).
    """
    if conf_type not in CONF_TYPES:
        raise BoxError(f"no conf_type '{conf_type}'", mend=f"There are: {', '.join(CONF_TYPES)}.")
    corners, values = checked(boxes, scores)
    model, weight = model_weights(models, weights, len(values))
    used = np.flatnonzero(values >= skip_box_threshold)
    rows = ranked(corners[used], values[used] * weight[model[used]], of_rows(groups, used, len(values)))
    model = model[used][rows.order]
    made = _Clusters.of(rows, model, cluster_by_mean(rows, iou_threshold))
    total = made.sum(rows.scores)
    count = np.bincount(made.number)
    own = made.sum(weight[model])
    seen = np.bincount(made.pair_cluster, weight[made.pair_model], minlength=len(count))
    match conf_type:
        case "box_and_model_avg":
            score = total / own * seen / weight.sum()
        case "absent_model_aware_avg":
            score = total / (own + weight.sum() - seen)
        case "max":
            score = rows.scores[made.first] / weight.max()
        case "avg":
            cut = count if allows_overflow else np.minimum(count, len(weight))
            score = total / count * cut / weight.sum()
    return made.fused(rows, rows.scores, score, used, len(values))


def nmw(
    boxes: ArrayLike,
    scores: ArrayLike,
    models: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
    iou_threshold: float = 0.55,
    skip_box_threshold: float = 0.0,
) -> Fused:
    """Non-maximum weighted (Zhou et al., CAD, ICCV Workshops 2017): where NMS would keep the best box of a cluster, the mean
    of the cluster weighted by score times IoU with that box; its score is the best box's.

    Parameters as in `wbf`. Scores are taken times the model's weight / the highest weight.
    """
    corners, values = checked(boxes, scores)
    model, weight = model_weights(models, weights, len(values))
    used = np.flatnonzero(values >= skip_box_threshold)
    share = weight / weight.max(initial=0.0)
    rows = ranked(corners[used], values[used] * share[model[used]], of_rows(groups, used, len(values)))
    made = _Clusters.of(rows, model[used][rows.order], cluster_by_first(rows, iou_threshold))
    pull = rows.scores * paired_iou(rows.boxes, rows.boxes[made.first[made.number]])
    return made.fused(rows, pull, rows.scores[made.first], used, len(values))


@dataclass(frozen=True)
class _Clusters:
    """number: (n,) the cluster of each ranked box. first: (k,) each cluster's first box.
    pair_cluster, pair_model: each model of each cluster once.
    """

    number: Ints
    first: Ints
    pair_cluster: Ints
    pair_model: Ints

    @classmethod
    def of(cls, rows: Ranked, model: Ints, cluster: Ints) -> _Clusters:
        first, number = np.unique(cluster, return_inverse=True)
        models = int(model.max(initial=0)) + 1
        pairs = np.unique(number * models + model)
        return cls(number, first, pairs // models, pairs % models)

    def sum(self, values: Floats) -> Floats:
        total: Floats = np.bincount(self.number, values, minlength=len(self.first)).astype(np.float64)
        return total

    def fused(self, rows: Ranked, pull: Floats, score: Floats, used: Ints, given: int) -> Fused:
        """The mean of each cluster's boxes weighted by `pull`; the first box where nothing pulls, or it is alone."""
        count = np.bincount(self.number, minlength=len(self.first))
        weight = self.sum(pull)
        boxes = rows.boxes[self.first].copy()
        several = (count > 1) & (weight > 0)
        for edge in range(4):
            boxes[several, edge] = (self.sum(pull * rows.boxes[:, edge])[several]) / weight[several]
        row = used[rows.order[self.first]]
        by_row = np.argsort(row)
        best = by_row[np.argsort(-score[by_row], kind="stable")]
        models = np.bincount(self.pair_cluster, minlength=len(count))
        place, into = np.empty(len(best), np.int64), np.full(given, -1)
        place[best] = np.arange(len(best))
        into[used[rows.order]] = place[self.number]
        return Fused(boxes[best], score[best], row[best], count[best], models[best], into)


def model_weights(models: ArrayLike, weights: ArrayLike | None, n: int) -> tuple[Ints, Floats]:
    """Model of each box (n,), and each model's weight (models,)."""
    model = np.asarray(models)
    if model.shape != (n,) or (n and model.dtype.kind not in "iu"):
        raise BoxError(f"models of shape {model.shape} for {n} boxes", mend="Give one whole number a box.")
    model = model.astype(np.int64)
    weight = np.ones(int(model.max(initial=0)) + 1) if weights is None else np.asarray(weights, np.float64)
    if weight.ndim != 1 or not len(weight) or not np.all(np.isfinite(weight) & (weight > 0)):
        raise BoxError(f"weights {weight.tolist()}", mend="Give one number above 0 a model.")
    if n and not 0 <= model.min() <= model.max() < len(weight):
        raise BoxError(f"models {model.min()} to {model.max()} with {len(weight)} weights")
    return model, weight


def of_rows(groups: ArrayLike | None, used: Ints, n: int) -> ArrayLike | None:
    """The groups (n,) of the rows that are used."""
    if groups is None:
        return None
    names = np.asarray(groups)
    if names.shape != (n,):
        raise BoxError(f"groups of shape {names.shape} for {n} boxes", mend="Give one group a box.")
    return names[used]
