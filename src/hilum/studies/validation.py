"""What each run of an arm reached on the films that chose its epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.studies.jobs import Job
from hilum.studies.results import ArmResult
from hilum.studies.study import Variant
from hilum.studies.tables import Table

NOTES = (
    "Of the epoch that each run was kept at, with DeLong's interval by patient. These films chose that epoch and the"
    " thresholds, so it is a little too good; whether arms differ is asked on held-out films.",
)


def table(variant: Variant, results: Sequence[ArmResult]) -> Table:
    """A row an arm: macro AUC on validation films of each run, and the mean over runs, where every run has one."""
    rows: list[dict[str, Any]] = []
    for result in results:
        found = {f"run {job.number}": _macro_auc(job) for job in result.jobs}
        known = [cell["value"] for cell in found.values() if cell["value"] is not None]
        mean = f"{np.mean(known):.4f}" if len(known) == len(found) else None
        rows.append({"arm": variant.arms[result.arm].title, **found, "mean": mean})
    numbers = sorted({int(column[4:]) for row in rows for column in row if column.startswith("run ")})
    columns = ["arm", *(f"run {number}" for number in numbers), "mean"]
    return Table(
        "Macro AUC on validation films", [{key: row.get(key) for key in columns} for row in rows], NOTES
    )


def _macro_auc(job: Job) -> dict[str, Any]:
    """The estimate, as the run wrote it at its end."""
    measured = json.loads((job.folder / "validation" / "metrics.json").read_text())
    cell: dict[str, Any] = measured["overall"]["macro_auc"]
    return cell
