"""COCO's twelve numbers of real boxes: ours, beside pycocotools (C for the overlaps, Python for the matching).

    python -m benchmarks.detection_ap [--data ../shared/data] [--least 0.1] [--rounds 3]

The predictions are fold 1 of the real VinBigData folds, all boxes on 3,000 films. There is no public truth, so fold 0's
boxes with a score of at least `--least` stand in for one: it serves equality and speed, and says nothing of any model.
Both get the same arrays; the peer's annotations and index are made before the clock starts. All twelve numbers must agree
within 1e-12. Prints CPU seconds of one thread, median of the rounds, taken in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from benchmarks.figures import of_rounds, tell
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from hilum.boxes import area
from hilum.datasets import box_tables
from hilum.datasets.box_rows import CORNERS
from hilum.evaluation.detection import Detections
from hilum.evaluation.detection_coco import coco


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("HILUM_DATA", "../shared/data"))
    parser.add_argument("--least", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    boxes = real(Path(options.data), options.least)
    print(
        f"{len(boxes.boxes):,} predicted and {len(boxes.true_boxes):,} stand-in true boxes, {boxes.films:,} films"
    )
    truth = index(boxes.true_boxes, None, boxes.true_film, boxes.true_kind, boxes)
    found = index(boxes.boxes, boxes.scores, boxes.film, boxes.kind, boxes)
    taken: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(options.rounds):
        started = time.process_time()
        ours = coco(boxes).as_dict()
        taken["ours"].append(time.process_time() - started)
        started = time.process_time()
        theirs = peer(truth, found)
        taken["theirs"].append(time.process_time() - started)
    numbers = [-1.0 if value is None else value for value in ours.values()]
    np.testing.assert_allclose(numbers, theirs, rtol=0, atol=1e-12)
    print("all twelve numbers agree within 1e-12")
    ratios = [a / b for a, b in zip(taken["theirs"], taken["ours"], strict=True)]
    print(f"CPU seconds of one thread, median of {options.rounds}")
    print(f"pycocotools  {median(taken['theirs']):9.2f}")
    print(f"ours         {median(taken['ours']):9.2f}")
    tell(of_rounds("COCO's twelve numbers of real boxes on 3,000 films", "pycocotools", ratios, goal=5))


def real(data: Path, least: float, films: int = 3000) -> Detections:
    """Fold 1 beside what fold 0 is surest of, on the first so many films."""
    folder = data / "vinbig" / "submissions"
    truth, predicted = (box_tables.read(folder / f"yolo26x_fold{i}.csv.gz") for i in (0, 1))
    numbers = {name: i for i, name in enumerate(truth.films["image_id"][:films])}
    mine, sure = (table.boxes.filter(pl.col("image_id").is_in(list(numbers))) for table in (predicted, truth))
    sure = sure.filter(pl.col("score") >= least)
    classes = {name: i for i, name in enumerate(box_tables.COMPETITION_CLASSES)}
    film, kind = (
        [rows[column].replace_strict(codes).to_numpy() for rows in (mine, sure)]
        for column, codes in (("image_id", numbers), ("finding", classes))
    )
    corners = [rows.select(CORNERS).to_numpy() for rows in (mine, sure)]
    scores = mine["score"].to_numpy()
    return Detections(
        corners[0],
        scores,
        film[0],
        kind[0],
        corners[1],
        film[1],
        kind[1],
        len(numbers),
        len(classes),
    )


def index(
    corners: np.ndarray, scores: np.ndarray | None, film: np.ndarray, kind: np.ndarray, boxes: Detections
) -> COCO:
    made = COCO()
    wide = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
    areas = area(corners).tolist()
    made.dataset = {
        "images": [{"id": i} for i in range(boxes.films)],
        "categories": [{"id": i} for i in range(boxes.classes)],
        "annotations": [
            {
                "id": row + 1,
                "image_id": int(film[row]),
                "category_id": int(kind[row]),
                "bbox": wide[row],
                "area": areas[row],
                "iscrowd": 0,
                "score": 1.0 if scores is None else float(scores[row]),
            }
            for row in range(len(corners))
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        made.createIndex()
    return made


def peer(truth: COCO, found: COCO) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(truth, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats


if __name__ == "__main__":
    main()
