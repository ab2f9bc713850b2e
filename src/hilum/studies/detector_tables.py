"""Arms that detect: every run tested, and the study's report with boxes alone and fused, and films called by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.boxes import area
from hilum.bundles import load
from hilum.errors import HilumError, RecipeError
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.detection_ap import COMPETITION_IOU, voc_ap_estimates
from hilum.evaluation.detection_range import ap_estimate
from hilum.evaluation.froc import RATES, froc_estimates
from hilum.evaluation.label_summary import Draw, label_summaries
from hilum.evaluation.plots_boxes import plot_class_films, plot_froc
from hilum.evaluation.plots_readers import plot_box_areas
from hilum.learning.detections import AP50
from hilum.learning.material import manifest_of
from hilum.studies import figures, report, tables
from hilum.studies.detectors import Found, called, found_by, fused, outlined
from hilum.studies.films import Films
from hilum.studies.jobs import Job, Request, by_arm
from hilum.studies.results import HELD_OUT, ArmResult, mark, measure_bundle, seconds_of, train_ratio
from hilum.studies.study import Variant
from hilum.studies.tables import Table, films_notes, final

CALLS = ("sensitivity", "specificity", "precision", "f1", "accuracy")


def carry_out(request: Request, done: Sequence[Job], faults: list[str], device: str) -> Path:
    """Test every run, and write the study's report. RecipeError where no run could be tested."""
    tested = test(request, done, faults)
    if not tested:
        raise RecipeError(f"no run could be tested; the first fault: {faults[0]}")
    study, variant = request.study, request.study.variant(request.variant)
    arms = list(found_by(variant, tested).values())
    joined = fused(arms, variant.fusion) if len(arms) > 1 else None
    systems = [*arms, *([] if joined is None else [joined])]
    results = [as_films(arm, own) for arm, own in by_arm(tested).items()]
    films = Films(manifest_of(tested[0].recipe.data), None)
    place = request.place / "figures"
    made: list[Table | None] = [
        films.table(arms[0].labels),
        tables.parameters(variant, results),
        precisions(systems),
        precisions_by_class(systems),
        sensitivities(systems),
        second_opinion(variant, arms),
        tables.aucs(variant, results),
        calls(variant, results),
    ]
    content = report.Content(
        tables=tuple(each for each in made if each is not None),
        comparisons=(),
        confusions=(),
        figures=(*figures.draw(study, variant, results, place), *draw(variant, arms, results, place)),
        films=films,
        faults=tuple(faults),
        unreadable=tuple(
            sorted({f for j in tested for f in mark(j.folder / HELD_OUT).get("unreadable", [])})
        ),
    )
    return report.write(request, report.Carried.of(results), content, device)


def test(request: Request, done: Sequence[Job], faults: list[str]) -> list[Job]:
    """The runs that could be measured on the films that they held out."""
    out = []
    for job in done:
        try:
            measure_bundle(request.study, job, job.folder / "bundle", HELD_OUT)
            out.append(job)
        except HilumError as error:
            faults.append(f"{job.arm}, fold {job.number}, testing: {error}")
    return out


def draw(variant: Variant, found: Sequence[Found], results: Sequence[ArmResult], folder: Path) -> list[Path]:
    """How large the true boxes are; of each arm, films called beside films with a finding, and FROC."""
    drawn = [plot_box_areas(area_shares(found[0]), folder / "areas.png")]
    for each, result in zip(found, results, strict=True):
        p = final(result)
        predicted, true = (
            dict(zip(p.labels, map(int, np.nansum(values, 0)), strict=True)) for values in (p.called, p.truth)
        )
        path = folder / f"films-{result.arm}.png"
        drawn += [
            plot_class_films(predicted, true, path, len(p.films)),
            plot_froc(each.detections, folder / f"froc-{result.arm}.png"),
        ]
    return drawn


def area_shares(found: Found) -> dict[str, NDArray[np.float64]]:
    """True boxes' share of their film's area, finding by finding."""
    boxes = found.detections
    sizes = found.films.table.select("width", "height").to_numpy().astype(np.float64)
    shares = area(boxes.true_boxes) / sizes[boxes.true_film].prod(1)
    return {name: shares[boxes.true_kind == kind] for kind, name in enumerate(found.labels)}


def second_opinion(variant: Variant, found: Sequence[Found]) -> Table | None:
    """A segmenter's boxes beside those of the arms, on the films of patients that it does not know."""
    if variant.outlines is None:
        return None
    theirs = outlined(load(variant.outlines), found[0])
    if not len(theirs.films):
        return None
    films = set(theirs.films.image_ids)
    rows = [_precision(each) for each in (theirs, *(each.only(films) for each in found))]
    note = f"Films of patients that `{variant.outlines}` has neither learnt from nor was chosen on."
    return Table("A second opinion", rows, (note,))


def precisions(found: Sequence[Found]) -> Table:
    """Average precision of each system."""
    notes = (
        "Films held out, boxes in pixels of the film, intervals by patient. `mAP`: PASCAL VOC's over all points, IoU above"
        f" {COMPETITION_IOU:g}, the mean over classes with boxes, as the competition has it; AP50 and AP50:95 likewise.",
    )
    return Table("Average precision", [_precision(each) for each in found], notes)


def precisions_by_class(found: Sequence[Found]) -> Table:
    """The competition's average precision of each class."""
    rows: list[dict[str, Any]] = []
    columns = {
        each.title: voc_ap_estimates(each.detections, COMPETITION_IOU, each.patients) for each in found
    }
    first = found[0]
    for kind, label in enumerate(first.labels):
        boxes = int((first.detections.true_kind == kind).sum())
        by_system = {title: by_class.classes[kind].as_dict() for title, by_class in columns.items()}
        rows.append({"finding": label, "boxes": boxes, **by_system})
    return Table(f"Average precision of each finding, IoU above {COMPETITION_IOU:g}", rows)


def sensitivities(found: Sequence[Found]) -> Table:
    """FROC: the share of true boxes found at so many false ones a film."""
    rows = []
    for each in found:
        at, mean = froc_estimates(each.detections, COMPETITION_IOU, each.patients)
        cells = {f"{rate:g}": value.as_dict() for rate, value in zip(RATES, at, strict=True)}
        rows.append({"system": each.title, **cells, "mean": mean.as_dict()})
    note = f"Columns: false boxes a film. A box is found by one of its class at an IoU above {COMPETITION_IOU:g}."
    return Table("Sensitivity at false boxes a film (FROC)", rows, (note,))


def as_films(arm: str, jobs: Sequence[Job]) -> ArmResult:
    """An arm's runs as of a classifier: a film's score of a finding is that of its best box."""
    seconds = np.concatenate([seconds_of(job.folder) for job in jobs])
    return ArmResult(
        arm,
        tuple(jobs),
        tuple(called(job) for job in jobs),
        (),
        float(np.median(seconds)),
        float(seconds.sum()),
        train_ratio(jobs[0].folder),
    )


def calls(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """Films called by their best box, finding by finding, at the thresholds that validation films chose."""
    rows: list[dict[str, Any]] = []
    for result in results:
        p = final(result)
        none, here = np.full(len(p.labels), np.nan), np.ones(len(p.labels), bool)
        found = label_summaries(
            p.truth, p.probability, p.called, none, here, p.patients, p.labels, Draw(REPLICATES, 0, 0.95)
        )
        for i, label in enumerate(p.labels):
            cells = {name: found[i].metrics[name].as_dict() for name in CALLS}
            row = {"arm": variant.arms[result.arm].title, "finding": label}
            rows.append({**row, "films": int(np.nansum(p.truth[:, i])), **cells})
    return Table("Films called by their boxes", rows, films_notes(variant, results))


def _precision(found: Found) -> dict[str, Any]:
    boxes, patients = found.detections, found.patients
    return {
        "system": found.title,
        "films": boxes.films,
        "true boxes": len(boxes.true_boxes),
        "boxes": len(boxes.boxes),
        "mAP": voc_ap_estimates(boxes, COMPETITION_IOU, patients).mean.as_dict(),
        "AP50": ap_estimate(boxes, (AP50,), patients).as_dict(),
        "AP50:95": ap_estimate(boxes, groups=patients).as_dict(),
    }
