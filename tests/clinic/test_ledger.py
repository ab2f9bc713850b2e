"""The ledger in both databases: decisions at the door, the queue under every order of events, retries, tokens, trail."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import inspect, text

from hilum.clinic.ledger import Deliveries, Instances, Ledger, Pulls, Queue, Tokens, Trail
from hilum.clinic.ledger.queue import CRASHES, LOSSES, Claim, Made
from hilum.clinic.ledger.tables import metadata
from hilum.errors import ClinicError

from .helpers import BUNDLES, facts

FILE = "f" * 64


def made(folder: str = "a", **values: object) -> Made:
    return Made(
        **{"bundles": BUNDLES, "folder": folder, "files": {}, "summary": {"analysable": True}, **values}
    )


def admit(ledger: Ledger, *args: object, **values: object):
    return Instances(ledger).admit(facts(*args, **values), FILE, 1, "cli", "me")


def test_models_equal_migrations(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_old_schema_migrates_and_keeps_what_it_holds(address: str) -> None:
    from hilum.clinic.ledger.database import _url

    old = Ledger(_url(address))
    old.migrate("0001")
    assert "pulls" not in inspect(old.engine).get_table_names()
    kept = admit(old)
    old.close()
    new = Ledger.open(address)
    assert Queue(new).job(kept.job_id)["sop_uid"] == "1.2.3.1"
    assert Pulls(new).refer("http://archive", "1.2")
    new.close()


def test_a_ledger_of_a_newer_hilum_is_refused(ledger: Ledger, address: str) -> None:
    with ledger.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ClinicError, match="newer Hilum"):
        Ledger.open(address)


@pytest.mark.parametrize("url", ["mysql://host/name", "postgresql://nobody@127.0.0.1:1/none"])
def test_an_address_that_cannot_be_opened_is_said(url: str) -> None:
    with pytest.raises(ClinicError, match=r"cannot (lie|be opened)"):
        Ledger.open(url)


def test_the_same_instance_twice_is_one_and_other_pixels_are_a_conflict_that_is_kept(ledger: Ledger) -> None:
    first, again, other = admit(ledger), admit(ledger), admit(ledger, pixels=1)
    assert (first.kind, again.kind, other.kind) == ("queued", "known", "conflict")
    assert again.job_id == first.job_id
    assert admit(ledger, pixels=1).kind == "known"
    queue = Queue(ledger)
    assert queue.counts() | {"queued": 1, "held": 1} == queue.counts()
    queue.release(other.job_id, "me")
    assert queue.counts()["queued"] == 2
    with pytest.raises(ClinicError, match="is queued"):
        queue.release(other.job_id, "me")


def test_a_contradicting_patient_is_set_apart_and_poisons_nothing(ledger: Ledger) -> None:
    mark = Instances(ledger).mark
    a, b = mark("P1"), mark("P2")
    assert a != b != mark("") is None
    assert mark("P1 ") == a
    assert admit(ledger, 1, patient=a).kind == "queued"
    apart = admit(ledger, 2, study_uid="1.2.4.2", patient=b)
    assert (apart.kind, apart.reason) == ("quarantined", "its study came before with another Patient ID")
    assert admit(ledger, 3, study_uid="1.2.4.2", patient=a).kind == "queued"
    assert admit(ledger, 4, study_uid="1.2.4.2").kind == "queued", "unknown is no contradiction"
    order = mark("A1")
    assert admit(ledger, 5, accession=order, patient=a).kind == "queued"
    assert (
        admit(ledger, 6, accession=order, patient=b).reason
        == "its accession number came before with another Patient ID"
    )


def test_no_patient_is_in_the_database(ledger: Ledger) -> None:
    instances = Instances(ledger)
    instances.admit(facts(patient=instances.mark("Doe-12345")), FILE, 1, "cli", "me")
    with ledger.read() as connection:
        everything = [
            str(row) for table in metadata.sorted_tables for row in connection.execute(table.select())
        ]
    assert everything
    assert not [row for row in everything if "12345" in row]


def test_own_products_are_known_when_they_come_back(ledger: Ledger) -> None:
    admit(ledger)
    claim = Queue(ledger).claim("w")
    assert claim is not None
    assert Queue(ledger).finish(claim, made(products=(("9.9", "a.dcm"),)))
    back = admit(ledger, sop_uid="9.9")
    assert (back.kind, back.reason) == ("not for us", "it is a result of Hilum's own")
    seen = Instances(ledger).seen
    assert seen(["9.9", "1.2.3.1", "7"], "cli", "me") == {"9.9", "1.2.3.1"}
    assert seen(["9.9", "1.2.3.1", "7"], "watch", "http://pacs") == {"9.9"}, "its pixels may be others there"
    assert Queue(ledger).claim("w") is None


def test_a_lease_that_ran_out_goes_to_another_and_the_first_can_write_nothing(ledger: Ledger) -> None:
    admit(ledger)
    queue = Queue(ledger)
    first = queue.claim("one", lease=0.0)
    time.sleep(0.01)
    second = queue.claim("two")
    assert first is not None
    assert second is not None
    assert second.job_id == first.job_id
    assert queue.claim("three") is None
    assert not queue.renew(first)
    assert not queue.finish(first, made("first"))
    assert not queue.fail(first, "a fault", again=False)
    assert queue.renew(second)
    assert queue.finish(second, made("second"))
    assert [r["folder"] for r in queue.results(second.instance_id)] == ["second"]
    assert queue.counts()["done"] == 1


def test_a_job_that_loses_every_worker_ends_with_a_reason(ledger: Ledger) -> None:
    admit(ledger)
    queue = Queue(ledger)
    for _ in range(LOSSES):
        assert queue.claim("w", lease=0.0) is not None
        time.sleep(0.005)
    assert queue.claim("w") is None
    (job,) = queue.jobs("failed")
    assert job["reason"] == f"the worker that analysed it was lost {LOSSES} times"
    queue.retry(job["id"], "me")
    assert queue.claim("w") is not None


def test_a_crash_is_tried_again_and_a_fault_is_not(ledger: Ledger) -> None:
    admit(ledger)
    queue = Queue(ledger)
    for attempt in range(1, CRASHES + 1):
        claim = queue.claim("w")
        assert claim is not None
        assert queue.fail(claim, "it died", again=True) is (attempt < CRASHES)
    assert queue.counts()["failed"] == 1
    admit(ledger, 1)
    claim = queue.claim("w")
    assert claim is not None
    assert not queue.fail(claim, "no film", again=False)
    assert queue.counts()["failed"] == 2


def test_one_result_for_each_set_of_bundles(ledger: Ledger) -> None:
    job = admit(ledger).job_id
    queue = Queue(ledger)
    for folder, bundles, written in (("a", "1" * 64, True), ("b", "1" * 64, False), ("c", "2" * 64, True)):
        claim = queue.claim("w")
        assert claim is not None
        assert queue.finish(claim, made(folder, bundles=bundles)) is written
        queue.retry(job, "me")
    assert [r["folder"] for r in queue.results(1)] == ["c", "a"]


def test_many_threads_admit_and_claim_each_once(ledger: Ledger) -> None:
    kinds: list[str] = []
    claims: list[Claim] = []

    def come() -> None:
        for seed in range(5):
            kinds.append(admit(ledger, seed).kind)

    def take() -> None:
        while (claim := Queue(ledger).claim(threading.current_thread().name)) is not None:
            claims.append(claim)

    for work in (come, take):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(kinds) == ["known"] * 15 + ["queued"] * 5
    assert sorted(c.job_id for c in claims) == [1, 2, 3, 4, 5]


class Life(RuleBasedStateMachine):
    """Workers, people and kills in any order: what must hold holds after each step."""

    claims: Bundle = Bundle("claims")
    path: Path

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger.open(f"sqlite:///{self.path}/{time.monotonic_ns()}.sqlite3")
        self.queue = Queue(self.ledger)
        self.folders = 0
        self.written: list[int] = []

    @rule(seed=st.integers(0, 3), pixels=st.integers(0, 1))
    def comes(self, seed: int, pixels: int) -> None:
        admit(self.ledger, seed, pixels)

    @rule(target=claims, lease=st.sampled_from([-1.0, 60.0]))
    def claimed(self, lease: float) -> Claim | None:
        return self.queue.claim("w", lease)

    @rule(claim=claims)
    def finished(self, claim: Claim | None) -> None:
        self.folders += 1
        if claim is not None and self.queue.finish(claim, made(f"f{self.folders}")):
            self.written.append(claim.instance_id)

    @rule(claim=claims, again=st.booleans())
    def failed(self, claim: Claim | None, again: bool) -> None:
        if claim is not None:
            self.queue.fail(claim, "a fault", again)

    @rule(claim=claims)
    def given_back(self, claim: Claim | None) -> None:
        if claim is not None:
            self.queue.give_back(claim)

    @rule(job=st.integers(1, 8))
    def person(self, job: int) -> None:
        state = (self.queue.job(job) or {}).get("state")
        try:
            (self.queue.release if state == "held" else self.queue.retry)(job, "me")
        except ClinicError:
            assert state not in ("held", "failed", "done")

    @invariant()
    def no_result_is_doubled_and_no_job_is_lost(self) -> None:
        assert len(self.written) == len(set(self.written))
        jobs = self.queue.jobs(limit=1000)
        assert len({job["instance_id"] for job in jobs}) == len(jobs)
        for job in jobs:
            there = len(self.queue.results(job["instance_id"]))
            assert there == self.written.count(job["instance_id"])
            assert job["state"] != "done" or there == 1
            assert job["state"] != "failed" or job["reason"]

    def teardown(self) -> None:
        self.ledger.close()


def test_whatever_happens_each_instance_has_one_result_at_most(tmp_path: Path) -> None:
    kind = type("LifeHere", (Life,), {"path": tmp_path})
    run_state_machine_as_test(
        kind, settings=settings(max_examples=15, stateful_step_count=25, deadline=None, print_blob=False)
    )


def test_deliveries_wait_longer_each_time_and_end(ledger: Ledger) -> None:
    admit(ledger)
    claim = Queue(ledger).claim("w")
    assert claim is not None
    Queue(ledger).finish(claim, made(products=(("9.9", "a.dcm"),)), ("http://archive", "dicom://A@host:104"))
    deliveries = Deliveries(ledger)
    one, two = deliveries.due(), deliveries.due()
    assert one is not None
    assert two is not None
    assert {one.target, two.target} == {"http://archive", "dicom://A@host:104"}
    assert (one.files, one.study_uid, one.attempt) == (("a.dcm",), "1.2.4.1", 1)
    assert deliveries.due() is None, "both are in someone's hands"
    deliveries.delivered(one)
    deliveries.failed(two, "it is away", first=0.0)
    three = deliveries.due()
    assert three is not None
    assert (three.id, three.attempt) == (two.id, 2)
    deliveries.failed(three, "never", for_good=True)
    assert {d["state"] for d in deliveries.all()} == {"done", "failed"}
    deliveries.retry(two.id)
    assert deliveries.due() is not None


def test_a_study_is_pulled_again_only_when_it_grew(ledger: Ledger) -> None:
    pulls = Pulls(ledger)
    assert pulls.refer("http://a", "1.2", 3)
    assert not pulls.refer("http://a", "1.2", 3)
    assert pulls.due("http://b") is None
    pull = pulls.due("http://a")
    assert pull is not None
    pulls.refer("http://a", "1.2", 4)  # it grew while it was fetched
    pulls.done(pull)
    pull = pulls.due("http://a")
    assert pull is not None
    pulls.done(pull)
    assert not pulls.refer("http://a", "1.2", 4)
    assert pulls.refer("http://a", "1.2", 5)
    assert pulls.refer("http://b", "1.2")


def test_tokens_are_shown_once_kept_hashed_and_end(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(ledger)
    secret = tokens.make("reader", ["read"], days=1)
    found = tokens.check(secret)
    assert found is not None
    assert (found.name, found.scopes) == ("reader", ("read",))
    assert tokens.check(secret + "x") is None
    assert tokens.check("") is None
    with ledger.read() as connection:
        assert secret not in str(connection.execute(text("SELECT * FROM tokens")).all())
    for name, scopes in (("reader", ["read"]), ("other", ["all"]), ("other", []), ("a\nb", ["read"])):
        with pytest.raises(ClinicError):
            tokens.make(name, scopes)
    tokens.revoke("reader")
    assert tokens.check(secret) is None
    soon = tokens.make("soon", ["read", "submit"], days=1)
    later = time.time() + 86401
    monkeypatch.setattr(time, "time", lambda: later)
    assert tokens.check(soon) is None
    assert [(t.name, t.revoked) for t in tokens.all()] == [("reader", True), ("soon", False)]


def test_the_trail_is_exported_as_lines_and_as_audit_messages(ledger: Ledger) -> None:
    trail = Trail(ledger)
    Instances(ledger).admit(facts(), FILE, 1, "node", "EVIL\r\nINFO forged@10.0.0.1")
    trail.add("denied", "node", "X" * 500, {"reason": "<script>\n"}, 8)
    lines = list(trail.json_lines())
    assert [json.loads(line)["event"] for line in lines] == ["received", "denied"]
    assert json.loads(lines[0])["who"] == r"EVIL\r\nINFO forged@10.0.0.1"
    assert len(json.loads(lines[1])["who"]) == 128
    messages = list(trail.messages())
    assert not any("\n" in each for each in (*lines, *messages))
    first, second = (Xml.fromstring(message) for message in messages)
    identified = first.find("EventIdentification")
    assert identified is not None
    assert identified.attrib["EventOutcomeIndicator"] == "0"
    assert identified.find("EventID").attrib["csd-code"] == "110104"  # type: ignore[union-attr]
    objects = [o.attrib["ParticipantObjectID"] for o in first.iter("ParticipantObjectIdentification")]
    assert objects == ["1.2.4.1", "1.2.3.1"]
    assert second.find("EventIdentification/EventOutcomeDescription").text == "<script>\\n"  # type: ignore[union-attr]
    assert [e.id for e in trail.entries(after=1)] == [2]
