"""Results on their way to an archive: each until it has arrived once, or too often has not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.retries import ATTEMPTS, FIRST_WAIT, settle, take_due, wait_after
from hilum.clinic.ledger.tables import deliveries, instances, products, results
from hilum.clinic.ledger.trail import SERIOUS, note

HOLD = 600.0  # seconds that a delivery in someone's hands is not given to another


@dataclass(frozen=True)
class Parcel:
    """A result to deliver: `files` (names in the result's `folder`) to `target`. `attempt` counts from 1."""

    id: int
    target: str
    folder: str
    files: tuple[str, ...]
    study_uid: str | None
    attempt: int


class Deliveries:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def due(self) -> Parcel | None:
        """The delivery that has waited longest; if its taker dies it is due again after `HOLD` seconds."""
        with self.ledger.write() as connection:
            row = take_due(connection, deliveries, HOLD)
            if row is None:
                return None
            result = connection.execute(
                select(results.c.folder, instances.c.study_uid)
                .join(instances, instances.c.id == results.c.instance_id)
                .where(results.c.id == row.result_id)
            ).one()
            ordered = select(products.c.file).where(products.c.result_id == row.result_id)
            files = tuple(connection.scalars(ordered.order_by(products.c.file)))
            return Parcel(row.id, row.target, result.folder, files, result.study_uid, row.attempts + 1)

    def delivered(self, parcel: Parcel) -> None:
        with self.ledger.write() as connection:
            settle(connection, deliveries, parcel.id, "done")
            note(connection, "delivered", "deliver", parcel.target, {"study": parcel.study_uid}, action="R")

    def failed(self, parcel: Parcel, reason: str, for_good: bool = False, first: float = FIRST_WAIT) -> None:
        """Try again later; never again where it failed `ATTEMPTS` times or `for_good`."""
        with self.ledger.write() as connection:
            if for_good or parcel.attempt >= ATTEMPTS:
                settle(connection, deliveries, parcel.id, "failed", reason)
                what = {"study": parcel.study_uid, "reason": reason}
                note(connection, "undelivered", "deliver", parcel.target, what, SERIOUS, "R")
                return
            later = time.time() + wait_after(parcel.attempt - 1, first)
            settle(connection, deliveries, parcel.id, "waiting", reason, next_try=later)

    def retry(self, delivery_id: int) -> None:
        """Try a delivery again now, from the first attempt."""
        with self.ledger.write() as connection:
            settle(connection, deliveries, delivery_id, "waiting", attempts=0, next_try=time.time())

    def all(self, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Deliveries, newest first."""
        query = select(deliveries).order_by(deliveries.c.id.desc()).limit(limit)
        query = query.where(deliveries.c.state == state) if state is not None else query
        with self.ledger.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
