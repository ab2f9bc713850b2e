"""What several readers of the same films did: counts, sizes, agreement, and how one scores against the others."""

from __future__ import annotations

import logging
from itertools import combinations
from typing import Any

import numpy as np

from hilum.datasets.manifest import Manifest
from hilum.datasets.reader_ceiling import Ceiling, leave_one_out
from hilum.datasets.readers import IOU_THRESHOLD, RULES, Bools, Floats, Readings
from hilum.evaluation.agreement import cohen_kappa, fleiss_kappa, match, ratio_of_sums
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.estimate import Estimate, finite

logger = logging.getLogger(__name__)

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
EVERY = "all findings"
RULE = "wbf"
"""The rule by which single readers are held to the others."""
FEWEST, FEWEST_MARKED = 30, 10
"""Films, and marked films, that two readers must share before their kappa is told; a reader's AP wants the second."""


def statistics(manifest: Manifest, *, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """Everything that `readers.md` shows, as plain values: see `readers.json`.

    "Marked films" are those on which some reader boxed something. Where readers never differ on whether a film is normal
    (as in the published VinBigData tables), agreement over all films is partly agreement of the selection, so kappa is
    told on both.
    """
    readings = Readings.of(manifest)
    marks = readings.marks()
    marked = (marks == 1).any((1, 2))
    logger.info("agreement of %d readers on %d films", len(readings.names), len(readings))
    found = {
        "digest": manifest.digest,
        "notes": list(manifest.notes),
        "replicates": replicates,
        "seed": seed,
        "iou_threshold": IOU_THRESHOLD,
        "counts": _counts(readings, marked, marks),
        "findings": _findings(readings, marks),
        "readers": _readers(readings, marks, marked),
        "agreement": _agreement(readings, marks, marked, replicates, seed),
        "pairs": _pairs(readings, marks, marked, replicates, seed),
    }
    logger.info("each reader against the others")
    options: dict[str, Any] = {"replicates": replicates, "seed": seed}
    found["ceiling"] = [_told(leave_one_out(readings, rule, **options), readings) for rule in RULES]
    found["ceiling_of_readers"] = {
        name: _told(leave_one_out(readings, RULE, reader=name, **options), readings)
        for number, name in enumerate(readings.names)
        if (readings.read[:, number] & marked).sum() >= FEWEST_MARKED
    }
    return found


def _counts(readings: Readings, marked: Bools, marks: Floats) -> dict[str, Any]:
    """`films_disputed`: some of the film's readers boxed something, and some nothing."""
    nothing = readings.read & ~(marks == 1).any(2)
    per_film = np.bincount(readings.read.sum(1))
    return {
        "films": len(readings),
        "readers": len(readings.names),
        "readings": int(readings.read.sum()),
        "films_by_readers": {str(n): int(films) for n, films in enumerate(per_film) if films},
        "boxes": len(readings.film),
        "readings_without_a_box": int(nothing.sum()),
        # A row a box, and one a reading without: what the publisher's table holds.
        "rows": len(readings.film) + int(nothing.sum()),
        "films_marked": int(marked.sum()),
        "films_disputed": int((marked & nothing.any(1)).sum()),
    }


def _findings(readings: Readings, marks: Floats) -> dict[str, Any]:
    shares = readings.area_shares()
    by_readers = np.nansum(marks, 1).astype(int)
    most = int(readings.read.sum(1).max(initial=0))
    found = {}
    for number, name in enumerate(readings.findings):
        own = shares[readings.finding == number]
        own = own[~np.isnan(own)]
        found[name] = {
            "boxes": int((readings.finding == number).sum()),
            "films": int((by_readers[:, number] > 0).sum()),
            "films_by_readers": [int((by_readers[:, number] == n).sum()) for n in range(1, most + 1)],
            "area_share": dict(zip(map(str, QUANTILES), np.quantile(own, QUANTILES).tolist(), strict=True))
            if len(own)
            else {},
        }
    return found


def _readers(readings: Readings, marks: Floats, marked: Bools) -> dict[str, Any]:
    boxes = np.bincount(readings.reader, minlength=len(readings.names))
    found = {}
    for number, name in enumerate(readings.names):
        films = int(readings.read[:, number].sum())
        seen = (marks[:, number] == 1).any(1)
        found[name] = {
            "films": films,
            "films_marked": int((readings.read[:, number] & marked).sum()),
            "boxes": int(boxes[number]),
            "share_with_a_box": float(seen.sum() / films),
            "boxes_on_such_a_film": float(boxes[number] / max(1, seen.sum())),
        }
    return found


def _agreement(
    readings: Readings, marks: Floats, marked: Bools, replicates: int, seed: int
) -> dict[str, dict[str, Any]]:
    """By finding, and over all of them: kappa at the level of films, and how boxes of two readers fit."""
    options: dict[str, Any] = {"replicates": replicates, "seed": seed}
    readers = readings.read.sum(1)
    usual = int(np.bincount(readers).argmax())
    whole = (readers == usual) & (usual > 1)
    together = readings.read.T.astype(np.int64) @ readings.read
    one, two = np.nonzero(np.triu(together, 1))  # readers who share films
    meeting, matched, agreeing, drawn = _overlaps(readings)
    found: dict[str, dict[str, Any]] = {}
    for number, name in (*enumerate(readings.findings), (None, EVERY)):
        row: dict[str, Estimate] = {}
        if number is not None:
            votes = np.nansum(marks[:, :, number], 1)
            table = np.stack([votes, readers - votes], 1)
            row["fleiss"] = fleiss_kappa(table[whole], **options)
            row["fleiss_marked"] = fleiss_kappa(table[whole & marked], **options)
            own = marks[:, :, number]
            row["cohen"] = cohen_kappa(own[:, one], own[:, two], **options)
            row["cohen_marked"] = cohen_kappa(own[marked][:, one], own[marked][:, two], **options)
        chosen = slice(None) if number is None else slice(number, number + 1)
        overlap, met, near, boxes = (a[:, chosen].sum(1) for a in (meeting, matched, agreeing, drawn))
        row["iou"] = ratio_of_sums(overlap, met, **options)
        row["found_by_both"] = ratio_of_sums(2 * near, boxes, **options)
        found[name] = {key: estimate.as_dict() for key, estimate in row.items()}
    return found


def _overlaps(readings: Readings) -> tuple[Floats, Floats, Floats, Floats]:
    """Over the pairs of readers of each film, (films, findings) each: the sum of IoU of matched boxes, how many matches
    there are, how many of them above the threshold, and how many boxes both drew.
    """
    films, findings = len(readings), len(readings.findings)
    size = films * findings
    sums = np.zeros((4, size))
    for first, second in combinations(readings.slots(), 2):
        both = np.logical_and(first.any(1), second.any(1))[:, None]
        a, b = readings.only(first & both), readings.only(second & both)
        groups, others = a.film * findings + a.finding, b.film * findings + b.finding
        rows, _, overlap = match(a.boxes, b.boxes, groups, others)
        cell = groups[rows]
        sums[0] += np.bincount(cell, overlap, minlength=size)
        sums[1] += np.bincount(cell, minlength=size)
        sums[2] += np.bincount(cell, overlap > IOU_THRESHOLD, minlength=size)
        sums[3] += np.bincount(groups, minlength=size) + np.bincount(others, minlength=size)
    meeting, matched, agreeing, drawn = sums.reshape(4, films, findings)
    return meeting, matched, agreeing, drawn


def _pairs(
    readings: Readings, marks: Floats, marked: Bools, replicates: int, seed: int
) -> list[dict[str, Any]]:
    """Each two readers who share films: kappa pooled over findings, on marked films and on all, where they are enough."""
    found = []
    for i, j in combinations(range(len(readings.names)), 2):
        shared = readings.read[:, i] & readings.read[:, j]
        row: dict[str, Any] = {"readers": [readings.names[i], readings.names[j]]}
        for key, films in (("kappa_marked", shared & marked), ("kappa", shared)):
            n, n_marked = int(films.sum()), int((films & marked).sum())
            kappa = Estimate.undefined(f"fewer than {FEWEST} films, or {FEWEST_MARKED} marked ones", n)
            if n >= FEWEST and n_marked >= FEWEST_MARKED:
                kappa = cohen_kappa(marks[films, i], marks[films, j], replicates=replicates, seed=seed)
            row[key] = kappa.as_dict()
        if shared.any():
            found.append(row)
    return found


def _told(ceiling: Ceiling, readings: Readings) -> dict[str, Any]:
    names = readings.findings
    return {
        "rule": ceiling.rule,
        "mean": ceiling.mean.as_dict(),
        "unordered": ceiling.unordered.as_dict(),
        "with_no_finding": ceiling.with_nothing.as_dict(),
        "findings": {
            name: estimate.as_dict() | {"precision": finite(precision), "recall": finite(recall)}
            for name, estimate, precision, recall in zip(
                names, ceiling.findings, ceiling.precision, ceiling.recall, strict=True
            )
        },
    }
