"""What the trainings before the arms came to: lungs, on films that they held out."""

from __future__ import annotations

from collections.abc import Sequence

from hilum.studies.jobs import Job, Request
from hilum.studies.results import HELD_OUT, mark, measure_bundle
from hilum.studies.tables import Table

MEASURES = ("dice", "IoU", "sensitivity", "specificity")


def tables(request: Request, jobs: Sequence[Job]) -> list[Table]:
    """One table, of a row a run; none where the arms begin with no such training."""
    if not jobs:
        return []
    variant = request.study.variant(request.variant)
    rows, units = [], set()
    for job in jobs:
        measure_bundle(request.study, job, job.folder / "bundle", HELD_OUT)
        result = mark(job.folder / HELD_OUT)
        found = {name: result["facts"].get(name) for name in MEASURES}
        rows.append({"training": variant.preliminaries[job.arm].title, "fold": job.number, **found})
        units.add(result["note"].partition(";")[0])
    notes = ("Films that the training held out, by patient: " + "; ".join(sorted(units)) + ".",)
    return [Table("Lungs, before the arms", rows, notes)]
