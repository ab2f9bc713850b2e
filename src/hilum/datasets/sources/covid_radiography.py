"""The COVID-19 Radiography Database: films by class, patients unknown."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

_NAME = re.compile(r"^(?P<kind>COVID|Normal|Lung_Opacity|Viral Pneumonia)-\d+$")
_CLASSES = {
    "COVID": "COVID-19",
    "Normal": "Normal",
    "Lung_Opacity": "Lung Opacity",
    "Viral Pneumonia": "Viral Pneumonia",
}


@source(
    "covid_radiography",
    title="COVID-19 Radiography Database",
    what="films of COVID-19 (whole: and normal, lung opacity, viral pneumonia) from many publications",
    licence="research use with citation",
    homepage="Kaggle, COVID-19 Radiography Database",
    citation="Chowdhury et al., IEEE Access 8, 2020; Rahman et al., Comput Biol Med 132, 2021",
    layout="""
        images/COVID-1.jpg ...   or, as released, COVID/images/COVID-1.png, Normal/images/Normal-1.png,
        Lung_Opacity/images/Lung_Opacity-1.png, Viral Pneumonia/images/Viral Pneumonia-1.png
    """,
)
def load(root: Path) -> Manifest:
    """Class by file name. Patients are unknown (null): a split must say what it takes for one."""
    root = disk.folder(root)
    folders = [p for p in (root / "images", *(root / kind / "images" for kind in _CLASSES)) if p.is_dir()]
    rows = []
    for folder in folders:
        for stem, path in disk.images_by_stem(folder).items():
            name = _NAME.match(stem)
            if name is None:
                raise DataError(f"'{path}' is not named like COVID-1", path=folder)
            rows.append((stem, (folder / path).relative_to(root).as_posix(), _CLASSES[name["kind"]]))
    if not rows:
        raise DataError("no films in images/ or <class>/images/", path=root)
    table = disk.measured(disk.texts(rows, "image_id", "path", "class"), root)
    covid = (pl.col("class") == "COVID-19").cast(pl.Float32).alias(LABEL + "COVID-19")
    notes = (
        "Patients are unknown, and some films are also in source cohen: look for near-duplicates.",
        "Each class comes from other hospitals: a model can tell the source instead of the disease.",
    )
    return Manifest(table.with_columns(covid, source=pl.lit("covid_radiography")), root=root, notes=notes)
