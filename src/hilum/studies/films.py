"""The films of a study: how many, of whom and of what; which are missing, and which cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hilum.datasets.manifest import Manifest
from hilum.learning.material import manifest_of, patients_in
from hilum.learning.recipe_files import expand
from hilum.studies.jobs import Job
from hilum.studies.results import HELD_OUT, LIST, listed_films, mark
from hilum.studies.study import Study
from hilum.studies.tables import Table


@dataclass(frozen=True)
class Films:
    """`parted`: what every run parts into training, validation and test. `listed`: the published test list, if any."""

    parted: Manifest
    listed: Manifest | None

    @property
    def parts(self) -> dict[str, Manifest]:
        named = {"parted by the folds": self.parted}
        return named if self.listed is None else {**named, "published test list": self.listed}

    @property
    def count(self) -> int:
        return sum(len(films) for films in self.parts.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """Films that the data's own tables name and that are not on disk."""
        return tuple(self.parted.missing["image_id"].to_list())

    def table(self, labels: Sequence[str]) -> Table:
        """Films, patients, and films of each label."""
        rows = []
        for name, films in self.parts.items():
            counts = {"films": len(films), "patients": patients_in(films), **label_counts(films, labels)}
            rows.append({"part": name, **{key: f"{value:,}" for key, value in counts.items()}})
        digests = ", ".join(f"{name} `{films.digest[:16]}`" for name, films in self.parts.items())
        return Table("Films", rows, (f"SHA-256 of the manifests: {digests}.",))


def films_of(study: Study, job: Job) -> Films:
    """The films that a run names; those of all runs of a study are the same."""
    return Films(manifest_of(job.recipe.data), listed_films(study, job))


def label_counts(films: Manifest, labels: Sequence[str]) -> dict[str, int]:
    """Films of each label or class."""
    table = films.table
    if "class" in table.columns and table["class"].is_not_null().any():
        return {label: int((table["class"] == label).sum()) for label in labels}
    names, values = films.labels()
    return {label: int(np.nansum(values[:, names.index(label)])) for label in labels}


def unreadable(jobs: Sequence[Job], films: Films) -> tuple[str, ...]:
    """Films that could not be read when pixel stores were built or runs were tested, each with its fault."""
    measured = [mark(job.folder / name).get("unreadable", []) for job in jobs for name in (HELD_OUT, LIST)]
    faults = {_placeless(fault) for found in measured for fault in found}
    known = films.parted.image_ids
    for store, digest in {(job.recipe.data.store, job.recipe.preparation.stored_digest) for job in jobs}:
        for index in expand(store).glob(f"*-{digest[:10]}/index.parquet"):
            failed = pl.read_parquet(index).filter(
                pl.col("fault").is_not_null(), pl.col("image_id").is_in(known)
            )
            faults |= {_placeless(fault) for fault in failed["fault"]}
    return tuple(sorted(faults))


def _placeless(fault: str) -> str:
    """A fault with its film's name in place of its path on this machine."""
    where, colon, why = fault.partition(": ")
    return f"{Path(where).name}: {why}" if colon else fault
