"""Films as a worklist shows them: each job with its instance, its newest result and how often it was reviewed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, or_, select

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.tables import instances, jobs, results, reviews

MOST = 500  # films that one list holds


class Worklist:
    """Each row: the columns of `jobs` and `instances` (`id` is the job's), `result`, the newest row of `results`, or None
    where there is none or it was removed, and `reviewed`, how many reviews there are."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def films(
        self, state: str | None = None, text: str | None = None, limit: int = 100, before: int | None = None
    ) -> list[dict[str, Any]]:
        """Newest first. `text`: part of a UID, of a reason or of who sent it; `before`: only jobs of a lesser number."""
        query = _query().order_by(jobs.c.id.desc()).limit(min(limit, MOST))
        if state is not None:
            query = query.where(jobs.c.state == state)
        if before is not None:
            query = query.where(jobs.c.id < before)
        if text:
            columns = (instances.c.sop_uid, instances.c.study_uid, instances.c.sender, jobs.c.reason)
            query = query.where(or_(*(column.icontains(text, autoescape=True) for column in columns)))
        with self.ledger.read() as connection:
            return _with_results(connection, [dict(row._mapping) for row in connection.execute(query)])

    def film(self, job_id: int) -> dict[str, Any] | None:
        with self.ledger.read() as connection:
            rows = connection.execute(_query().where(jobs.c.id == job_id)).all()
            found = _with_results(connection, [dict(row._mapping) for row in rows])
            return found[0] if found else None

    def priors(self, film: dict[str, Any], limit: int = 20) -> list[dict[str, Any]]:
        """Other analysed films of the same patient, newest first; none where the header names no patient."""
        if film["patient"] is None:
            return []
        query = _query().where(
            instances.c.patient == film["patient"], jobs.c.id != film["id"], jobs.c.state == "done"
        )
        with self.ledger.read() as connection:
            rows = connection.execute(query.order_by(instances.c.received.desc()).limit(limit)).all()
            return _with_results(connection, [dict(row._mapping) for row in rows])


def _query() -> Select[Any]:
    return select(
        jobs.c.id, jobs.c.state, jobs.c.reason, jobs.c.attempts, jobs.c.changed, jobs.c.instance_id,
        instances.c.sop_uid, instances.c.study_uid, instances.c.modality, instances.c.door, instances.c.sender,
        instances.c.received, instances.c.patient, instances.c.file,
    ).join(instances, instances.c.id == jobs.c.instance_id)  # fmt: skip


def _with_results(connection: Connection, films: list[dict[str, Any]]) -> list[dict[str, Any]]:
    there = [film["instance_id"] for film in films]
    newest = (
        select(func.max(results.c.id)).where(results.c.instance_id.in_(there)).group_by(results.c.instance_id)
    )
    found = {
        row.instance_id: dict(row._mapping)
        for row in connection.execute(select(results).where(results.c.id.in_(newest)))
    }
    counted = select(reviews.c.instance_id, func.count()).where(reviews.c.instance_id.in_(there))
    counts: dict[int, int] = {
        instance: count for instance, count in connection.execute(counted.group_by(reviews.c.instance_id))
    }
    for film in films:
        film["result"] = found.get(film["instance_id"]) if film["state"] != "removed" else None
        film["reviewed"] = counts.get(film["instance_id"], 0)
    return films
