"""Metrics in Prometheus' text format (0.0.4), derived from the ledger at each scrape: they outlive restarts, and agree
whichever process is asked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, case, func, select

from hilum.clinic.ledger import Ledger, Queue
from hilum.clinic.ledger.tables import deliveries, instances, jobs, results
from hilum.service.drift import drifts

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)  # seconds


def exposition(ledger: Ledger, answers: Mapping[tuple[str, str, int], int]) -> str:
    """All metrics, a line each."""
    lines: list[str] = []
    counts = Queue(ledger).counts()
    _metric(
        lines, "hilum_jobs", "gauge", "Jobs by state.", ((f'{{state="{s}"}}', n) for s, n in counts.items())
    )
    _metric(
        lines, "hilum_queue_length", "gauge", "Jobs that wait or are at work.",
        [("", counts["queued"] + counts["running"])],
    )  # fmt: skip
    with ledger.read() as connection:
        oldest = connection.scalar(select(func.min(jobs.c.changed)).where(jobs.c.state == "queued"))
        waiting = connection.scalar(
            select(func.count()).select_from(deliveries).where(deliveries.c.state == "waiting")
        )
        analysis = connection.execute(select(*_histogram(results.c.seconds)).select_from(results)).one()
        joined = results.join(instances, instances.c.id == results.c.instance_id)
        turnaround = connection.execute(
            select(*_histogram(results.c.created - instances.c.received)).select_from(joined)
        ).one()
    wait = max(0.0, time.time() - oldest) if oldest is not None else 0.0
    _metric(lines, "hilum_queue_oldest_seconds", "gauge", "How long the oldest job has waited.", [("", wait)])
    _metric(
        lines,
        "hilum_deliveries_waiting",
        "gauge",
        "Results on their way to an archive.",
        [("", waiting or 0)],
    )
    _buckets(lines, "hilum_analysis_seconds", "Time an analysis took.", tuple(analysis))
    _buckets(
        lines, "hilum_turnaround_seconds", "Time from a film's arrival to its result.", tuple(turnaround)
    )
    _metric(
        lines, "hilum_http_answers_total", "counter", "Answers since the start of this process.",
        ((f'{{method="{m}",route="{_escaped(r)}",status="{s}"}}', n) for (m, r, s), n in sorted(answers.items())),
    )  # fmt: skip
    _drift(lines, ledger)
    return "\n".join(lines) + "\n"


def _drift(lines: list[str], ledger: Ledger) -> None:
    found = drifts(ledger)
    said = "Population stability index of a bundle's last films against its reference. Above 0.25 is a large change."
    rows = (
        (f'{{kind="{i.kind}",bundle="{_escaped(d.bundle)}",name="{_escaped(i.name)}"}}', i.psi)
        for d in found
        for i in d.indices
    )
    _metric(lines, "hilum_drift_psi", "gauge", said, rows)
    said = (
        "Films that the index is of. against: bundle where the bundle carries a reference (its validation films), first"
        " films where it carries none and the first films that it read here stand in."
    )
    films = [
        (f'{{bundle="{_escaped(d.bundle)}",against="{d.against}",side="{side}"}}', number)
        for d in found
        for side, number in (("reference", d.reference), ("recent", d.recent))
    ]
    _metric(lines, "hilum_drift_films", "gauge", said, films)


def _histogram(value: ColumnElement[float]) -> list[ColumnElement[Any]]:
    """Columns: how many are at most each bucket's bound, how many in all, their sum."""
    under = [func.sum(case((value <= bound, 1), else_=0)) for bound in BUCKETS]
    return [*under, func.count(), func.sum(value)]


def _buckets(lines: list[str], name: str, said: str, found: tuple[float | None, ...]) -> None:
    lines += [f"# HELP {name} {said}", f"# TYPE {name} histogram"]
    *under, count, total = found
    for bound, number in zip((*BUCKETS, "+Inf"), (*under, count), strict=True):
        lines.append(f'{name}_bucket{{le="{bound}"}} {int(number or 0)}')
    lines += [f"{name}_sum {float(total or 0)}", f"{name}_count {int(count or 0)}"]


def _metric(lines: list[str], name: str, kind: str, said: str, rows: Iterable[tuple[str, float]]) -> None:
    lines += [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{labels} {value}" for labels, value in rows]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
