"""Non-maximum suppression, plain and soft: which boxes stay of those that show the same thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from hilum.boxes.geometry import Floats, Ints, overlaps
from hilum.boxes.ranked import checked, cluster_by_first, ranked
from hilum.errors import BoxError

# Boxes of the groups that are walked through together: a step's arrays stay in the processor's cache.
_BLOCK_BOXES = 20_000
_NO_BOX = -1.0


def nms(
    boxes: ArrayLike, scores: ArrayLike, iou_threshold: float = 0.5, groups: ArrayLike | None = None
) -> Ints:
    """Rows of the boxes that stay, (k,), the highest score first: a box goes that overlaps a better one which stays.

    Parameters
    ----------
    boxes: (n, 4); scores: (n,), 0 or more.
    iou_threshold: IoU above which (not at which) the lesser box goes, 0 to less than 1.
    groups: (n,) film, or film and class, of each box; boxes of different groups never meet.

    Of equal scores the earlier row counts as the better. BoxError names the first row that is no box.
    """
    corners, values = checked(boxes, scores)
    rows = ranked(corners, values, groups)
    stays = np.flatnonzero(cluster_by_first(rows, iou_threshold) == np.arange(len(rows.order)))
    kept = np.sort(rows.order[stays])
    return kept[np.argsort(-values[kept], kind="stable")]


def soft_nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    iou_threshold: float = 0.5,
    groups: ArrayLike | None = None,
    *,
    decay: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 0.5,
    score_threshold: float = 0.001,
) -> tuple[Ints, Floats]:
    """Soft-NMS (Bodla et al., ICCV 2017): an overlapping box stays, with a lower score.

    Parameters
    ----------
    decay: "linear" takes scores times 1 - IoU where the IoU with a better box exceeds `iou_threshold`; "gaussian"
        takes all times exp(-IoU^2 / sigma), and has no use for the threshold.
    score_threshold: boxes whose decayed score does not exceed it go.

    Returns
    -------
    rows (k,) of the boxes that stay and their decayed scores (k,), the highest first.
    """
    if decay not in ("gaussian", "linear"):
        raise BoxError(f"no decay '{decay}'", mend="There are: gaussian, linear.")
    if not sigma > 0:
        raise BoxError(f"a sigma of {sigma:g}", mend="Give a number above 0.")
    corners, values = checked(boxes, scores)
    rows = ranked(corners, values, groups)
    edges = np.ascontiguousarray(rows.boxes.T)
    last = np.zeros(len(values))

    def remaining(overlap: Floats) -> Floats:
        if decay == "linear":
            return np.where(overlap > iou_threshold, 1 - overlap, 1.0)
        return np.exp(-(overlap * overlap) / sigma)

    done = 0
    while done < len(rows.sizes):
        widest = int(rows.sizes[done])
        count = max(1, _BLOCK_BOXES // widest)
        starts, sizes = rows.starts[done : done + count], rows.sizes[done : done + count]
        done += len(starts)
        place = np.minimum(starts[:, None] + np.arange(widest), len(values) - 1)
        here = np.arange(widest) < sizes[:, None]
        live = np.where(here, rows.scores[place], _NO_BOX)
        final = _decayed(edges[:, place], live, remaining, score_threshold)
        last[rows.order[place[here]]] = final[here]
    stay = np.flatnonzero(last > score_threshold)
    stay = stay[np.argsort(-last[stay], kind="stable")]
    return stay, last[stay]


def _decayed(boxes: Floats, scores: Floats, remaining: Callable[[Floats], Floats], least: float) -> Floats:
    """Scores (groups, boxes) after each box, best first, took its share off the others. Boxes (4, groups, boxes).

    What falls to `least` or below is 0: it goes, and what it would take off others no longer matters.
    """
    live, final = scores, np.zeros_like(scores)
    group = np.arange(len(scores))
    for _ in range(scores.shape[1]):
        best = live.argmax(1)
        top = live[np.arange(len(live)), best]
        going = top > least
        if not going.all():
            group, best, top = group[going], best[going], top[going]
            live, boxes = live[going], boxes[:, going]
        if not len(group):
            break
        final[group, best] = top
        number = np.arange(len(group))
        live = live * remaining(overlaps(boxes[:, number, best][:, :, None], boxes))
        live[number, best] = _NO_BOX
    return final
