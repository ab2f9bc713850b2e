"""Arms that outline lungs: each tested on films that it held out, and on other sets, whose masks may follow other rules."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from hilum.bundles import load, verify
from hilum.datasets.manifest import Manifest, concat
from hilum.errors import HilumError, RecipeError
from hilum.evaluation.bootstrap import mean_over_patients
from hilum.learning.evaluate import evaluate
from hilum.learning.material import manifest_of
from hilum.studies import report
from hilum.studies.films import Films
from hilum.studies.jobs import Job, Request, by_arm
from hilum.studies.results import HELD_OUT, mark, measure_bundle, seconds_of
from hilum.studies.tables import Table

logger = logging.getLogger(__name__)

MEASURES = ("dice", "IoU", "sensitivity", "specificity", "hausdorff95", "surface distance")


@dataclass(frozen=True)
class Tested:
    """A run on one set of films: `place` holds what `hilum evaluate` wrote."""

    job: Job
    on: str
    place: Path

    @property
    def films(self) -> pl.DataFrame:
        """`image_id`, `patient` and the scores of each film."""
        return pl.read_csv(
            self.place / "films.csv", schema_overrides={"image_id": pl.String, "patient": pl.String}
        )


def carry_out(request: Request, done: Sequence[Job], faults: list[str], device: str) -> Path:
    """Test every run, and write the study's report. RecipeError where no run could be tested."""
    tested = test(request, done, faults)
    if not tested:
        raise RecipeError(f"no run could be tested; the first fault: {faults[0]}")
    manifests = {
        job.recipe.data.model_dump_json(exclude={"split"}): manifest_of(job.recipe.data) for job in done
    }
    content = report.Content(
        tables=(scores(request, tested), *differences(request, tested)),
        comparisons=(),
        confusions=(),
        figures=(),
        films=Films(concat(list(manifests.values())), None),
        faults=tuple(faults),
        unreadable=tuple(sorted({f for t in tested for f in mark(t.place).get("unreadable", [])})),
    )
    arms = by_arm(done)
    carried = report.Carried(
        jobs=tuple(done),
        labels=(),
        held_out=sum(t.films.height for t in tested if t.on == HELD_OUT),
        seconds={arm: float(sum(seconds_of(job.folder).sum() for job in own)) for arm, own in arms.items()},
    )
    return report.write(request, carried, content, device)


def test(request: Request, done: Sequence[Job], faults: list[str]) -> list[Tested]:
    """Each run on the films that it held out, and on each set of the variant's `beside` that is not its own."""
    variant, out = request.study.variant(request.variant), []
    sets = {name: _films(request, done[0], name) for name in variant.beside}
    for job in done:
        try:
            measure_bundle(request.study, job, job.folder / "bundle", HELD_OUT)
            out.append(Tested(job, HELD_OUT, job.folder / HELD_OUT))
            for name, films in sets.items():
                if variant.beside[name] != job.recipe.data.sources:
                    out.append(Tested(job, name, _measured(request, job, name, films)))
        except HilumError as error:
            faults.append(f"{job.arm}, fold {job.number}, testing: {error}")
    return out


def scores(request: Request, tested: Sequence[Tested]) -> Table:
    """Overlap and distances of each arm on each set, by patient."""
    variant, rows = request.study.variant(request.variant), []
    for each in tested:
        facts = mark(each.place)["facts"]
        row: dict[str, Any] = {
            "arm": variant.arms[each.job.arm].title,
            "tested on": _words(variant.beside, each),
        }
        rows.append({**row, "films": each.films.height, **{name: facts.get(name) for name in MEASURES}})
    notes = ("Means over patients. Distances are in pixels of the film.",)
    return Table("Lungs", rows, notes)


def differences(request: Request, tested: Sequence[Tested]) -> list[Table]:
    """Dice of the reference arm less that of each other one, film by film, on the films of a set that both have."""
    variant, tables = request.study.variant(request.variant), []
    own = {name: [t for t in tested if _is_of(variant.beside, t, name)] for name in variant.beside}
    for name, each in own.items():
        by_name = {t.job.arm: t for t in each}
        reference = by_name.pop(variant.reference, None)
        if reference is None or not by_name:
            continue
        rows = []
        for arm, other in by_name.items():
            both = reference.films.join(other.films, on="image_id", suffix="_other")
            patients = both["patient"].fill_null(both["image_id"])
            gap = mean_over_patients(both["dice"] - both["dice_other"], patients)
            rows.append({"less": variant.arms[arm].title, "films": both.height, "Dice": gap.as_dict()})
        title = variant.arms[variant.reference].title
        tables.append(
            Table(f"{title}, on {name}: Dice less that of the others", rows, ("Paired, by patient.",))
        )
    return tables


def _films(request: Request, job: Job, name: str) -> Manifest:
    sources = request.study.variant(request.variant).beside[name]
    return manifest_of(job.recipe.data.model_copy(update={"sources": sources, "keep": None, "fraction": 1.0}))


def _measured(request: Request, job: Job, name: str, films: Manifest) -> Path:
    """The run on a whole set; what was measured before is kept."""
    place, bundle = job.folder / f"beside-{name.lower()}", job.folder / "bundle"
    if mark(place).get("bundle") != verify(bundle).digest:
        logger.info("%s, fold %d: measuring on %s", job.arm, job.number, name)
        evaluate(
            load(bundle), films, place, name=f"{request.study.name}, {job.arm}, fold {job.number}: {name}"
        )
    return place


def _is_of(beside: dict[str, Any], tested: Tested, name: str) -> bool:
    """Whether the films are of this set, as those that a run of it held out are."""
    return tested.on == name or (tested.on == HELD_OUT and tested.job.recipe.data.sources == beside[name])


def _words(beside: dict[str, Any], tested: Tested) -> str:
    if tested.on != HELD_OUT:
        return f"{tested.on}, all"
    own = next(
        (name for name, sources in beside.items() if sources == tested.job.recipe.data.sources), "its own set"
    )
    return f"{own}, held out"
