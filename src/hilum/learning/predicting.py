"""What a bundle says of a manifest's films, read one after the other: logits, masks beside the truth, boxes beside it."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from hilum.boxes import Selected
from hilum.bundles import Bundle
from hilum.bundles.detecting import detect_film
from hilum.bundles.focus import window_of
from hilum.datasets.manifest import Manifest
from hilum.datasets.preparing import IGNORE, canonical_mask, read_mask
from hilum.errors import HilumError, ManifestError, ReadError, named_fault
from hilum.evaluation.detection import Detections
from hilum.evaluation.overlap import OverlapScores, overlap_scores
from hilum.images.radiograph import Radiograph
from hilum.images.read import read
from hilum.learning.detections import beside, true_boxes
from hilum.progress import tracked

logger = logging.getLogger(__name__)

BATCH = 32


def logits_of(bundle: Bundle, films: Manifest) -> tuple[Manifest, NDArray[np.float32], list[str], list[str]]:
    """Logits of every readable film, the faults of the others, and which were seen whole for want of lungs."""
    whole: list[str] = []
    found: list[NDArray[np.float32]] = []
    failures: list[str] = []
    waiting: list[torch.Tensor] = []
    good: list[bool] = []

    def infer() -> None:
        with torch.inference_mode():
            found.append(
                bundle(torch.cat(waiting).contiguous(memory_format=torch.channels_last)).float().numpy()
            )
        waiting.clear()

    bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for image_id, path in zip(films.image_ids, tracked(films.paths(), "reading and predicting"), strict=True):
        try:
            film = read(path)
            window = window_of(bundle, film)
            waiting.append(bundle.prepare(film, window))
            whole += [image_id] if window is not None and not window.found else []
            good.append(True)
        except HilumError as error:
            failures.append(_fault(image_id, error))
            good.append(False)
        if len(waiting) == BATCH:
            infer()
    if waiting:
        infer()
    if not found:
        raise ReadError(f"none of the {len(films)} films could be read; the first: {failures[0]}")
    return films.filter(pl.Series(good)), np.concatenate(found), failures, whole


def overlaps_of(bundle: Bundle, films: Manifest) -> tuple[Manifest, list[OverlapScores], list[str]]:
    """Scores of every film that can be read, on the film's own grid, and the faults of the others.

    A mask that a film has but that cannot be read is an error, for it is the truth.
    """
    if "mask" not in films.table.columns or films.table["mask"].is_null().all():
        raise ManifestError(
            "these films have no masks", mend="Evaluate a segmenter on a manifest with a mask column"
        )
    without = films.table["mask"].is_null()
    if without.any():
        logger.warning("%d of %d films have no mask and are left out", without.sum(), len(films))
    films = films.filter(pl.Series(~without))
    scores, failures, good = [], [], []
    for row, path in enumerate(tracked(films.paths(), "reading and measuring")):
        try:
            film = read(path)
        except HilumError as error:
            failures.append(_fault(films.image_ids[row], error))
            good.append(False)
            continue
        scores.append(_overlap(bundle, film, films, row))
        good.append(True)
    if not scores:
        raise ReadError(f"none of the {len(films)} films could be read; the first: {failures[0]}")
    return films.filter(pl.Series(good)), scores, failures


def _overlap(bundle: Bundle, film: Radiograph, films: Manifest, row: int) -> OverlapScores:
    """Scores of the mask at the label's threshold (0.5 where it has none), as the network gives it: reports clean it."""
    table, size = films.table, (film.height, film.width)
    value, ignore = (table[c][row] if c in table.columns else None for c in ("mask_value", "mask_ignore"))
    truth = canonical_mask(read_mask(films.absolute(table["mask"][row]), size), value, ignore)
    with torch.inference_mode():
        maps = bundle.probabilities(bundle(bundle.prepare(film)).movedim(1, -1))
    threshold = bundle.info.labels[0].threshold
    probability = bundle.place(film).map_to_source(maps[0].amax(-1).numpy())
    found = probability >= (threshold.value if threshold else 0.5)
    return overlap_scores(truth == 1, found, ignore=truth == IGNORE)


def boxes_of(bundle: Bundle, films: Manifest) -> tuple[Manifest, Detections, list[str], list[str]]:
    """What is found on every film that can be read beside the films' own boxes (those outside a focus too), the faults of
    the others, and which films were seen whole for want of lungs.
    """
    told = {
        name: (width, height)
        for name, width, height in films.table.select("image_id", "width", "height").rows()
    }
    whole: list[str] = []
    parts: list[Selected] = []
    failures: list[str] = []
    good: list[bool] = []
    for image_id, path in zip(films.image_ids, tracked(films.paths(), "reading and detecting"), strict=True):
        try:
            film = read(path)
            window = window_of(bundle, film)
            parts.append(_as_told(detect_film(bundle, film, len(parts), window), film, *told[image_id]))
            whole += [image_id] if window is not None and not window.found else []
            good.append(True)
        except HilumError as error:
            failures.append(_fault(image_id, error))
            good.append(False)
    if not parts:
        raise ReadError(f"none of the {len(films)} films could be read; the first: {failures[0]}")
    films = films.filter(pl.Series(good))
    true = true_boxes(films, bundle.labels)
    if not true.height:
        raise ManifestError(
            "none of these films has a box of a finding that the bundle gives",
            mend=f"It gives: {', '.join(bundle.labels)}",
        )
    corners = true.select("x1", "y1", "x2", "y2").to_numpy().astype(np.float64)
    number, kind = (true[name].to_numpy().astype(np.int64) for name in ("film", "kind"))
    return films, beside(parts, corners, number, kind, len(films), len(bundle.labels)), failures, whole


def _as_told(found: Selected, film: Radiograph, width: int | None, height: int | None) -> Selected:
    """Boxes in pixels of a film of the size that its manifest tells, which its boxes are in, where the file has another."""
    if width is None or height is None or (width, height) == (film.width, film.height):
        return found
    scale = np.array([width / film.width, height / film.height] * 2)
    return Selected(found.boxes * scale, found.scores, found.film, found.kind)


def _fault(image_id: str, error: HilumError) -> str:
    """For a result that a bundle keeps, and is passed on with."""
    logger.warning("left out: %s", error)
    return named_fault(image_id, error)
