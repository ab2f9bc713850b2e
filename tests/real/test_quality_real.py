"""The quality gate on real films: how many frontal films it refuses, and how many others it lets through.

Films that took no part in the fit (see `benchmarks/quality_films.py`); of Cohen's also those that did, whose
held-out share stands in `frontal.json` (`cross_validated`).
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.images import frontal
from hilum.images.quality import assess
from hilum.images.radiograph import Radiograph
from hilum.images.read import read


def refusals(films: list[Radiograph]) -> list[str]:
    return [answer.reason or "" for answer in map(assess, films) if not answer.analysable]


def cohen(root: Path, views: tuple[str, ...]) -> list[Radiograph]:
    with open(root / "cohen/metadata.csv", newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["view"] in views]
    paths = [root / "cohen/images" / (row["shared_file"] or row["filename"]) for row in rows]
    return [read(path) for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def nih_test(real_data: Path) -> list[Radiograph]:
    listed = gzip.decompress((real_data / "nih14/train_val_list.txt.gz").read_bytes()).decode().split()
    fitted = {Path(name).stem for name in listed}
    return [read(p) for p in sorted((real_data / "nih14/images").glob("*.jpg")) if p.stem not in fitted]


def test_frontal_films_of_the_official_nih_test_set_pass(nih_test: list[Radiograph]) -> None:
    assert len(nih_test) == 357
    assert len(refusals(nih_test)) <= 4  # 1 %


@pytest.mark.parametrize(
    ("folder", "every", "most"),
    [("kermany/test", 3, 0.01), ("covid_radiography/images", 8, 0.01), ("vinbig/images", 1, 0)],
)
def test_frontal_films_of_other_hospitals_pass(real_data: Path, folder: str, every: int, most: float) -> None:
    paths = sorted(p for p in (real_data / folder).rglob("*") if p.suffix in (".jpg", ".jpeg"))[::every]
    found = refusals([read(p) for p in paths])
    assert len(found) <= most * len(paths), found


def test_38_lateral_views_are_refused_by_their_pixels(real_data: Path) -> None:
    laterals = cohen(real_data, ("L",))
    found = refusals(laterals)
    assert len(laterals) == 54
    assert len(found) >= 52
    assert sum("lateral" in reason for reason in found) >= 50


def test_laterals_of_patients_held_out_were_caught() -> None:
    rows = {row["group"]: row for row in frontal.provenance()["cross_validated"]}
    assert rows["lateral: cohen, cross-validated"]["refused_share"] >= 0.85
    assert rows["frontal: cohen, cross-validated"]["refused_share"] <= 0.02


def test_inverted_and_turned_films_are_refused(nih_test: list[Radiograph]) -> None:
    films = nih_test[::4]
    for change in (
        lambda p: 1 - p,
        lambda p: np.rot90(p),
        lambda p: np.rot90(p, 2),
        lambda p: np.rot90(p, 3),
    ):
        changed = [Radiograph(np.ascontiguousarray(change(film.pixels))) for film in films]
        assert len(refusals(changed)) >= 0.95 * len(films)


def test_human_lung_masks_are_plausible(real_data: Path) -> None:
    """No whole pair of lungs that a person drew is refused; few are noticed, besides lungs that are cut."""
    masks = sorted((real_data / "lungs_shenzhen/masks").glob("*.png"))[::12]
    codes = []
    for path in masks:
        (image,) = (real_data / "lungs_shenzhen/images").glob(path.stem + ".*")
        lungs = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0).astype(np.uint8)
        answer = assess(read(image), lungs)
        assert answer.analysable, (path.name, answer.reason)
        codes += [notice.code for notice in answer.notices]
    assert len(codes) <= 0.05 * len(masks)
