"""How far people agree on where lungs end, and how far the lungs bundle agrees with each of them.

Two groups of people marked lungs on the same films of the Cohen collection: one drew masks (V7), the other a box a lung.
For films that the bundle neither learnt from nor was chosen on, prints the mean IoU a lung of the boxes around the masks,
around the bundle's lungs, and those drawn by the second group, with intervals by patient; and for each pair how far the
lower edges lie apart, where masks differ most.

    python -m benchmarks.lungs_agreement runs/lungs/manifest.parquet [--bundle lungs]
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.bundles import load
from hilum.datasets.manifest import Manifest
from hilum.datasets.preparing import canonical_mask, read_mask
from hilum.evaluation.bootstrap import bootstrap
from hilum.images.lung_masks import find_lungs, split
from hilum.images.read import read
from hilum.learning.material import patient_keys

ROOT = Path(os.environ.get("HILUM_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data")
Boxes = dict[str, NDArray[np.float64]]
PAIRS = (("masks", "boxes"), ("bundle", "masks"), ("bundle", "boxes"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="the manifest of the run that made the bundle")
    parser.add_argument("--bundle", default="lungs")
    given = parser.parse_args()
    drawn = drawn_boxes(ROOT / "lung_boxes" / "annotations.json")
    films = Manifest.load(given.manifest).filter(split="test")
    bundle = load(given.bundle)
    keys = patient_keys(films)
    patients, overlaps, edges = [], defaultdict(list), defaultdict(list)
    for row, path in enumerate(films.paths()):
        if path.name not in drawn:
            continue
        found = {
            "boxes": drawn[path.name],
            "masks": mask_boxes(films, row),
            "bundle": bundle_boxes(bundle, path),
        }
        for side in ("left", "right"):
            if not all(side in boxes for boxes in found.values()):
                continue
            patients.append(keys[row])
            for pair in PAIRS:
                first, second = (found[name][side] for name in pair)
                overlaps[pair].append(iou(first, second))
                edges[pair].append(abs(first[3] - second[3]) / (second[3] - second[1]))
    print(
        f"{len(patients)} lungs of {len(set(patients))} patients, none in the bundle's training or validation"
    )
    for pair in PAIRS:
        overlap, edge = (estimate(values[pair], patients) for values in (overlaps, edges))
        print(f"{pair[0]:>7} and {pair[1]:<6} IoU {overlap}; lower edges apart, of the height: {edge}")


def drawn_boxes(path: Path) -> dict[str, Boxes]:
    """File name to (x1, y1, x2, y2) of each lung, as the second group drew them (COCO)."""
    content = json.loads(path.read_text())
    sides = {c["id"]: c["name"].split()[0].lower() for c in content["categories"]}
    names = {i["id"]: i["file_name"] for i in content["images"]}
    out: dict[str, Boxes] = defaultdict(dict)
    for mark in content["annotations"]:
        x, y, width, height = mark["bbox"]
        out[names[mark["image_id"]]][sides[mark["category_id"]]] = np.array([x, y, x + width, y + height])
    return out


def mask_boxes(films: Manifest, row: int) -> Boxes:
    table = films.table
    size = (table["height"][row], table["width"][row])
    mask = read_mask(films.absolute(table["mask"][row]), size)
    truth = canonical_mask(mask, table["mask_value"][row], table["mask_ignore"][row])
    left, right = split((truth == 1).astype(np.uint8))
    return around({"left": left, "right": right})


def bundle_boxes(bundle: torch.nn.Module, path: Path) -> Boxes:
    film = read(path)
    with torch.inference_mode():
        probability = bundle(bundle.prepare(film)).sigmoid()[0].amax(0).numpy()
    placement = bundle.info.preparation.place((film.height, film.width))
    lungs = find_lungs(probability, placement, 0.5)
    return around({"left": lungs.left, "right": lungs.right})


def around(masks: dict[str, NDArray[np.uint8]]) -> Boxes:
    """The smallest box around each mask that is not empty."""
    boxes = {}
    for side, mask in masks.items():
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            boxes[side] = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
    return boxes


def iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (first, second)]
    return shared / (sum(areas) - shared)


def estimate(values: list[float], patients: list[str]) -> str:
    array = np.array(values)
    found = bootstrap(lambda rows: float(array[rows].mean()), len(array), patients)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


if __name__ == "__main__":
    main()
