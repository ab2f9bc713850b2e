"""What was kept long enough goes, and nothing else; the trail stays, and what comes again is known."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from hilum.clinic.ledger import Deliveries, Instances, Ledger, Queue, Retention, Reviews, Trail, Worklist
from hilum.clinic.ledger.queue import Made
from hilum.clinic.ledger.tables import instances, jobs
from hilum.clinic.retention import remove_old
from hilum.clinic.store import Store
from hilum.errors import ClinicError
from tests.cli.test_cli import run

from .helpers import BUNDLES, facts

DAY = 86400.0


class Clinic:
    """A store and a ledger, and films that came so many days ago."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self.store, self.ledger, self.queue = store, ledger, Queue(ledger)

    def film(self, seed: int, state: str = "done", targets: tuple[str, ...] = ()) -> int:
        with self.store.receiving() as part:
            part.write(f"film {seed}".encode())
            part.close()
            self.store.keep(part)
            Instances(self.ledger).admit(facts(seed), part.digest, part.size, "cli", "me")
        claim = self.queue.claim("w") if state != "queued" else None
        if claim is None:
            return self.queue.jobs(limit=1)[0]["id"]
        if state == "done":
            with self.store.making() as folder:
                (folder / "report.json").write_text("{}")
                name = self.store.publish(folder)
            products = ((f"1.2.9.{seed}", "report.sr.dcm"),)
            found = {"findings": [{"name": "Mass"}]}
            made = Made(BUNDLES, name, {"json": "report.json"}, found, products)
            assert self.queue.finish(claim, made, targets)
        elif state == "failed":
            self.queue.fail(claim, "damaged", again=False)
        return claim.job_id

    def age(self, job: int, days: float) -> int:
        then = time.time() - days * DAY
        with self.ledger.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job).values(changed=then))
            connection.execute(update(instances).where(instances.c.id == job).values(received=then))
        return job

    def states(self) -> dict[int, str]:
        return {job["id"]: job["state"] for job in self.queue.jobs()}

    def on_disk(self) -> tuple[int, int]:
        return len(list(self.store.films.glob("*/*"))), len(list(self.store.results.glob("*/*")))


@pytest.fixture
def clinic(store: Store, ledger: Ledger) -> Clinic:
    return Clinic(store, ledger)


def test_what_is_old_goes_with_its_results_and_the_trail_stays(clinic: Clinic) -> None:
    old, failed, young = clinic.film(1), clinic.film(2, "failed"), clinic.film(3)
    for job in (old, failed):
        clinic.age(job, 91)
    clinic.age(young, 89)
    events = len(list(Trail(clinic.ledger).entries()))
    assert Retention(clinic.ledger).old(time.time() - 90 * DAY) == 2
    removed = remove_old(clinic.store, clinic.ledger, time.time() - 90 * DAY, "me")
    assert (removed.films, removed.results) == (2, 1)
    assert clinic.states() == {old: "removed", failed: "removed", young: "done"}
    assert clinic.on_disk() == (1, 1)
    told = list(Trail(clinic.ledger).entries())
    assert [(e.event, e.action, e.who, e.what["instance"]) for e in told[events:]] == [
        ("removed", "D", "me", "1.2.3.2"),
        ("removed", "D", "me", "1.2.3.3"),
    ]
    assert "110105" in list(Trail(clinic.ledger).messages())[-1]
    film = Worklist(clinic.ledger).film(old)
    assert film is not None
    assert (film["result"], film["reason"]) == (None, "it was kept long enough")
    assert remove_old(clinic.store, clinic.ledger, time.time() - 90 * DAY, "me").films == 0
    with pytest.raises(ClinicError, match="is removed"):
        clinic.queue.retry(old, "me")


def test_a_removed_film_is_known_when_it_comes_again_and_its_results_are_our_own(clinic: Clinic) -> None:
    clinic.age(clinic.film(1), 91)
    remove_old(clinic.store, clinic.ledger, time.time() - DAY, "me")
    again = Instances(clinic.ledger)
    assert again.admit(facts(1), "a" * 64, 1, "cli", "me").kind == "known"
    assert again.seen(["1.2.3.2", "1.2.9.1"], "cli", "me") == {"1.2.3.2", "1.2.9.1"}
    (result,) = clinic.queue.results(1)
    assert (result["summary"], result["files"]) == ({}, {})
    assert clinic.queue.folders() == set() == again.files()


def test_what_waits_is_held_or_is_on_its_way_stays(clinic: Clinic) -> None:
    sent = clinic.film(1, targets=("http://archive/dicom-web",))
    admitted = Instances(clinic.ledger).admit(facts(1, pixels=1), "b" * 64, 1, "cli", "me")
    assert admitted.kind == "conflict"
    held, queued = admitted.job_id, clinic.film(3, "queued")
    for job in (sent, held, queued):
        clinic.age(job, 1000)
    assert remove_old(clinic.store, clinic.ledger, time.time() - DAY, "me").films == 0
    deliveries = Deliveries(clinic.ledger)
    parcel = deliveries.due()
    assert parcel is not None
    deliveries.delivered(parcel)
    assert remove_old(clinic.store, clinic.ledger, time.time() - DAY, "me").films == 1
    assert clinic.states() == {sent: "removed", held: "held", queued: "queued"}


def test_what_a_reader_said_something_of_can_be_kept(clinic: Clinic) -> None:
    read, unread = clinic.age(clinic.film(1), 91), clinic.age(clinic.film(2), 91)
    Reviews(clinic.ledger).add(1, 1, "anna", [], [])
    assert remove_old(clinic.store, clinic.ledger, time.time() - DAY, "me", keep_reviewed=True).films == 1
    assert clinic.states() == {read: "done", unread: "removed"}


def test_many_are_removed_in_several_transactions(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilum.clinic.ledger.retention.BATCH", 2)
    for seed in range(5):
        clinic.age(clinic.film(seed), 91)
    assert remove_old(clinic.store, clinic.ledger, time.time() - DAY, "me").films == 5
    assert clinic.on_disk() == (0, 0)


def test_a_kill_between_ledger_and_disk_leaves_what_is_swept(clinic: Clinic) -> None:
    clinic.age(clinic.film(1), 91)
    assert Retention(clinic.ledger).remove(time.time() - DAY, "me")
    assert clinic.on_disk() == (1, 1)
    for path in (*clinic.store.films.glob("*/*"), *clinic.store.results.glob("*/*")):
        os.utime(path, (0, 0))
    clinic.store.sweep(Instances(clinic.ledger).files(), clinic.queue.folders())
    assert clinic.on_disk() == (0, 0)


def test_the_command(tmp_path: Path) -> None:
    store = Store(tmp_path / "clinic", reserve=0)
    ledger = Ledger.open(store.root / "ledger.sqlite3")
    clinic = Clinic(store, ledger)
    clinic.age(clinic.film(1), 91)
    words = ("queue", "remove", "--store", store.root, "--older-than", 90)
    assert run(*words, "--dry-run") == (0, "1 films would be removed")
    assert run(*words) == (0, "1 films and 1 results were removed")
    assert clinic.on_disk() == (0, 0)
    assert run("queue", "remove", "--store", store.root, "--older-than", 0)[0] == 2
    ledger.close()
