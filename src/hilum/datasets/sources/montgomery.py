"""Montgomery County films with human masks of the left and the right lung, and a tuberculosis label."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from hilum.datasets import disk, joined_masks
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_NAME = re.compile(r"^MCUCXR_(?P<number>\d+)_(?P<tuberculosis>[01])$")
_SEX = re.compile(r"Sex:\s*([FM])", re.IGNORECASE)
_AGE = re.compile(r"Age:\s*0*(\d+)\s*(?:Y|\b)", re.IGNORECASE)


@source(
    "montgomery",
    title="Montgomery County lung masks",
    what="138 frontal films with masks of each lung, sex and age; 58 of tuberculosis",
    licence="free use with attribution (National Library of Medicine)",
    homepage="US National Library of Medicine, Tuberculosis Chest X-ray Image Data Sets",
    citation="Jaeger et al., Quant Imaging Med Surg 2014; Candemir et al., IEEE Trans Med Imaging 2014",
    layout="""
        CXR_png/MCUCXR_0001_0.png             _0 normal, _1 tuberculosis
        ManualMask/leftMask/MCUCXR_0001_0.png   the patient's left lung
        ManualMask/rightMask/MCUCXR_0001_0.png  the patient's right lung
        ClinicalReadings/MCUCXR_0001_0.txt    sex and age; may be absent
    """,
)
def load(root: Path, *, joined: str | None = None) -> Manifest:
    """Films that have a mask of both lungs; each film is a patient of its own, as published. Films without are
    `missing`.

    The two masks are joined into one PNG a film (128 the patient's right lung, 255 the left), written to the folder
    `joined`; default `hilum_masks` in the dataset's. `reading` is the radiologist's line of the clinical file.
    """
    root = disk.folder(root)
    sides = {side: root / "ManualMask" / f"{side}Mask" for side in ("left", "right")}
    for needed in (root / "CXR_png", *sides.values()):
        if not needed.is_dir():
            wanted = needed.relative_to(root).as_posix()
            mend = "Give the folder that holds CXR_png/ and ManualMask/."
            raise DataError(f"no folder '{wanted}'", path=root, mend=mend)
    masks = {side: disk.images_by_stem(folder, (".png",)) for side, folder in sides.items()}
    rows, missing = [], []
    for stem, path in disk.images_by_stem(root / "CXR_png").items():
        name = _NAME.match(stem)
        if name is None:
            raise DataError(f"'{path}' is not named like MCUCXR_0001_0", path=root / "CXR_png")
        gone = [side for side in sides if stem not in masks[side]]
        if gone:
            missing.append((stem, f"ManualMask/{gone[0]}Mask/{stem}.png"))
            continue
        told = _told(root / "ClinicalReadings" / f"{stem}.txt")
        rows.append(
            (stem, f"CXR_png/{path}", f"montgomery:{name['number']}", float(name["tuberculosis"]), *told)
        )
    if not rows:
        raise DataError("no film has a mask of both lungs", path=root)
    columns = ("image_id", "path", "patient", LABEL + "Tuberculosis", "sex", "age", "reading")
    table = disk.measured(disk.texts(rows, *columns), root)
    right, left = ({stem: sides[s] / path for stem, path in masks[s].items()} for s in ("right", "left"))
    table = joined_masks.with_masks(table, root, joined_masks.folder(root, joined), right, left)
    sick = pl.col(LABEL + "Tuberculosis") == 1
    table = table.with_columns(
        pl.when(sick).then(pl.lit("Tuberculosis")).otherwise(pl.lit("Normal")).alias("class"),
        view=pl.lit("PA"),
        source=pl.lit("montgomery"),
    )
    notes = (
        "The masks leave out the lung behind the heart, unlike the V7 masks.",
        *joined_masks.half_empty(table, root),
    )
    return Manifest(table, root=root, missing=disk.texts(missing, "image_id", "path"), notes=notes)


def _told(path: Path) -> tuple[str | None, float | None, str | None]:
    """Sex, age in years and the reading of a clinical file; None for what it does not say."""
    if not path.is_file():
        return None, None, None
    lines = disk.read_lines(path)
    text = "\n".join(lines)
    sex, age = _SEX.search(text), _AGE.search(text)
    reading = " ".join(line for line in lines if not re.match(r"Patient.s ", line))
    return sex[1].upper() if sex else None, float(age[1]) if age else None, reading or None
