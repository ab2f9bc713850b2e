"""Weighted boxes fusion of five real folds on 3,000 films: ours in one call, beside `ensemble-boxes` film by film.

    python -m benchmarks.wbf [--data ../shared/data] [--iou 0.4] [--films 3000] [--rounds 3]

The folds are VinBigData submissions of one detector in original pixels, the sizes of the films unknown. The peer wants
coordinates from 0 to 1, so both get those of each film over a power of two above its largest one, which changes no digit.
Its order among equal scores is that of an unstable sort, so both get scores set apart by up to 5e-7, in one random order.
Then both must give the same boxes and scores within 1e-6, for every conf_type, which is checked. Prints CPU seconds of one
thread, conf_type the peer's default, the two in turns, medians; lists and arrays are made before the clock starts.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from benchmarks.figures import of_rounds, tell
from ensemble_boxes import weighted_boxes_fusion

from hilum.boxes import CONF_TYPES, Fused, group_numbers, wbf
from hilum.datasets import box_tables
from hilum.datasets.box_rows import CORNERS

Rows = tuple[np.ndarray, ...]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("HILUM_DATA", "../shared/data"))
    parser.add_argument("--iou", type=float, default=0.4)
    parser.add_argument("--films", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", choices=CONF_TYPES, nargs="*", default=["avg"])
    options = parser.parse_args()
    corners, scores, model, film, kind = boxes(Path(options.data), options.films)
    lists = list(by_film(corners, scores, model, film, kind))
    print(f"{len(scores):,} boxes, {model.max() + 1} models, {len(lists):,} films, {kind.max() + 1} classes")
    taken: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(options.rounds):
        started = time.process_time()
        ours = fused(corners, scores, model, film, kind, options.iou, "avg")
        taken["ours"].append(time.process_time() - started)
        started = time.process_time()
        found = peer(lists, options.iou, "avg")
        taken["theirs"].append(time.process_time() - started)
    compare(ours, film, kind, found, "avg")
    for conf_type in options.check:
        if conf_type != "avg":
            ours = fused(corners, scores, model, film, kind, options.iou, conf_type)
            compare(ours, film, kind, peer(lists, options.iou, conf_type), conf_type)
    ratios = [a / b for a, b in zip(taken["theirs"], taken["ours"], strict=True)]
    print(f"CPU seconds of one thread, median of {options.rounds}")
    print(f"ensemble-boxes  {median(taken['theirs']):9.2f}")
    print(f"ours            {median(taken['ours']):9.2f}")
    tell(
        of_rounds(
            "weighted boxes fusion of five detectors' boxes on 3,000 films", "ensemble-boxes", ratios, goal=20
        )
    )


def boxes(data: Path, films: int) -> Rows:
    """Corners (n, 4) from 0 to 1, distinct scores, model, film and class (n,) of the first so many films."""
    paths = sorted((data / "vinbig" / "submissions").glob("*.csv.gz"))
    tables = [box_tables.read(path) for path in paths]
    numbers = {name: i for i, name in enumerate(tables[0].films["image_id"][:films])}
    classes = {name: i for i, name in enumerate(box_tables.COMPETITION_CLASSES)}
    parts = []
    for model, table in enumerate(tables):
        rows = table.boxes.filter(table.boxes["image_id"].is_in(list(numbers)))
        film = rows["image_id"].replace_strict(numbers).to_numpy()
        kind = rows["finding"].replace_strict(classes).to_numpy()
        parts.append(
            (rows.select(CORNERS).to_numpy(), rows["score"].to_numpy(), film * 0 + model, film, kind)
        )
    corners, scores, model_of, film, kind = (np.concatenate(part) for part in zip(*parts, strict=True))
    largest = np.ones(len(numbers))
    np.maximum.at(largest, film, corners.max(1))
    corners = corners / 2.0 ** np.ceil(np.log2(largest))[film][:, None]
    apart = np.random.default_rng(0).permutation(len(scores)) / len(scores)
    return corners, scores - 5e-7 * apart, model_of, film, kind


def by_film(*rows: np.ndarray) -> Iterator[tuple[list[np.ndarray], ...]]:
    """The peer's lists of each film: corners, scores and classes by model."""
    corners, scores, model, film, kind = rows
    models, films = int(model.max()) + 1, int(film.max()) + 1
    order = np.argsort(film * models + model, kind="stable")
    bounds = np.searchsorted((film * models + model)[order], np.arange(films * models + 1))
    for number in range(films):
        own = [order[bounds[i] : bounds[i + 1]] for i in range(number * models, (number + 1) * models)]
        yield [corners[r] for r in own], [scores[r] for r in own], [kind[r] for r in own]


def fused(
    corners: np.ndarray,
    scores: np.ndarray,
    model: np.ndarray,
    film: np.ndarray,
    kind: np.ndarray,
    iou: float,
    conf_type: str,
) -> Fused:
    groups = group_numbers(film, kind)
    return wbf(corners, scores, model, groups, iou_threshold=iou, conf_type=conf_type)  # type: ignore[arg-type]


def peer(lists: list, iou: float, conf_type: str) -> list:
    return [weighted_boxes_fusion(*film, iou_thr=iou, conf_type=conf_type) for film in lists]


def compare(ours: Fused, film: np.ndarray, kind: np.ndarray, found: list, conf_type: str) -> None:
    """AssertionError unless both are the same rows of film, class, score and corners, in whatever order."""
    a = np.column_stack([film[ours.row], kind[ours.row], ours.scores, ours.boxes])
    b = np.concatenate(
        [np.column_stack([np.full(len(s), i), c, s, corners]) for i, (corners, s, c) in enumerate(found)]
    )
    assert a.shape == b.shape, f"{len(a):,} boxes beside {len(b):,}"
    keys = [np.lexsort(np.round(rows, 5).T[[6, 5, 4, 3, 2, 1, 0]]) for rows in (a, b)]
    off = np.abs(a[keys[0]] - b[keys[1]]).max(1)
    same = off <= 1e-6
    if not same.all():  # rounding for the order may part twins: pair each with its nearest
        left, right = a[keys[0]][~same], b[keys[1]][~same]
        off[~same] = [np.abs(right - row).max(1).min() for row in left]
    assert off.max() <= 1e-6, f"{(off > 1e-6).sum()} boxes differ, by up to {off.max():.2g}"
    print(f"{conf_type}: {len(a):,} boxes, the same on both sides; they differ by at most {off.max():.1e}")


if __name__ == "__main__":
    main()
