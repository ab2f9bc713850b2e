"""Drawn predictions beside drawn truth, and the slow, plain way to count them."""

from __future__ import annotations

import numpy as np

from hilum import boxes as geometry
from hilum.evaluation.detection import Detections


def drawn(seed: int, films: int = 6, classes: int = 2, tied: bool = False, side: float = 400.0) -> Detections:
    """Predictions about true boxes and elsewhere; with `tied`, scores come in few steps and corners are whole."""
    random = np.random.default_rng(seed)
    m = int(random.integers(1, 4 * films))
    corner = random.uniform(0, side * 0.6, (m, 2))
    true = np.column_stack([corner, corner + random.uniform(8, side * 0.4, (m, 2))])
    film, kind = random.integers(0, films, m), random.integers(0, classes, m)
    of = random.integers(0, m, int(random.integers(0, 8 * m)))
    moved = true[of] + random.normal(0, 1, (len(of), 4)) * random.choice([1, 10, 40], (len(of), 1))
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 4)
    mine = np.where(random.random(len(of)) < 0.8, film[of], random.integers(0, films, len(of)))
    scores = random.permutation(np.linspace(0.02, 0.98, len(of))) if len(of) else np.empty(0)
    if tied:
        true, moved, scores = np.rint(true), np.rint(moved), np.round(scores, 1)
    return Detections(moved, scores, mine, kind[of], true, film, kind, films, classes)


def one_by_one(boxes: Detections, iou_threshold: float, kind: int) -> tuple[list[str], list[int]]:
    """What each prediction of a class is ("find", "second" or "false"), from the best down, and its row: PASCAL's loop."""
    rows = sorted(np.flatnonzero(boxes.kind == kind), key=lambda row: -boxes.scores[row])
    taken, said = set(), []
    for row in rows:
        true = np.flatnonzero((boxes.true_film == boxes.film[row]) & (boxes.true_kind == kind))
        each = geometry.iou(boxes.boxes[[row]], boxes.true_boxes[true])[0]
        if not len(true) or not each.max() > iou_threshold:
            said.append("false")
        elif true[each.argmax()] in taken:
            said.append("second")
        else:
            taken.add(true[each.argmax()])
            said.append("find")
    return said, rows


def repeated(boxes: Detections, drawn_films: np.ndarray) -> Detections:
    """The films that a replicate draws, each as often as drawn, as films of their own."""
    mine = [np.flatnonzero(boxes.film == film) for film in drawn_films]
    true = [np.flatnonzero(boxes.true_film == film) for film in drawn_films]
    film = np.repeat(np.arange(len(mine)), [len(r) for r in mine])
    true_film = np.repeat(np.arange(len(true)), [len(r) for r in true])
    a, b = np.concatenate(mine).astype(int), np.concatenate(true).astype(int)
    return Detections(
        boxes.boxes[a],
        boxes.scores[a],
        film,
        boxes.kind[a],
        boxes.true_boxes[b],
        true_film,
        boxes.true_kind[b],
        len(drawn_films),
        boxes.classes,
    )
