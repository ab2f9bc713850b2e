"""What the trainings before the arms came to, and that none of them learnt from a film that an arm is tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from hilum.bundles import verify
from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError
from hilum.learning.material import manifest_of, parted, patient_keys
from hilum.learning.recipe_data import Data
from hilum.studies.jobs import Job, Request
from hilum.studies.results import HELD_OUT, mark, measure_bundle
from hilum.studies.study import Variant
from hilum.studies.tables import Table

MEASURES = ("dice", "IoU", "sensitivity", "specificity")
LEARNT = ("train", "validation")


def tables(request: Request, jobs: Sequence[Job]) -> list[Table]:
    """A table of each kind of training, of a row a run; none where the arms begin with no such training."""
    variant = request.study.variant(request.variant)
    lungs = [job for job in jobs if job.recipe.task == "segment"]
    others = [job for job in jobs if job.recipe.task != "segment"]
    found = [_lungs(request, variant, lungs)] if lungs else []
    return found + ([_without_labels(variant, others)] if others else [])


def refuse_leaks(before: Sequence[Job], arms: Sequence[Job]) -> None:
    """RecipeError where a training before an arm learns from, or chooses on, films of a patient whom the arm tests on."""
    films: dict[str, Manifest] = {}

    def patients(data: Data, parts: Sequence[str]) -> frozenset[str]:
        key = data.model_copy(update={"split": Data.model_fields["split"].default}).model_dump_json()
        if key not in films:
            films[key] = manifest_of(data)
        seen = films[key].with_split(parted(data, films[key]))
        return frozenset(patient_keys(seen.filter(pl.col("split").is_in(parts))))

    known: dict[str, frozenset[str]] = {}

    def once(data: Data, parts: Sequence[str]) -> frozenset[str]:
        key = data.model_dump_json() + "".join(parts)
        if key not in known:
            known[key] = patients(data, parts)
        return known[key]

    by_weights = {str(job.weights): job for job in before}
    for arm in arms:
        given = arm.recipe.model.pretrained
        for start in given if isinstance(given, tuple) else (given,):
            first = by_weights.get(str(start))
            if first is None:
                continue
            shared = once(first.recipe.data, LEARNT) & once(arm.recipe.data, ("test",))
            if shared:
                raise RecipeError(
                    f"{len(shared)} patients whom {arm.arm}, fold {arm.number}, is tested on take part in '{first.arm}',"
                    f" which it begins with, such as {min(shared)}",
                    mend="Give both the same split, and put further films of the training before it in its part `train`",
                )


def _lungs(request: Request, variant: Variant, jobs: Sequence[Job]) -> Table:
    rows, units = [], set()
    for job in jobs:
        measure_bundle(request.study, job, job.folder / "bundle", HELD_OUT)
        result = mark(job.folder / HELD_OUT)
        found = {name: result["facts"].get(name) for name in MEASURES}
        rows.append({"training": variant.preliminaries[job.arm].title, "fold": job.number, **found})
        units.add(result["note"].partition(";")[0])
    notes = ("Films that the training held out, by patient: " + "; ".join(sorted(units)) + ".",)
    return Table("Lungs, before the arms", rows, notes)


def _without_labels(variant: Variant, jobs: Sequence[Job]) -> Table:
    """What each run's bundle says was measured, and how its history ended; of a pretraining or a GAN."""
    rows = []
    for job in jobs:
        history = pl.read_csv(job.folder / "history.csv")
        row: dict[str, Any] = {
            "training": variant.preliminaries[job.arm].title,
            "fold": job.number,
            "films": f"{sum(verify(job.folder / 'bundle').provenance.films.values()):,}",
            "epochs": history.height,
            "seconds": f"{history['seconds'].sum():.0f}",
        }
        row |= {
            f"{name}, {when}": f"{_at(history[column], at):.3g}"
            for name, column in (("loss", "training_loss"), ("validation score", "validation_score"))
            for when, at in (("first epoch", pl.Series.first), ("last", pl.Series.last))
        }
        for facts in (each.get("facts", {}) for each in verify(job.folder / "bundle").metrics.values()):
            row |= facts
        rows.append(row)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    notes = (
        "Films are those of training and validation. The validation score of a pretraining is what its probes reach on"
        " validation patients, as the training's page tells; of a GAN see its own evaluation.",
    )
    return Table("Trainings before the arms", [{key: row.get(key) for key in keys} for row in rows], notes)


def _at(column: pl.Series, which: Callable[[pl.Series], Any]) -> float:
    value = which(column.cast(pl.Float64))
    return float("nan") if value is None else float(value)
