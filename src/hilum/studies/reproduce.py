"""Carry out a study: train every arm and fold, test each once, then tables, comparisons and figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hilum.errors import DataError, HilumError, RecipeError
from hilum.learning import many
from hilum.studies import (
    blocks,
    classes,
    comparisons,
    confidence,
    detector_tables,
    devices,
    dropout,
    ensembles,
    f1,
    figures,
    looks,
    looks_tables,
    preliminaries,
    rates,
    report,
    segments,
    starts,
    tables,
    validation,
)
from hilum.studies.films import Films, films_of, unreadable
from hilum.studies.jobs import Job, Request, by_arm
from hilum.studies.machine import device_of
from hilum.studies.results import ArmResult, collect, measure_job
from hilum.studies.tables import Table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reproduced:
    """`table`: the path of `table.md`. `faults`: runs that failed, with why."""

    table: Path
    faults: tuple[str, ...]


def reproduce(request: Request, device: str = "auto", at_once: int = 1) -> Reproduced:
    """All of it; what was finished before is not done again.

    A run that fails is named in the report; an arm without any run that ended is left out. RecipeError where none ended.
    """
    where, jobs = device_of(device), request.jobs()
    films = _films(request, jobs)
    first = request.preliminaries()
    preliminaries.refuse_leaks(first, jobs)
    before, faults = _carried_out(first, at_once, device)
    done, own = _carried_out(
        jobs, at_once, device
    )  # an arm whose preliminary failed finds no weights, and says so
    faults += own
    if not done:
        raise RecipeError(f"no run of the study ended; the first fault: {faults[0]}")
    if jobs[0].recipe.task == "segment":
        return Reproduced(segments.carry_out(request, done, faults, where), tuple(faults))
    if jobs[0].recipe.task == "detect":
        return Reproduced(detector_tables.carry_out(request, done, faults, where), tuple(faults))
    measured = _test(request, done, films, faults)
    results = [collect(arm, own) for arm, own in by_arm(measured).items()]
    content = _from_predictions(request, results, films)
    content = replace(content, tables=(*content.tables, *preliminaries.tables(request, before)))
    content = replace(content, faults=tuple(faults), unreadable=unreadable(measured, films))
    # What follows reads films again and exports models: a fault there loses none of this.
    carried = report.Carried.of(results)
    report.write(request, carried, content, where)
    content = _from_models(request, results, content)
    return Reproduced(report.write(request, carried, content, where), tuple(faults))


def _carried_out(jobs: Sequence[Job], at_once: int, device: str) -> tuple[list[Job], list[str]]:
    """The jobs that ended, and the faults of the others."""
    if not jobs:
        return [], []
    outcomes = many.carry_out(
        [many.Job(job.recipe, job.folder) for job in jobs], at_once=at_once, device=device
    )
    faults = [
        f"{job.arm}, fold {job.number}: {o.fault}" for job, o in zip(jobs, outcomes, strict=True) if o.fault
    ]
    return [job for job, o in zip(jobs, outcomes, strict=True) if o.bundle is not None], faults


def _films(request: Request, jobs: Sequence[Job]) -> Films:
    """The films that the study names. DataError where the data's folder is not there."""
    if not Path(request.data).is_dir():
        raise DataError(
            "there is no such folder", path=request.data, mend="Give the data's folder with --data"
        )
    films = films_of(request.study, jobs[0])
    if films.missing:
        logger.warning(
            "%d films that the data's tables name are not on disk; %d are", len(films.missing), films.count
        )
    return films


def _test(request: Request, done: Sequence[Job], films: Films, faults: list[str]) -> list[Job]:
    """The jobs that could be measured."""
    measured = []
    for job in done:
        try:
            measure_job(request.study, job, films.listed)
            measured.append(job)
        except HilumError as error:
            faults.append(f"{job.arm}, fold {job.number}, testing: {error}")
    if not measured:
        raise RecipeError(f"no run could be tested; the first fault: {faults[0]}")
    return measured


def _from_predictions(request: Request, results: list[ArmResult], films: Films) -> report.Content:
    """All that predictions alone give."""
    study, variant = request.study, request.study.variant(request.variant)
    labels = results[0].folds[0].labels
    exclusive = study.metric == "accuracy"
    found: list[Table | None] = [films.table(labels), tables.parameters(variant, results)]
    if exclusive:
        found += [tables.fold_accuracy(variant, results), comparisons.p_values(study, variant, results)]
    if all(result.members for result in results):
        found += [tables.list_accuracy(variant, results)] if exclusive else []
    if study.positive is not None:
        found += [rates.rates(study, variant, results), rates.operating_points(study, variant, results)]
    found += [tables.aucs(variant, results), validation.table(variant, results)]
    if all(result.folds[0].cuts is not None for result in results):
        found += [f1.table(variant, results)]
    if exclusive:
        found += [classes.by_class(variant, results)]
    if study.apart in labels and exclusive:
        found += [classes.without(str(study.apart), variant, results)]
    found += [confidence.table(variant, results), ensembles.table(variant, results)]
    compared = comparisons.comparisons(study, variant, results)
    printed = comparisons.printed_comparison(study, variant)
    return report.Content(
        tables=tuple(each for each in found if each is not None),
        comparisons=(*compared, *([printed] if printed else [])),
        confusions=tuple(classes.confusions(variant, results)) if exclusive else (),
        figures=tuple(figures.draw(study, variant, results, request.place / "figures")),
        films=films,
    )


def _from_models(request: Request, results: list[ArmResult], content: report.Content) -> report.Content:
    """With Monte Carlo dropout, forms for small devices, where models look, and predictions on films."""
    study, variant = request.study, request.study.variant(request.variant)
    place, found, drawn = request.place / "figures", list(content.tables), list(content.figures)
    rows = []
    for result in results if study.uncertainty is not None else ():
        assert study.uncertainty is not None
        sampled = dropout.sample(result.jobs[0], study.uncertainty)
        if sampled is None:
            continue
        title = variant.arms[result.arm].title
        rows.append(dropout.row(title, sampled, study.uncertainty))
        drawn.append(figures.draw_samples(sampled, title, place / f"samples-{result.arm}.png"))
    if rows and study.uncertainty is not None:
        found.append(Table(f"Monte Carlo dropout, {study.uncertainty.passes} passes", rows, dropout.NOTES))
    said = list(content.comparisons)
    started = starts.compare(variant, results, place / "starts.png")
    if started is not None:
        found.append(started[0])
        said += started[1]
        drawn.append(started[2])
    zeroed = blocks.table(variant, results)
    if zeroed is not None:
        found.append(zeroed[0])
        said.append(zeroed[1])
    # Arms that differ by their start alone have one form, and are many.
    exported = [result for result in results if variant.arms[result.arm].start is None]
    small, unexported = devices.small_devices(study, variant, exported, request.place)
    found += [small] if small is not None else []
    drawn += figures.draw_predictions(variant, results, place)
    tested = content.films.listed
    if study.looks is not None and tested is not None:
        seen = looks.look(study, results, tested, request.place)
        found += [looks_tables.heat(study, variant, seen), looks_tables.covers(study, variant, seen)]
        said += [each] if (each := looks_tables.verdicts(study, variant, seen)) is not None else []
        heated = figures.draw_heatmaps(study, variant, results, tested, place / "heatmaps.png")
        drawn += [heated] if heated is not None else []
    return replace(
        content, tables=tuple(found), comparisons=tuple(said), figures=tuple(drawn), unexported=unexported
    )
