"""The square around the lungs on real films: what people drew on them lies inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from hilum.bundles.focus import Finder, pinned
from hilum.datasets import registry
from hilum.images.preparation import Focus, Preparation
from hilum.images.read import read
from hilum.learning.targets import boxes_of


def test_boxes_of_findings_and_of_lungs_lie_in_the_window(real_data: Path):
    finder = Finder(Preparation(size=(64, 64), focus=pinned(Focus())))
    lungs = registry.load("coco", real_data / "lung_boxes", images="../cohen/images", prefix="cohen")
    every = pl.Series([row % 30 == 0 for row in range(len(lungs))])
    for films, labels in (
        (registry.load("vinbig", real_data / "vinbig"), None),
        (lungs.filter(every), ("Right Lung", "Left Lung")),
    ):
        labels = labels or tuple(sorted(set(films.boxes["finding"])))
        windows = {i: finder(read(p)) for i, p in zip(films.image_ids, films.paths(), strict=True)}
        assert all(window.found for window in windows.values())
        steps = Preparation(size=(512, 512), aspect="pad", focus=finder.steps.focus)
        held = boxes_of(films, labels, steps, windows)
        assert (~np.isnan(held[..., 0])).sum() == films.boxes.height, "none is left out"
        sizes = dict(zip(films.image_ids, films.table.select("height", "width").rows(), strict=True))
        for image_id, finding, *box in films.boxes.select(
            "image_id", "finding", "x1", "y1", "x2", "y2"
        ).rows():
            height, width = sizes[image_id]
            window = windows[image_id]
            box = np.array(box) * ([window.film[1] / width, window.film[0] / height] * 2)
            x1, y1, x2, y2 = window.box
            cut = np.clip(box, [x1, y1, x1, y1], [x2, y2, x2, y2])
            assert np.prod(cut[2:] - cut[:2]) > 0.85 * np.prod(box[2:] - box[:2]), (image_id, finding)
