"""The queue: one job an instance, handed to one worker at a time under a lease, ended by exactly one result or a reason.

    queued -> running -> done | failed          a lease that ran out: running -> running (another worker) | failed
    held -> queued      (released by a person)  failed -> queued (retried by a person)
    done, failed -> removed (kept long enough, see `retention`)
    not_for_us: an end; what is refused at the door has no job, it stands in the trail

A worker that dies loses its lease and nothing else: its job is handed out again when the lease has run out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Connection, func, insert, select, update

from hilum.clinic.ledger.database import Ledger
from hilum.clinic.ledger.tables import conflicts, deliveries, instances, jobs, products, quarantine, results
from hilum.clinic.ledger.trail import SERIOUS, note
from hilum.errors import ClinicError

State = Literal["queued", "running", "done", "failed", "held", "not_for_us", "removed"]
STATES: tuple[State, ...] = get_args(State)

LEASE = 30.0  # seconds; a worker renews it thrice in that time
CRASHES = 3  # attempts of a job whose analysis crashes or runs out of time
LOSSES = 10  # attempts of a job whose whole worker vanishes each time


@dataclass(frozen=True)
class Claim:
    """A job in a worker's hands. `attempt` counts from 1 and fences off whoever held the job before."""

    job_id: int
    instance_id: int
    sop_uid: str
    study_uid: str | None
    file: str
    attempt: int
    worker: str


@dataclass(frozen=True)
class Made:
    """What an analysis made: `bundles` digest, `folder` under the store's results, names of `files` by kind, `summary` for
    lists, `products` (SOP Instance UID, file) of its DICOM objects, and `seconds` it took."""

    bundles: str
    folder: str
    files: dict[str, Any]
    summary: dict[str, Any]
    products: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


def reference_name(bundles: str) -> str:
    """The setting of the ledger that holds what a drift of these bundles is measured against."""
    return f"reference {bundles}"


def put(connection: Connection, instance_id: int, state: State, reason: str | None = None) -> int:
    """A new job, inside a transaction; returns its number."""
    row = {
        "instance_id": instance_id,
        "state": state,
        "reason": reason,
        "attempts": 0,
        "changed": time.time(),
    }
    inserted = connection.execute(insert(jobs).values(**row)).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


class Queue:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def claim(self, worker: str, lease: float = LEASE) -> Claim | None:
        """The next job, for `lease` seconds: first those whose lease ran out, then the oldest; None where there is none."""
        with self.ledger.write() as connection:
            while True:
                now = time.time()
                lost = select(jobs).where(jobs.c.state == "running", jobs.c.lease_until < now)
                row = connection.execute(lost.order_by(jobs.c.id).limit(1)).first()
                if row is not None and row.attempts >= LOSSES:
                    reason = f"the worker that analysed it was lost {row.attempts} times"
                    _fail(connection, row.id, row.instance_id, row.worker or worker, reason)
                    continue
                if row is None:
                    waiting = select(jobs).where(jobs.c.state == "queued").order_by(jobs.c.id).limit(1)
                    row = connection.execute(waiting).first()
                if row is None:
                    return None
                attempt = row.attempts + 1
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == row.id)
                    .values(
                        state="running", worker=worker, lease_until=now + lease, attempts=attempt, changed=now
                    )
                )
                found = connection.execute(select(instances).where(instances.c.id == row.instance_id)).one()
                return Claim(row.id, found.id, found.sop_uid, found.study_uid, found.file, attempt, worker)

    def renew(self, claim: Claim, lease: float = LEASE) -> bool:
        """Hold the job for another `lease` seconds; False where it was handed to another worker meanwhile."""
        with self.ledger.write() as connection:
            return self._change(connection, claim, lease_until=time.time() + lease)

    def finish(self, claim: Claim, made: Made, targets: tuple[str, ...] = ()) -> bool:
        """Publish a result: its row, its DICOM objects, its deliveries and the end of its job, in one transaction.

        False, and nothing is written, where the job is no longer this worker's, or where these bundles have a result of
        the instance already; then the job is done by that one.
        """
        with self.ledger.write() as connection:
            now = time.time()
            ended = {"state": "done", "reason": None, "lease_until": None, "changed": now}
            if not self._change(connection, claim, **ended):
                return False
            there = select(results.c.id).where(
                results.c.instance_id == claim.instance_id, results.c.bundles == made.bundles
            )
            if connection.scalar(there) is not None:
                return False
            inserted = connection.execute(
                insert(results).values(
                    instance_id=claim.instance_id,
                    bundles=made.bundles,
                    folder=made.folder,
                    files=made.files,
                    summary=made.summary,
                    seconds=made.seconds,
                    created=now,
                )
            ).inserted_primary_key
            assert inserted is not None
            for sop_uid, file in made.products:
                connection.execute(insert(products).values(sop_uid=sop_uid, result_id=inserted[0], file=file))
            for target in targets if made.products else ():
                row = {"state": "waiting", "attempts": 0, "next_try": now, "changed": now}
                connection.execute(insert(deliveries).values(result_id=inserted[0], target=target, **row))
            what = {"instance": claim.sop_uid, "study": claim.study_uid, "row": claim.instance_id}
            note(connection, "analysed", "worker", claim.worker, what)
            return True

    def fail(self, claim: Claim, reason: str, again: bool) -> bool:
        """End an attempt without a result. `again`: it crashed or ran out of time, and may be tried again, `CRASHES` times
        in all. True where the job is queued once more."""
        with self.ledger.write() as connection:
            if again and claim.attempt < CRASHES:
                back = {"state": "queued", "reason": reason, "lease_until": None, "changed": time.time()}
                return self._change(connection, claim, **back)
            if self._change(connection, claim):
                _fail(connection, claim.job_id, claim.instance_id, claim.worker, reason)
            return False

    def give_back(self, claim: Claim) -> None:
        """A worker that stops hands its job back as if it had not taken it."""
        with self.ledger.write() as connection:
            back = {"state": "queued", "lease_until": None, "attempts": claim.attempt - 1}
            self._change(connection, claim, **back, changed=time.time())

    def retry(self, job_id: int, who: str, door: str = "cli") -> None:
        """Queue a job that failed, or one that is done for other bundles, once more. Raises ClinicError for any other."""
        with self.ledger.write() as connection:
            self._queue_again(connection, job_id, ("failed", "done"), who, door, "retried")

    def release(self, job_id: int, who: str, door: str = "cli") -> None:
        """Let an instance that was set apart be analysed after all. Raises ClinicError where the job is not held."""
        with self.ledger.write() as connection:
            instance_id = self._queue_again(connection, job_id, ("held",), who, door, "released")
            for table in (quarantine, conflicts):
                connection.execute(
                    update(table)
                    .where(table.c.instance_id == instance_id, table.c.released.is_(None))
                    .values(released=time.time(), released_by=who[:128])
                )

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        with self.ledger.read() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        found = {state: count for state, count in rows}
        return {state: found.get(state, 0) for state in STATES}

    def jobs(
        self,
        state: State | None = None,
        study_uid: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[dict[str, Any]]:
        """Jobs with their instances' UIDs, newest first; `before`: only those with a lesser number, for the next page."""
        query = (
            select(
                jobs.c.id, jobs.c.state, jobs.c.reason, jobs.c.attempts, jobs.c.changed, jobs.c.instance_id,
                instances.c.sop_uid, instances.c.study_uid, instances.c.modality, instances.c.door,
                instances.c.received,
            )
            .join(instances, instances.c.id == jobs.c.instance_id)
            .order_by(jobs.c.id.desc())
            .limit(limit)
        )  # fmt: skip
        if state is not None:
            query = query.where(jobs.c.state == state)
        if study_uid is not None:
            query = query.where(instances.c.study_uid == study_uid)
        if before is not None:
            query = query.where(jobs.c.id < before)
        with self.ledger.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def job(self, job_id: int) -> dict[str, Any] | None:
        """One job as `jobs` has it, or None."""
        return next(iter(self.jobs(limit=1, before=job_id + 1)), None) if self._exists(job_id) else None

    def results(self, instance_id: int) -> list[dict[str, Any]]:
        """All results of an instance, newest first: one for each set of bundles that analysed it."""
        query = select(results).where(results.c.instance_id == instance_id).order_by(results.c.id.desc())
        with self.ledger.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def folders(self) -> set[str]:
        """Folders of all results that must be kept."""
        query = select(results.c.folder).join(jobs, jobs.c.instance_id == results.c.instance_id)
        with self.ledger.read() as connection:
            return set(connection.scalars(query.where(jobs.c.state != "removed")))

    def _exists(self, job_id: int) -> bool:
        with self.ledger.read() as connection:
            return connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id)) is not None

    def _change(self, connection: Connection, claim: Claim, **values: Any) -> bool:
        """Change a job that is still this claim's; False where it is not."""
        mine = (
            jobs.c.id == claim.job_id,
            jobs.c.state == "running",
            jobs.c.worker == claim.worker,
            jobs.c.attempts == claim.attempt,
        )
        changed = connection.execute(update(jobs).where(*mine).values(**(values or {"worker": claim.worker})))
        return changed.rowcount == 1

    def _queue_again(
        self, connection: Connection, job_id: int, states: tuple[State, ...], who: str, door: str, event: str
    ) -> int:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
        if row is None or row.state not in states:
            fault = f"job {job_id} is {row.state}" if row is not None else f"there is no job {job_id}"
            raise ClinicError(fault, mend=f"Only jobs that are {' or '.join(states)} can be {event}.")
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id)
            .values(state="queued", reason=None, attempts=0, changed=time.time())
        )
        uid = connection.scalar(select(instances.c.sop_uid).where(instances.c.id == row.instance_id))
        note(connection, event, door, who, {"instance": uid, "row": row.instance_id}, action="U")
        return int(row.instance_id)


def _fail(connection: Connection, job_id: int, instance_id: int, worker: str, reason: str) -> None:
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(state="failed", reason=reason[:500], lease_until=None, changed=time.time())
    )
    uid = connection.scalar(select(instances.c.sop_uid).where(instances.c.id == instance_id))
    note(
        connection,
        "failed",
        "worker",
        worker,
        {"instance": uid, "row": instance_id, "reason": reason},
        SERIOUS,
    )
