"""What a detector finds, on stored films and on films as they are, held to the boxes that the manifest has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hilum.boxes import Selected
from hilum.bundles import Bundle
from hilum.bundles.detecting import detect
from hilum.datasets.manifest import Manifest
from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_ap import COMPETITION_IOU, voc_ap_estimates
from hilum.evaluation.detection_coco import coco
from hilum.evaluation.detection_range import ap_estimate
from hilum.learning.material import patient_keys, patients_in
from hilum.learning.writing import named, whole, write_whole
from hilum.progress import tracked

AP50 = 0.5


def detect_store(
    bundle: Bundle,
    images: NDArray[Any],
    rows: NDArray[np.int64],
    targets: NDArray[np.float32],
    batch: int = 16,
) -> Detections:
    """Boxes on stored films, in prepared pixels, beside the targets (n, k, 5) that they are held to."""
    parts = []
    for start in tracked(range(0, len(rows), batch), "detecting"):
        tensor = bundle.info.preparation.tensor(images[rows[start : start + batch]])
        parts.append(detect(bundle, tensor, start))
    film, row = np.nonzero(~np.isnan(targets[..., 0]))
    true = targets[film, row].astype(np.float64)
    return beside(parts, true[:, 1:], film, true[:, 0].astype(np.int64), len(rows), len(bundle.labels))


def beside(
    parts: Sequence[Selected],
    true_boxes: NDArray[np.float64],
    true_film: NDArray[np.int64],
    true_kind: NDArray[np.int64],
    films: int,
    classes: int,
) -> Detections:
    """What was found, film by film, beside what is true."""
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("boxes", "scores", "film", "kind")
    }
    return Detections(
        **joined,
        true_boxes=true_boxes,
        true_film=true_film,
        true_kind=true_kind,
        films=films,
        classes=classes,
    )


def true_boxes(manifest: Manifest, labels: Sequence[str]) -> pl.DataFrame:
    """The manifest's boxes of these labels with `film` and `kind`, their numbers."""
    films = pl.DataFrame({"image_id": manifest.image_ids, "film": np.arange(len(manifest))})
    kinds = pl.DataFrame({"finding": list(labels), "kind": np.arange(len(labels))})
    return manifest.boxes.join(films, on="image_id").join(kinds, on="finding")


def measure_detector(
    boxes: Detections, names: Sequence[str], manifest: Manifest, folder: Path, unit: str
) -> dict[str, Any]:
    """Write `boxes.csv` and `metrics.json` to `folder`; return the card's section. Each file is whole or not there."""
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    patients = np.array(patient_keys(manifest))
    by_class = voc_ap_estimates(boxes, COMPETITION_IOU, patients)
    facts = {
        "mAP at IoU above 0.4": by_class.mean,
        "AP50": ap_estimate(boxes, (AP50,), patients),
        "AP50:95": ap_estimate(boxes, groups=patients),
    }
    exact = coco(boxes).ap
    table = pl.DataFrame(
        {
            "image_id": np.array(manifest.image_ids)[boxes.film],
            "finding": np.array(names)[boxes.kind],
            "score": boxes.scores,
            **{name: boxes.boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))},
        }
    )
    with whole(folder / "boxes.csv") as work:
        table.write_csv(work)
    rows = [
        {"finding": name, "boxes": int((boxes.true_kind == kind).sum()), "AP at IoU above 0.4": _bounds(each)}
        for kind, (name, each) in enumerate(zip(names, by_class.classes, strict=True))
    ]
    content = {
        "facts": {k: v.as_dict() for k, v in facts.items()},
        "coco_ap": None if np.isnan(exact) else exact,
    }
    write_whole(
        folder / "metrics.json", json.dumps({**content, "classes": rows}, indent=1, allow_nan=False) + "\n"
    )
    note = (
        f"{boxes.films} films of {patients_in(manifest)} patients with {len(boxes.true_boxes)} boxes, in {unit}; average"
        f" precision over all points; intervals are 95 %, by patient. COCO's AP (101 points): {exact:.3f}."
    )
    return {
        "note": note,
        "facts": {k: v.as_dict() for k, v in facts.items()},
        "tables": {"per finding": rows},
    }


def _bounds(estimate: Any) -> dict[str, Any]:
    values = estimate.as_dict()
    return {k: values[k] for k in ("value", "low", "high")}
