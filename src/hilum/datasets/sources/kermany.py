"""Kermany et al.: children's films, normal, bacterial or viral pneumonia."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError
from hilum.findings import PNEUMONIA3, canonical

_PERSON = re.compile(r"^(?P<patient>person\d+_(?P<kind>bacteria|virus))_")
_NORMAL = re.compile(r"^(?P<patient>(?:NORMAL2-)?IM-\d+)-")


def patient(stem: str) -> str | None:
    """The patient that a file's stem gives, as `kermany:...`, or None for another style of name.

    `person12_bacteria_47` is person 12 of the bacterial films: the numbers run apart for bacteria and virus.
    Normal films carry no person, so `IM-0115` and `NORMAL2-IM-0115` (two numberings) each stand for one. The
    official folder
    is not part of it: in the published files no such patient lies in two folders, and where one did, keeping
    its films together is the safe side.
    """
    match = _PERSON.match(stem) or _NORMAL.match(stem)
    return f"kermany:{match['patient']}" if match else None


def class_of(stem: str) -> str | None:
    """Normal, Bacterial Pneumonia or Viral Pneumonia by a file's stem, or None for another style of name."""
    person = _PERSON.match(stem)
    if person:
        return canonical(person["kind"], "kermany")
    return "Normal" if _NORMAL.match(stem) else None


@source(
    "kermany",
    title="Kermany paediatric pneumonia",
    what="5,856 frontal films of children of one hospital: normal, bacterial and viral pneumonia",
    licence="CC BY 4.0",
    homepage="Mendeley Data, Labeled Optical Coherence Tomography and Chest X-Ray Images",
    citation="Kermany et al., Identifying Medical Diagnoses by Image-Based Deep Learning, Cell 172, 2018",
    layout="""
        train/NORMAL/*.jpeg   train/PNEUMONIA/person*_bacteria_*.jpeg, person*_virus_*.jpeg
        test/...              val/... (some releases; 16 films)
        or the same under chest_xray/
    """,
)
def load(root: Path, *, val: Literal["train", "validation"] = "train") -> Manifest:
    """Class, patient and official split from folder and file name; all films are of children (`paediatric`).

    `val`: which part the 16 films of the folder `val` go to. They are too few to choose anything on, so by
    default they are training films; hold validation patients out of `train` instead.
    """
    root = disk.folder(root)
    inner = next(
        (p for p in (root, root / "chest_xray") if (p / "train").is_dir() or (p / "test").is_dir()), None
    )
    if inner is None:
        raise DataError(
            "neither a folder 'train' nor 'test' is here", path=root, mend="Give the folder above them."
        )
    rows, strange = [], []
    for part, becomes in (("train", "train"), ("val", val), ("test", "test")):
        films = disk.images_by_stem(inner / part) if (inner / part).is_dir() else {}
        for stem, path in films.items():
            person, kind = patient(stem), class_of(stem)
            if kind is None or (kind == "Normal") != path.upper().startswith("NORMAL/"):
                strange.append(f"{part}/{path}")
                continue
            rows.append((stem, f"{part}/{path}", person, becomes, kind))
    if strange:
        raise DataError(
            f"{len(strange)} files do not bear the dataset's kind of names, the first is '{strange[0]}'",
            path=inner,
            mend="Use source 'class_folders' for files of your own naming.",
        )
    if not rows:
        raise DataError("no films under train, val or test", path=inner)
    table = disk.texts(rows, "image_id", "path", "patient", "split", "class")
    table = disk.measured(table, inner)
    table = table.with_columns(
        pl.lit("kermany").alias("source"),
        pl.lit(True).alias("paediatric"),
        (pl.col("class") != "Normal").cast(pl.Float32).alias(LABEL + "Pneumonia"),
        *((pl.col("class") == name).cast(pl.Float32).alias(LABEL + name) for name in PNEUMONIA3[1:]),
    )
    notes = (
        "Children of one to five years; sex, age and view of a film are not published.",
        f"The {table['path'].str.starts_with('val/').sum()} films of folder 'val' are in '{val}'.",
        "Person numbers restart in 'test': names do not prove that its patients are others.",
    )
    return Manifest(table, root=inner, notes=notes)
