"""The audit trail: who did what, when, with which outcome; exported as JSON lines or DICOM audit messages (PS3.15 A.5)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from xml.etree import ElementTree as Xml

from sqlalchemy import Connection, insert, select

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.tables import trail
from hilum.errors import one_line

Action = Literal["C", "R", "U", "D", "E"]  # create, read, update, delete, execute

SUCCESS, MINOR, SERIOUS, MAJOR = 0, 4, 8, 12  # PS3.15 A.5.1: EventOutcomeIndicator
LONGEST_WHO, LONGEST_REASON = 128, 500

# Our events, and the codes of PS3.16 CID 400 that they are exported with.
EVENTS: dict[str, tuple[str, str]] = {
    "started": ("110100", "Application Activity"),
    "stopped": ("110100", "Application Activity"),
    "trail read": ("110101", "Audit Log Used"),
    "read": ("110103", "DICOM Instances Accessed"),
    "analysed": ("110103", "DICOM Instances Accessed"),
    "failed": ("110103", "DICOM Instances Accessed"),
    "received": ("110104", "DICOM Instances Transferred"),
    "refused": ("110104", "DICOM Instances Transferred"),
    "conflict": ("110104", "DICOM Instances Transferred"),
    "quarantined": ("110104", "DICOM Instances Transferred"),
    "delivered": ("110104", "DICOM Instances Transferred"),
    "undelivered": ("110104", "DICOM Instances Transferred"),
    "removed": ("110105", "DICOM Study Deleted"),
    "released": ("110103", "DICOM Instances Accessed"),
    "retried": ("110103", "DICOM Instances Accessed"),
    "reviewed": ("110103", "DICOM Instances Accessed"),
    "exported": ("110106", "Export"),
    "queried": ("110112", "Query"),
    "denied": ("110113", "Security Alert"),
    "token made": ("110113", "Security Alert"),
    "token revoked": ("110113", "Security Alert"),
    "login": ("110114", "User Authentication"),
    "login failed": ("110114", "User Authentication"),
}


@dataclass(frozen=True)
class Entry:
    """One event. `door`: how it came (`node`, `watch`, `upload`, ...). `who`: AE title and address, a token's name,
    a worker. `what`: UIDs, numbers of rows, a reason; never a patient's name or number."""

    id: int
    time: float
    event: str
    action: str
    outcome: int
    door: str
    who: str
    what: dict[str, Any]


def note(
    connection: Connection,
    event: str,
    door: str,
    who: str,
    what: dict[str, Any],
    outcome: int = SUCCESS,
    action: Action = "E",
) -> None:
    """Add an event inside a transaction, so that it stands if and only if what it tells of does."""
    assert event in EVENTS, event
    connection.execute(
        insert(trail).values(
            time=time.time(),
            event=event,
            action=action,
            outcome=outcome,
            door=door,
            who=one_line(who)[:LONGEST_WHO],
            what={
                key: one_line(value)[:LONGEST_REASON] if isinstance(value, str) else value
                for key, value in what.items()
                if value is not None
            },
        )
    )


class Trail:
    """Reads and writes the trail of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def add(
        self,
        event: str,
        door: str,
        who: str,
        what: dict[str, Any] | None = None,
        outcome: int = SUCCESS,
        action: Action = "E",
    ) -> None:
        """Add one event (a key of `EVENTS`) in a transaction of its own."""
        with self.ledger.write() as connection:
            note(connection, event, door, who, what or {}, outcome, action)

    def entries(self, after: int = 0, since: float = 0.0, limit: int | None = None) -> Iterator[Entry]:
        """Events with a number above `after` and a time of `since` or later, oldest first."""
        found = 0
        while True:
            page = 1000 if limit is None else min(1000, limit - found)
            query = (
                select(trail)
                .where(trail.c.id > after, trail.c.time >= since)
                .order_by(trail.c.id)
                .limit(page)
            )
            with self.ledger.read() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                yield Entry(**row._asdict())
                after = row.id
            found += len(rows)
            if len(rows) < page or found == limit:
                return

    def json_lines(self, **which: Any) -> Iterator[str]:
        """The events of `entries`, each as one line of JSON with an ISO 8601 time."""
        for entry in self.entries(**which):
            yield json.dumps({**entry.__dict__, "time": _iso(entry.time)}, sort_keys=True)

    def messages(self, **which: Any) -> Iterator[str]:
        """The events of `entries`, each as one AuditMessage of PS3.15 A.5.1, one a line."""
        host = socket.gethostname()
        for entry in self.entries(**which):
            yield Xml.tostring(_message(entry, host), encoding="unicode")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _message(entry: Entry, host: str) -> Xml.Element:
    """PS3.15 A.5.1: event, active participants, audit source, participant objects."""
    code, meaning = EVENTS[entry.event]
    message = Xml.Element("AuditMessage")
    event = Xml.SubElement(
        message,
        "EventIdentification",
        EventActionCode=entry.action,
        EventDateTime=_iso(entry.time),
        EventOutcomeIndicator=str(entry.outcome),
    )
    _code(event, "EventID", code, "DCM", meaning)
    _code(event, "EventTypeCode", entry.event.replace(" ", "-"), "99HILUM", entry.event)
    if "reason" in entry.what:
        Xml.SubElement(event, "EventOutcomeDescription").text = str(entry.what["reason"])
    Xml.SubElement(message, "ActiveParticipant", UserID=entry.who, UserIsRequestor="true")
    Xml.SubElement(message, "ActiveParticipant", UserID=f"hilum@{host}", UserIsRequestor="false")
    source = Xml.SubElement(message, "AuditSourceIdentification", AuditSourceID=f"hilum@{host}")
    Xml.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server process
    for key, (kind, role) in {
        "study": ("110180", "Study Instance UID"),
        "instance": ("110181", "SOP Instance"),
    }.items():
        if key in entry.what:
            there = Xml.SubElement(
                message,
                "ParticipantObjectIdentification",
                ParticipantObjectID=str(entry.what[key]),
                ParticipantObjectTypeCode="2",
                ParticipantObjectTypeCodeRole="3",
            )
            _code(there, "ParticipantObjectIDTypeCode", kind, "DCM", role)
    return message


def _code(parent: Xml.Element, tag: str, code: str, system: str, meaning: str) -> None:
    Xml.SubElement(parent, tag, {"csd-code": code, "codeSystemName": system, "originalText": meaning})
