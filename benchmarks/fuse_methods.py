"""Five real folds of VinBigData, 3,000 films, fused by every method: boxes and CPU seconds, as a table in Markdown.

    python -m benchmarks.fuse_methods [--data ../shared/data] [--iou 0.4] [--rounds 3] > docs/results/boxes/fused.md

There is no public truth of these films, so no score is given: the table says what each method does, not how well.
CPU seconds are of one thread, without reading and writing, median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median

from hilum.boxes import METHODS
from hilum.datasets import box_tables
from hilum.datasets.box_sets import fuse_tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("HILUM_DATA", "../shared/data"))
    parser.add_argument("--iou", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paths = sorted((Path(options.data) / "vinbig" / "submissions").glob("*.csv.gz"))
    started = time.process_time()
    folds = [box_tables.read(path) for path in paths]
    reading = time.process_time() - started
    total, films = sum(fold.boxes.height for fold in folds), folds[0].films.height
    print("# Five real folds, fused\n")
    print(
        f"{total:,} boxes of {len(folds)} folds on {films:,} films of VinBigData's test set, IoU {options.iou:g}, every"
    )
    print(
        "other option its default; no score is claimed, for these films have no public truth. Reading and checking the"
    )
    print(f"tables took {reading:.1f} CPU seconds; fusing as below. Made by")
    print(f"`python -m benchmarks.fuse_methods --iou {options.iou:g} --rounds {options.rounds}`.\n")
    print("| method | boxes | boxes a film | with a score of 0.1 or more | highest score | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for method in METHODS:
        taken = []
        for _ in range(options.rounds):
            started = time.process_time()
            fused = fuse_tables(folds, method=method, iou_threshold=options.iou).boxes
            taken.append(time.process_time() - started)
        sure = int((fused["score"] >= 0.1).sum())
        row = (f"{fused.height:,}", f"{fused.height / films:.1f}", f"{sure:,}", f"{fused['score'].max():.3f}")
        print(f"| {method} | {' | '.join(row)} | {median(taken):.2f} |")


if __name__ == "__main__":
    main()
