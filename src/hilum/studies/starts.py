"""What a start is worth by how many labels there are: its AUC against the share of labels, fine-tuned and probed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.evaluation.comparison import mean_t
from hilum.evaluation.plots_arms import plot_shares
from hilum.evaluation.verdict import compare_seeds
from hilum.studies.comparisons import Compared, macro_aucs, shared_folds
from hilum.studies.probes import probe
from hilum.studies.results import ArmResult, Predictions
from hilum.studies.study import Variant
from hilum.studies.tables import SEEDS, TOGETHER, Table

TUNED, PROBED = "fine-tuned", "linear probe"


@dataclass(frozen=True)
class _Line:
    """One start at one share of the labels, learnt one way: what each repetition predicted of the films that it held out."""

    start: str
    share: float
    how: str
    arm: str
    folds: tuple[Predictions, ...]


def compare(
    variant: Variant, results: Sequence[ArmResult], path: Path
) -> tuple[Table, list[Compared], Path] | None:
    """The table, the comparisons at each share, and the figure at `path`; None where arms name no starts."""
    lines = _lines(variant, results)
    if not lines:
        return None
    values, left_out = macro_aucs({f"{n}": list(line.folds) for n, line in enumerate(lines)})
    rows: list[dict[str, Any]] = []
    drawn: dict[str, list[tuple[float, float, float, float]]] = {}
    for number, line in enumerate(lines):
        each = values[f"{number}"]
        found = mean_t(each)
        rows.append(
            {
                "start": line.start,
                "learnt": line.how,
                "labels used, %": f"{100 * line.share:g}",
                "macro AUC": found.as_dict(),
                "each repetition": ", ".join(f"{value:.3f}" for value in each),
            }
        )
        name = line.start if line.how == TUNED else f"{line.start}, {line.how}"
        drawn.setdefault(name, []).append((line.share, found.value, found.low, found.high))
    notes = [
        f"Means over {len(lines[0].folds)} repetitions with the interval of Student's t, which is wide for so few. Linear"
        " probe: a logistic regression on the frozen embedding of the start, before it learnt any label of these films.",
        SEEDS if variant.repeat == "seeds" else TOGETHER,
    ]
    notes += (
        [f"Left out of the macro AUC, too few films in some fold: {', '.join(left_out)}."] if left_out else []
    )
    table = Table("What a start is worth", sorted(rows, key=_order), tuple(notes))
    said = _verdicts(variant, lines, values) if len(lines[0].folds) > 1 else []
    return table, said, plot_shares(drawn, path, "macro AUC")


def _lines(variant: Variant, results: Sequence[ArmResult]) -> list[_Line]:
    named = [result for result in results if variant.arms[result.arm].start is not None]
    if not named:
        return []
    shared = shared_folds(named)
    lines = []
    for result in named:
        start, share = str(variant.arms[result.arm].start), result.jobs[0].recipe.data.labelled
        jobs = [job for job in result.jobs if job.fold in shared]
        lines.append(_Line(start, share, TUNED, result.arm, tuple(result.of_fold(job.fold) for job in jobs)))
        lines.append(
            _Line(
                start, share, PROBED, result.arm, tuple(probe(job, result.of_fold(job.fold)) for job in jobs)
            )
        )
    return lines


def _verdicts(
    variant: Variant, lines: Sequence[_Line], values: Mapping[str, Sequence[float]]
) -> list[Compared]:
    """At each share of labels and each way to learn, the reference arm's start against every other one."""
    reference, out = str(variant.arms[variant.reference].start), []
    for how in (TUNED, PROBED):
        for share in sorted({line.share for line in lines}):
            alike = {
                line.start: values[f"{number}"]
                for number, line in enumerate(lines)
                if (line.how, line.share) == (how, share)
            }
            if reference not in alike or len(alike) < 2 or np.isnan(list(alike.values())).any():
                continue
            title = f"Starts at {100 * share:g} % of the labels, {how}"
            out.append(Compared(title, compare_seeds(alike, reference)))
    return out


def _order(row: Mapping[str, Any]) -> tuple[str, float]:
    return row["learnt"], float(row["labels used, %"])
