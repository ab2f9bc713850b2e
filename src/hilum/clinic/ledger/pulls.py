"""Studies to fetch from an archive, whoever told of them: a poll, a webhook or a person."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.retries import ATTEMPTS, FIRST_WAIT, settle, take_due, wait_after
from hilum.clinic.ledger.tables import pulls

HOLD = 600.0  # seconds that a study in someone's hands is not given to another


@dataclass(frozen=True)
class Pull:
    """A study to fetch. `attempt` counts from 1."""

    id: int
    source: str
    study_uid: str
    instances: int | None
    attempt: int


class Pulls:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def refer(self, source: str, study_uid: str, count: int | None = None) -> bool:
        """Ask for a study at the archive `source`; True where it will be fetched.

        `count`: instances that it has, where the archive said so; a study that was fetched with as many is not fetched
        again, one that is told of without a count always is.
        """
        with self.ledger.write() as connection:
            now = time.time()
            known = select(pulls).where(pulls.c.source == source, pulls.c.study_uid == study_uid)
            row = connection.execute(known).first()
            new = {
                "instances": count,
                "state": "waiting",
                "reason": None,
                "attempts": 0,
                "next_try": now,
                "changed": now,
            }
            if row is None:
                connection.execute(insert(pulls).values(source=source, study_uid=study_uid, **new))
                return True
            if row.state == "waiting":
                if count is not None:
                    connection.execute(update(pulls).where(pulls.c.id == row.id).values(instances=count))
                return False
            if count is not None and row.instances == count:
                return False
            connection.execute(update(pulls).where(pulls.c.id == row.id).values(**new))
            return True

    def due(self, source: str) -> Pull | None:
        """The study of this archive that has waited longest; if its taker dies it is due again after `HOLD` seconds."""
        with self.ledger.write() as connection:
            row = take_due(connection, pulls, HOLD, pulls.c.source == source)
        return None if row is None else Pull(row.id, source, row.study_uid, row.instances, row.attempts + 1)

    def done(self, pull: Pull) -> None:
        """The study is fetched, unless more instances were told of meanwhile: then it is due again."""
        with self.ledger.write() as connection:
            now_has = connection.scalar(select(pulls.c.instances).where(pulls.c.id == pull.id))
            if now_has == pull.instances:
                settle(connection, pulls, pull.id, "done")
            else:
                settle(connection, pulls, pull.id, "waiting", attempts=0, next_try=time.time())

    def failed(self, pull: Pull, reason: str, first: float = FIRST_WAIT) -> None:
        """Try again later; never again where it failed `ATTEMPTS` times."""
        with self.ledger.write() as connection:
            if pull.attempt >= ATTEMPTS:
                settle(connection, pulls, pull.id, "failed", reason)
            else:
                later = time.time() + wait_after(pull.attempt - 1, first)
                settle(connection, pulls, pull.id, "waiting", reason, next_try=later)

    def all(self, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Pulls, newest first."""
        query = select(pulls).order_by(pulls.c.id.desc()).limit(limit)
        query = query.where(pulls.c.state == state) if state is not None else query
        with self.ledger.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]
