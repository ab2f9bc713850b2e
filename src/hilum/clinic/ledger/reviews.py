"""What people said of films: agreed, disagreed, drew boxes. Each review is a row of its own; what came last counts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.tables import instances, results, reviews
from hilum.clinic.ledger.trail import note


@dataclass(frozen=True)
class Review:
    """`findings`: {`name`, `bundle`, `verdict`} each, the verdict `agree`, `disagree` or `withdrawn`. `boxes`: {`name`,
    `box`} each, all boxes that the reviewer holds for true, in the film's pixels; None where boxes were not looked at."""

    id: int
    instance_id: int
    result_id: int
    time: float
    who: str
    findings: list[dict[str, Any]]
    boxes: list[dict[str, Any]] | None


class Reviews:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def add(
        self,
        instance_id: int,
        result_id: int,
        who: str,
        findings: list[dict[str, Any]],
        boxes: list[dict[str, Any]] | None,
        door: str = "page",
    ) -> int:
        """Add a review of a result, and note it in the trail; returns its number."""
        with self.ledger.write() as connection:
            row = {"instance_id": instance_id, "result_id": result_id, "time": time.time(), "who": who[:128]}
            inserted = connection.execute(insert(reviews).values(**row, findings=findings, boxes=boxes))
            assert inserted.inserted_primary_key is not None
            number = int(inserted.inserted_primary_key[0])
            uid = connection.scalar(select(instances.c.sop_uid).where(instances.c.id == instance_id))
            note(connection, "reviewed", door, who, {"instance": uid, "review": number}, action="C")
            return number

    def of(self, instance_id: int) -> list[Review]:
        """All reviews of a film, oldest first."""
        query = select(reviews).where(reviews.c.instance_id == instance_id).order_by(reviews.c.id)
        with self.ledger.read() as connection:
            return [Review(**row._mapping) for row in connection.execute(query)]

    def all(self) -> list[dict[str, Any]]:
        """All reviews, oldest first, each with its film's `file`, `patient`, `study_uid`, `sop_uid`, and the `summary` of
        the result that was reviewed."""
        query = (
            select(
                reviews, instances.c.file, instances.c.patient, instances.c.study_uid, instances.c.sop_uid,
                results.c.summary,
            )
            .join(instances, instances.c.id == reviews.c.instance_id)
            .join(results, results.c.id == reviews.c.result_id)
            .order_by(reviews.c.id)
        )  # fmt: skip
        with self.ledger.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
