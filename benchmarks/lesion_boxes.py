"""What the heatmaps of a classifier find of radiologists' boxes: the official boxes of ChestX-ray14 on films at hand.

    python -m benchmarks.lesion_boxes ROOT/nih14 [--bundle findings] [--methods cam,grad_cam_plus_plus] [--detector BUNDLE]

Prints, by method and finding and over all, as a table: the share of the heat inside the boxes beside the boxes' share of the
film (what an even map has), how often the hottest point lies in a box or within 15 pixels of a film of 1,024 (the pointing
game), and the IoU of the boxes with as many of the hottest pixels. Intervals are by patient. `--detector`: also how many of
the boxes of findings that it knows a detector finds at an IoU above 0.4 and above 0.1, by its boxes of that finding that
are called.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.analysis.detection import detect_together
from hilum.analysis.explain import CLOSED_FORM, explain
from hilum.analysis.heatmaps import heatmap_on_film
from hilum.boxes import iou
from hilum.bundles import load
from hilum.bundles.card import table
from hilum.datasets import registry
from hilum.evaluation.estimate import proportion
from hilum.evaluation.saliency import (
    Score,
    box_mask,
    energy,
    hit_rate,
    iou_at_area,
    pointing,
    summarise_scores,
)
from hilum.evaluation.saliency_findings import by_finding
from hilum.images.radiograph import Radiograph
from hilum.images.read import read

TOLERANCE, OF = 15, 1024
OVERLAPS = (0.4, 0.1)


@dataclass(frozen=True)
class Boxed:
    """A film with the boxes (n, 4) of one finding, in its pixels."""

    film: Radiograph
    patient: str
    finding: str
    boxes: NDArray[np.float64]

    @property
    def mask(self) -> NDArray[np.bool_]:
        return box_mask(self.boxes, (self.film.height, self.film.width))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--bundle", default="findings")
    parser.add_argument("--methods", default=",".join(CLOSED_FORM))
    parser.add_argument("--detector")
    given = parser.parse_args()
    bundle = load(given.bundle)
    cases = [case for case in boxed(given.root) if case.finding in bundle.labels]
    print(f"{len(cases)} films and findings with boxes, {len({c.patient for c in cases})} patients\n")
    rows = []
    for method in given.methods.split(","):
        rows += heat_rows(cases, method, given.bundle)
    print(table(rows))
    if given.detector:
        print()
        print(table(detector_rows(cases, given.detector)))


def boxed(root: Path) -> Iterator[Boxed]:
    """Each film and finding with official boxes."""
    manifest = registry.load("nih14", root)
    where = dict(zip(manifest.image_ids, manifest.paths(), strict=True))
    of = dict(zip(manifest.image_ids, manifest.table["patient"], strict=True))
    grouped = manifest.boxes.group_by("image_id", "finding", maintain_order=True)
    for (image_id, finding), boxes in grouped:
        corners = boxes.select("x1", "y1", "x2", "y2").to_numpy()
        yield Boxed(read(where[str(image_id)]), str(of[str(image_id)]), str(finding), corners)


def heat_rows(cases: list[Boxed], method: str, name: str) -> list[dict[str, object]]:
    """A row a finding, and one of all."""
    bundle = load(name)
    inside: list[Score] = []
    hits: list[Score] = []
    overlap: list[Score] = []
    for case in cases:
        heat = explain(bundle, case.film, method)[bundle.labels.index(case.finding)]
        whole = heatmap_on_film(heat, (case.film.height, case.film.width))
        near = TOLERANCE * max(whole.shape) / OF
        inside.append(energy(whole, case.mask))
        hits.append(pointing(whole, case.mask, tolerance=near))
        overlap.append(iou_at_area(whole, case.mask, share=float(case.mask.mean())))
    findings, patients = [c.finding for c in cases], np.array([c.patient for c in cases])
    share = np.array([c.mask.mean() for c in cases])
    columns = {
        "heat inside": {**by_finding(findings, inside, patients), "all": summarise_scores(inside, patients)},
        "hottest point": {
            **by_finding(findings, hits, patients, summarise=hit_rate),
            "all": hit_rate(hits, patients),
        },
        "IoU": {**by_finding(findings, overlap, patients), "all": summarise_scores(overlap, patients)},
    }
    rows = []
    for finding in (*sorted(set(findings)), "all"):
        own = np.array([finding in (each, "all") for each in findings])
        cells = {name: column[finding].as_dict() for name, column in columns.items()}
        rows.append(
            {
                "method": method,
                "finding": finding,
                "films": int(own.sum()),
                "even": f"{share[own].mean():.3f}",
            }
            | cells
        )
    return rows


def detector_rows(cases: list[Boxed], name: str) -> list[dict[str, object]]:
    """How many boxes of findings that a detector knows it finds."""
    bundle = load(name)
    known = [case for case in cases if case.finding in bundle.labels]
    best, patients = [], []
    for case in known:
        own = [each.box for each in detect_together([bundle], case.film).called if each.name == case.finding]
        overlaps = iou(case.boxes, np.array(own).reshape(-1, 4))
        best += overlaps.max(1, initial=0.0).tolist()
        patients += [case.patient] * len(case.boxes)
    return [
        {
            "IoU above": f"{least:g}",
            "boxes": len(best),
            "found": proportion(np.array(best) > least, np.array(patients)).as_dict(),
        }
        for least in OVERLAPS
    ]


if __name__ == "__main__":
    main()
