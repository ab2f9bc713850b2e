"""Films that were kept long enough: their rows lose what was found, their files may go, and the trail says so."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Select, exists, select, update

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.tables import deliveries, instances, jobs, results, reviews
from hilum.clinic.ledger.trail import note

BATCH = 100  # films a transaction


@dataclass(frozen=True)
class Forgotten:
    """A film whose files may go: the digest it lies under, and the folders of its results."""

    file: str
    folders: tuple[str, ...]


class Retention:
    """Which films are old, and the end of them.

    A film counts that came before a time and was done or failed before it; one that waits, is at work, is held for a person,
    or has a result on its way to an archive, stays. What stays of a film that is removed: its row, with UIDs and the keyed
    hashes, so that it is known when it comes again; the UIDs of its DICOM results, so that they are known as Hilum's own;
    what readers said; and the trail.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def old(self, before: float, keep_reviewed: bool = False) -> int:
        """How many films would be removed."""
        with self.ledger.read() as connection:
            return len(connection.execute(_old(before, keep_reviewed)).all())

    def remove(self, before: float, who: str, keep_reviewed: bool = False) -> list[Forgotten]:
        """Remove up to `BATCH` old films from the ledger, in one transaction; their files are the caller's, afterwards.

        None are left where the list is empty. A file that is not removed then, for a kill, is a left-over that is swept.
        """
        with self.ledger.write() as connection:
            now, found = time.time(), []
            for row in connection.execute(_old(before, keep_reviewed).limit(BATCH)).all():
                own = results.c.instance_id == row.instance_id
                folders = tuple(connection.scalars(select(results.c.folder).where(own)))
                connection.execute(update(results).where(own).values(files={}, summary={}))
                ended = {"state": "removed", "reason": "it was kept long enough", "changed": now}
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(**ended))
                what = {"instance": row.sop_uid, "study": row.study_uid, "row": row.instance_id}
                note(connection, "removed", "retention", who, what, action="D")
                found.append(Forgotten(row.file, folders))
            return found


def _old(before: float, keep_reviewed: bool) -> Select[tuple[int, int, str, str | None, str]]:
    on_its_way = exists().where(
        deliveries.c.result_id == results.c.id,
        results.c.instance_id == instances.c.id,
        deliveries.c.state == "waiting",
    )
    query = (
        select(jobs.c.id, jobs.c.instance_id, instances.c.sop_uid, instances.c.study_uid, instances.c.file)
        .join(instances, instances.c.id == jobs.c.instance_id)
        .where(jobs.c.state.in_(("done", "failed")), instances.c.received < before, jobs.c.changed < before)
        .where(~on_its_way)
        .order_by(jobs.c.id)
    )
    return query.where(~exists().where(reviews.c.instance_id == instances.c.id)) if keep_reviewed else query
