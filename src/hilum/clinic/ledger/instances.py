"""What came in: the one place that decides whether an instance is new, known, in conflict, or to be set apart."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, and_, insert, or_, select

from hilum.clinic.ledger import queue
from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.tables import conflicts, instances, jobs, products, quarantine
from hilum.clinic.ledger.trail import MINOR, SERIOUS, note

Kind = Literal["queued", "known", "conflict", "quarantined", "not for us"]
_SENDER = 128  # characters of a sender that are kept


@dataclass(frozen=True)
class Facts:
    """What is kept of an instance. `patient` and `accession` as `Instances.mark` gives them; `pixels`: digest of the stored
    values; `elsewhere`: why it is none of Hilum's films, or None."""

    sop_uid: str
    pixels: str
    sop_class: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    modality: str | None = None
    patient: str | None = None
    accession: str | None = None
    elsewhere: str | None = None


@dataclass(frozen=True)
class Admission:
    """What was decided, and the rows it stands in."""

    kind: Kind
    instance_id: int
    job_id: int
    reason: str | None = None


class Instances:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._secret = ledger.secret()

    def mark(self, value: str | None) -> str | None:
        """A patient's or accession number as this ledger keeps it: HMAC-SHA256 under its own key; None for an empty one."""
        plain = (value or "").strip(" \0")
        return hmac.new(self._secret, plain.encode(), hashlib.sha256).hexdigest() if plain else None

    def admit(self, facts: Facts, file: str, size: int, door: str, sender: str) -> Admission:
        """Decide on an instance whose bytes are safe on disk, and write it down with its job, in one transaction.

        The same UID with the same pixels is known, with other pixels a conflict; a patient other than the one of its
        study or accession number sets it apart. Both are kept, and wait until a person releases them.
        """
        with self.ledger.write() as connection:
            known = self._known(connection, facts)
            if known is not None:
                what = _what(facts, known.instance_id)
                note(connection, "received", door, sender, {**what, "reason": "known"}, action="C")
                return known
            kind, reason, first = _decide(connection, facts)
            instance_id = _insert(
                connection,
                instances,
                sop_uid=facts.sop_uid,
                sop_class=facts.sop_class,
                study_uid=facts.study_uid,
                series_uid=facts.series_uid,
                modality=facts.modality,
                patient=facts.patient,
                accession=facts.accession,
                pixels=facts.pixels,
                file=file,
                bytes=size,
                door=door,
                sender=sender[:_SENDER],
                received=time.time(),
            )
            what = {**_what(facts, instance_id), "reason": reason}
            now = time.time()
            if kind == "conflict":
                row = {
                    "sop_uid": facts.sop_uid,
                    "first_id": first,
                    "instance_id": instance_id,
                    "created": now,
                }
                connection.execute(insert(conflicts).values(**row))
                note(connection, "conflict", door, sender, what, SERIOUS, "C")
            elif kind == "quarantined":
                row = {"instance_id": instance_id, "reason": reason, "created": now}
                connection.execute(insert(quarantine).values(**row))
                note(connection, "quarantined", door, sender, what, SERIOUS, "C")
            else:
                note(connection, "received", door, sender, what, action="C")
            job_id = queue.put(connection, instance_id, _STATES[kind], reason)
            return Admission(kind, instance_id, job_id, reason)

    def refuse(self, door: str, sender: str, reason: str, sop_uid: str | None = None) -> None:
        """Note in the trail that something was not let in."""
        with self.ledger.write() as connection:
            what = {"reason": reason, "instance": sop_uid}
            note(connection, "refused", door, sender, what, MINOR, "C")

    def seen(self, sop_uids: list[str], door: str, sender: str) -> set[str]:
        """Those of these SOP Instance UIDs that this sender handed in before, or that are Hilum's own results.

        What another handed in under such a UID may have other pixels, so it does not count."""
        given = and_(instances.c.door == door, instances.c.sender == sender[:_SENDER])
        found: set[str] = set()
        with self.ledger.read() as connection:
            for start in range(0, len(sop_uids), 500):
                some = sop_uids[start : start + 500]
                before = select(instances.c.sop_uid).where(instances.c.sop_uid.in_(some), given)
                own = select(products.c.sop_uid).where(products.c.sop_uid.in_(some))
                found.update(connection.scalars(before.union(own)))
        return found

    def find(self, instance_id: int) -> dict[str, Any] | None:
        """An instance's row, or None."""
        with self.ledger.read() as connection:
            row = connection.execute(select(instances).where(instances.c.id == instance_id)).first()
        return None if row is None else dict(row._mapping)

    def by_uid(self, sop_uid: str) -> list[dict[str, Any]]:
        """Every instance of this SOP Instance UID, oldest first: more than one where there is a conflict."""
        query = select(instances).where(instances.c.sop_uid == sop_uid).order_by(instances.c.id)
        with self.ledger.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def files(self) -> set[str]:
        """Digests of all files that must be kept."""
        query = select(instances.c.file).join(jobs, jobs.c.instance_id == instances.c.id)
        with self.ledger.read() as connection:
            return set(connection.scalars(query.where(jobs.c.state != "removed")))

    def _known(self, connection: Connection, facts: Facts) -> Admission | None:
        query = (
            select(instances.c.id, jobs.c.id.label("job"), jobs.c.reason)
            .join(jobs, jobs.c.instance_id == instances.c.id)
            .where(instances.c.sop_uid == facts.sop_uid)
            .order_by(instances.c.id)
        )
        if facts.elsewhere is None:
            query = query.where(instances.c.pixels == facts.pixels)
        row = connection.execute(query).first()
        return None if row is None else Admission("known", row.id, row.job, row.reason)


_STATES: dict[str, queue.State] = {
    "queued": "queued",
    "conflict": "held",
    "quarantined": "held",
    "not for us": "not_for_us",
}


def _decide(connection: Connection, facts: Facts) -> tuple[Kind, str | None, int | None]:
    """The kind, its reason, and for a conflict the instance that was there first."""
    if facts.elsewhere is not None:
        return "not for us", facts.elsewhere, None
    if connection.scalar(select(products.c.sop_uid).where(products.c.sop_uid == facts.sop_uid)) is not None:
        return "not for us", "it is a result of Hilum's own", None
    first = connection.scalar(
        select(instances.c.id).where(instances.c.sop_uid == facts.sop_uid).order_by(instances.c.id).limit(1)
    )
    if first is not None:
        return "conflict", "the same SOP Instance UID came before with other pixels", first
    if facts.patient is not None:
        same_study = and_(instances.c.study_uid == facts.study_uid, instances.c.study_uid.is_not(None))
        same_order = and_(instances.c.accession == facts.accession, instances.c.accession.is_not(None))
        apart = select(quarantine.c.instance_id).where(quarantine.c.released.is_(None))
        other = connection.execute(
            select(instances.c.study_uid)
            .where(or_(same_study, same_order), instances.c.patient != facts.patient)
            .where(instances.c.id.not_in(apart))
            .limit(1)
        ).first()
        if other is not None:
            what = "study" if other.study_uid == facts.study_uid else "accession number"
            return "quarantined", f"its {what} came before with another Patient ID", None
    return "queued", None, None


def _what(facts: Facts, instance_id: int) -> dict[str, Any]:
    return {"instance": facts.sop_uid, "study": facts.study_uid, "row": instance_id}


def _insert(connection: Connection, table: Any, **values: Any) -> int:
    inserted = connection.execute(insert(table).values(**values))
    assert inserted.inserted_primary_key is not None
    return int(inserted.inserted_primary_key[0])
