"""Shenzhen films with human lung masks and a tuberculosis label."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_NAME = re.compile(r"^CHNCXR_(?P<number>\d+)_(?P<tuberculosis>[01])$")


@source(
    "shenzhen",
    title="Shenzhen lung masks",
    what="566 frontal films with lung masks; half of the patients have tuberculosis",
    licence="films: National Library of Medicine; masks: CC BY-NC-SA (Stirenko et al.)",
    homepage="US National Library of Medicine, Tuberculosis Chest X-ray Image Data Sets",
    citation="Jaeger et al., Quant Imaging Med Surg 2014; masks: Stirenko et al., 2018",
    layout="""
        images/CHNCXR_0001_0.png|jpg    _0 normal, _1 tuberculosis
        masks/CHNCXR_0001_0.png, or CHNCXR_0001_0_mask.png    anything but 0 is lung
    """,
)
def load(root: Path) -> Manifest:
    """Films that have a mask; each film is a patient of its own, as published. Films without a mask are
    `missing`.
    """
    root = disk.folder(root)
    for needed in ("images", "masks"):
        if not (root / needed).is_dir():
            raise DataError(
                f"no folder '{needed}'", path=root, mend="Give the folder that holds images/ and masks/."
            )
    films = disk.images_by_stem(root / "images")
    masks = {s.removesuffix("_mask"): p for s, p in disk.images_by_stem(root / "masks", (".png",)).items()}
    rows, missing = [], []
    for stem, path in films.items():
        name = _NAME.match(stem)
        if name is None:
            raise DataError(f"'{path}' is not named like CHNCXR_0001_0", path=root / "images")
        if stem not in masks:
            missing.append((stem, f"masks/{stem}.png"))
            continue
        sick = name["tuberculosis"] == "1"
        rows.append(
            (stem, f"images/{path}", f"masks/{masks[stem]}", f"shenzhen:{name['number']}", float(sick))
        )
    if not rows:
        raise DataError("no film has a mask", path=root)
    table = disk.texts(rows, "image_id", "path", "mask", "patient", LABEL + "Tuberculosis")
    table = disk.measured(table, root)
    sick_class = (
        pl.when(pl.col(LABEL + "Tuberculosis") == 1).then(pl.lit("Tuberculosis")).otherwise(pl.lit("Normal"))
    )
    table = table.with_columns(sick_class.alias("class"), source=pl.lit("shenzhen"))
    notes = ("The masks leave out the lung behind the heart, unlike the V7 masks.",)
    gone = disk.texts(missing, "image_id", "path")
    return Manifest(table, root=root, missing=gone, notes=notes)
