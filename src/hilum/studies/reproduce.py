"""Carry out a study: train every arm and fold, test each once, then tables, comparisons and figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hilum.errors import DataError, HilumError, RecipeError
from hilum.learning import many
from hilum.learning.material import manifest_of
from hilum.studies import devices, dropout, ensembles, figures, report, tables
from hilum.studies.jobs import Job, Request, by_arm
from hilum.studies.results import ArmResult, collect, listed_films, measure_job
from hilum.studies.tables import Table

logger = logging.getLogger(__name__)


def reproduce(request: Request, command: str, device: str = "auto", at_once: int = 1) -> Path:
    """All of it; what was finished before is not done again. Returns the path of `table.md`.

    A run that fails is named in the report; an arm without any run that ended is left out. RecipeError where none ended.
    """
    jobs = request.jobs()
    missing = _missing(request, jobs)
    outcomes = many.carry_out(
        [many.Job(job.recipe, job.folder) for job in jobs], at_once=at_once, device=device
    )
    done = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome.bundle is not None]
    faults = [
        f"{job.arm}, fold {job.number}: {o.fault}" for job, o in zip(jobs, outcomes, strict=True) if o.fault
    ]
    if not done:
        raise RecipeError(f"no run of the study ended; the first fault: {faults[0]}")
    measured = _test(request, done, faults)
    results = [collect(arm, own) for arm, own in by_arm(measured).items()]
    content = _content(request, results, tuple(faults), missing)
    return report.write(request, results, content, command)


def _missing(request: Request, jobs: Sequence[Job]) -> tuple[str, ...]:
    """Films that the data's own tables name and that are not on disk. DataError where the data's folder is not there."""
    if not Path(request.data).is_dir():
        raise DataError(
            "there is no such folder", path=request.data, mend="Give the data's folder with --data"
        )
    manifest = manifest_of(jobs[0].recipe.data)
    if manifest.missing.height:
        logger.warning(
            "%d films that the data's tables name are not on disk; %d are",
            manifest.missing.height,
            len(manifest),
        )
    return tuple(manifest.missing["image_id"].to_list())


def _test(request: Request, done: Sequence[Job], faults: list[str]) -> list[Job]:
    """The jobs that could be measured."""
    measured, films = [], listed_films(request.study, done[0])
    for job in done:
        try:
            measure_job(request.study, job, films)
            measured.append(job)
        except HilumError as error:
            faults.append(f"{job.arm}, fold {job.number}, testing: {error}")
    if not measured:
        raise RecipeError(f"no run could be tested; the first fault: {faults[0]}")
    return measured


def _content(
    request: Request, results: list[ArmResult], faults: tuple[str, ...], missing: tuple[str, ...]
) -> report.Content:
    study, variant = request.study, request.study.variant(request.variant)
    place = request.place / "figures"
    found = tables.all_tables(study, variant, results)
    drawn = figures.draw(study, variant, results, place)
    averaged = ensembles.table(variant, results)
    if averaged is not None:
        found.append(averaged)
    if study.uncertainty is not None:
        rows = []
        for result in results:
            sampled = dropout.sample(result.jobs[0], study.uncertainty)
            if sampled is None:
                continue
            title = variant.arms[result.arm].title
            rows.append(dropout.row(title, sampled, study.uncertainty))
            drawn.append(figures.draw_samples(sampled, title, place / f"samples-{result.arm}.png"))
        if rows:
            found.append(
                Table(f"Monte Carlo dropout, {study.uncertainty.passes} passes", rows, dropout.NOTES)
            )
    small, unfit = devices.small_devices(study, variant, results)
    if small is not None:
        found.append(small)
    verdicts = tables.verdicts(study, variant, results)
    printed = tables.printed_verdicts(variant)
    if printed:
        verdicts.append(("The paper's own fold accuracies, tested again", printed))
    return report.Content(tuple(found), tuple(verdicts), tuple(drawn), (*faults, *unfit), missing)
