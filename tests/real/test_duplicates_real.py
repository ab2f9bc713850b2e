"""Near-duplicates of two real COVID-19 sets, held to the pictures themselves at their own size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import polars as pl

from hilum.datasets import duplicates, registry
from hilum.datasets.manifest import concat


def test_twins_of_cohen_in_covid_radiography(real_data: Path) -> None:
    number = pl.col("image_id").str.extract(r"-(\d+)$").cast(pl.Int32)
    other = registry.load("covid_radiography", real_data / "covid_radiography").filter(number <= 250)
    cohen = registry.load("cohen", real_data / "cohen", frontal_only=True).filter(
        pl.col("class") == "COVID-19"
    )
    both = concat([cohen, other])
    found = duplicates.find(both)
    across = duplicates.crossing(both, found.groups, "source")
    assert 70 <= across <= 90
    path = dict(zip(both.image_ids, both.paths(), strict=True))
    agree = []
    for a, b in found.pairs.select("a", "b").rows():
        films = [cv2.resize(cv2.imread(str(path[i]), cv2.IMREAD_GRAYSCALE), (160, 160)) for i in (a, b)]
        agree.append(np.corrcoef(films[0].ravel(), films[1].ravel())[0, 1])
    # Unrelated films of these sets reach 0.88 once in a thousand pairs.
    assert min(agree) > 0.95
