"""Any set of films that are sorted into a folder a class."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError
from hilum.findings import UnknownFindingError, canonical

_PARTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@source(
    "class_folders",
    title="A folder a class",
    what="your own films: a folder a class, in folders train, val and test where there is a split",
    licence="your own",
    homepage="none",
    citation="none",
    layout="""
        <class>/**/*.png|jpg|tif|dcm         or
        train/<class>/**/*, val/<class>/**/*, test/<class>/**/*
    """,
)
def load(root: Path, *, patient: str | None = None) -> Manifest:
    r"""Class (by its canonical name where the vocabulary knows it) and split from the folders.

    `patient`: a regular expression whose first group, searched in the file's path below `root`, is the
    patient: `patient='/(\\d+)_'`. Without it patients are unknown, and a split must say what it takes for
    one.
    """
    root = disk.folder(root)
    pattern = _compiled(patient)
    rows = []
    for top in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        part = _PARTS.get(top.name.lower())
        for folder in sorted(p for p in top.iterdir() if p.is_dir()) if part else [top]:
            for path in disk.images(folder):
                relative = path.relative_to(root).as_posix()
                found = pattern.search(relative) if pattern else None
                person = f"{root.name}:{found.group(1)}" if found else None
                rows.append((relative.rsplit(".", 1)[0], relative, person, part, _class(folder.name)))
    if not rows:
        raise DataError("no films in folders of folders", path=root, mend="Sort them as <class>/<film>.png.")
    table = disk.measured(disk.texts(rows, "image_id", "path", "patient", "split", "class"), root)
    notes = () if pattern else ("Patients are unknown.",)
    return Manifest(table.with_columns(source=pl.lit(root.name)), root=root, notes=notes)


def _compiled(patient: str | None) -> re.Pattern[str] | None:
    if patient is None:
        return None
    try:
        pattern = re.compile(patient)
    except re.error as fault:
        raise DataError(f"option 'patient' is no regular expression: {fault}") from fault
    if pattern.groups < 1:
        raise DataError("option 'patient' has no group", mend="Put the part that is the patient in brackets.")
    return pattern


def _class(folder: str) -> str:
    try:
        return canonical(folder)
    except UnknownFindingError:
        return folder
