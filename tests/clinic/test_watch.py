"""Watching an archive and delivering to it: each film once, own results never, an archive that misbehaves costs a try."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from sqlalchemy import text

from hilum.clinic import dicomweb
from hilum.clinic.deliver import Deliverer, Target
from hilum.clinic.dicomweb import Archive
from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Deliveries, Queue
from hilum.clinic.multipart import MAX_HEADERS, read_parts
from hilum.clinic.node import Node, Peer
from hilum.clinic.watch import Watch
from hilum.clinic.worker import Worker
from hilum.errors import ClinicError, HilumError, LimitError

from .archives import HAS_ORTHANC, PAGINGS, Orthanc, Small, orthanc, small_archive
from .helpers import StandInWithDicom, a_film, files_under, wait_until


@pytest.fixture
def archive() -> Iterator[Small]:
    with small_archive() as here:
        yield here


def put(archive: Small, seed: int, **elements: object) -> None:
    data = a_film(seed, **elements)
    archive.stored[str(dcmread(io.BytesIO(data)).SOPInstanceUID)] = data


def watching(intake: Intake, archive: Small | Orthanc, since: date | str | None = None) -> Watch:
    return Watch(Archive(archive.url), intake, since=since, first_wait=0.0)


def work(intake: Intake, target: str) -> None:
    with Worker(intake.store, intake.ledger, StandInWithDicom(), (target,)) as worker:
        worker.run(threading.Event(), until_empty=True)
    deliverer = Deliverer(intake.store, intake.ledger, first_wait=0.0)
    while deliverer.one():
        pass


@pytest.fixture(autouse=True)
def _nothing_left(intake: Intake) -> Iterator[None]:
    """Tests share an intake; what one leaves waiting is no work of the next."""
    yield
    with intake.ledger.write() as connection:
        for table in ("jobs", "deliveries"):
            left = (
                f"UPDATE {table} SET state = 'failed', reason = 'left' WHERE state IN ('queued', 'waiting')"
            )
            connection.execute(text(left))


def test_each_film_is_fetched_once_and_own_results_never(intake: Intake, archive: Small) -> None:
    put(archive, 200)
    put(archive, 201, StudyInstanceUID="1.2.4.201", PatientID="P200")
    put(archive, 202, Modality="MG")
    watch = watching(intake, archive)
    assert watch.once().outcomes == {"queued": 2}
    assert sorted(archive.fetched) == ["1.2.3.201", "1.2.3.202"]
    again = watching(intake, archive)
    assert (again.once().studies, again.once().outcomes) == (0, {}), "a restart finds nothing new"
    work(intake, archive.url)
    assert {uid for uid in archive.stored if uid.endswith(".9")} == {"1.2.3.201.9", "1.2.3.202.9"}
    found = watch.once()
    assert (found.studies, found.outcomes) == (1, {}), (
        "the study grew by our own results, which are not fetched"
    )
    assert len(archive.fetched) == 2
    put(archive, 203, StudyInstanceUID="1.2.4.201", PatientID="P200")
    assert watch.once().outcomes == {"queued": 1}


def test_a_result_of_another_hilum_is_noted_and_left(intake: Intake, archive: Small) -> None:
    put(archive, 210, ManufacturerModelName="Hilum", Manufacturer="Hilum")
    assert watching(intake, archive).once().outcomes == {"not for us": 1}


def test_a_bad_film_costs_itself(intake: Intake, archive: Small) -> None:
    put(archive, 220, Rows=0)
    put(archive, 221)
    assert watching(intake, archive).once().outcomes == {"refused": 1, "queued": 1}
    refused = [entry for entry in intake.trail.entries() if entry.event == "refused"][-1]
    assert refused.what["instance"] == "1.2.3.221", "the trail says which film it was"


def test_a_film_that_another_door_knows_with_other_pixels_is_a_conflict(
    intake: Intake, archive: Small
) -> None:
    """HAZARDS 48: what came by another door under this UID does not keep the archive's film from being looked at."""
    intake.accept([a_film(222)], "node", "XRAY")
    intake.accept([a_film(223)], "node", "XRAY")
    put(archive, 222)
    data = a_film(223, pixels=5)
    archive.stored["1.2.3.224"] = data
    assert watching(intake, archive).once().outcomes == {"known": 1, "conflict": 1}


@pytest.mark.parametrize("mood", ["away", "elsewhere", "nonsense", "endless"])
def test_an_archive_that_misbehaves_is_an_error_that_names_it(
    intake: Intake, archive: Small, mood: str
) -> None:
    archive.mood = mood
    with pytest.raises(HilumError) as caught:
        watching(intake, archive).once()
    assert archive.url in str(caught.value) or isinstance(caught.value, LimitError)


def test_a_fetch_that_breaks_is_tried_again(
    intake: Intake, archive: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(archive, 230)
    watch = watching(intake, archive)
    watch.look()
    archive.mood = "cut"
    assert watch.fetch_next() == []
    archive.mood = "endless"
    assert [o.too_large for o in watch.fetch_next() or ()] == [True], "it is refused, as a film too large"
    assert not files_under(intake.store.work)
    archive.mood = "traversal"
    intake.pulls.refer(archive.url, "1.2.4.231")
    assert watch.fetch_next() == [], "what is no UID becomes no address"
    archive.mood = "well"
    intake.pulls.refer(archive.url, "1.2.4.231")
    assert [o.kind for o in watch.fetch_next() or ()] == ["queued"]


def test_the_first_day_is_remembered(intake: Intake, archive: Small) -> None:
    first = watching(intake, archive, "start").since
    assert watching(intake, archive, "start").since == first
    assert watching(intake, archive, date(2026, 1, 31)).since == "20260131"


def test_a_delivery_waits_for_an_archive_that_is_away(intake: Intake, archive: Small) -> None:
    intake.accept([a_film(240)], "cli", "me")
    archive.mood = "away"
    work(intake, archive.url)
    (waiting,) = [d for d in Deliveries(intake.ledger).all("waiting") if d["target"] == archive.url]
    assert "answered 503" in waiting["reason"]
    archive.mood = "well"
    assert Deliverer(intake.store, intake.ledger, first_wait=0.0).one() is True
    assert "1.2.3.241.9" in archive.stored


def test_results_go_to_a_dicom_node(intake: Intake, place: Path) -> None:
    from hilum.clinic.ledger import Ledger
    from hilum.clinic.store import Store

    ledger = Ledger.open(place / "other.sqlite3")
    with Intake(Store(place / "other", reserve=0), ledger) as other:
        node = Node(other, title="PACS", port=0)
        target = f"dicom://PACS@127.0.0.1:{node.start()}"
        intake.accept([a_film(250)], "cli", "me")
        work(intake, target)
        node.stop()
        (row,) = other.instances.by_uid("1.2.3.251.9")
        (film,) = intake.instances.by_uid("1.2.3.251")
        assert Queue(ledger).job(row["id"])["state"] == "not_for_us"  # type: ignore[index]
        with pytest.raises(ClinicError, match="does not take a connection"):
            Target(target).send([intake.store.film(film["file"])])
    ledger.close()
    for address in ("ftp://a", "dicom://A@b", "dicom://A@b:99999", "http://user:secret@host/", "http://"):
        with pytest.raises(ClinicError):
            Target(address)


def body(parts: list[bytes], boundary: str = "b", head: str = "Content-Type: application/dicom\r\n") -> bytes:
    begun = b"".join(f"--{boundary}\r\n{head}\r\n".encode() + part + b"\r\n" for part in parts)
    return begun + f"--{boundary}--\r\n".encode()


def parted(data: bytes, step: int = 7, limit: int = 2**20, parts: int = 10) -> list[bytes]:
    done: list[bytes] = []
    pieces = (data[i : i + step] for i in range(0, len(data), step))
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    read_parts(kind, pieces, io.BytesIO, lambda sink: done.append(sink.getvalue()), limit, parts)  # type: ignore[attr-defined]
    return done


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.integers(1, 50))
def test_a_multipart_body_comes_apart_as_it_was_put_together(parts: list[bytes], step: int) -> None:
    parts = [part.replace(b"\r\n--b", b"") for part in parts]
    assert parted(body(parts), step) == parts


def test_a_multipart_body_is_bounded() -> None:
    with pytest.raises(LimitError, match="larger"):
        parted(body([bytes(100)]), limit=100)
    with pytest.raises(LimitError, match="more than 10 parts"):
        parted(body([b"x"] * 11))
    with pytest.raises(ClinicError, match="ends before"):
        parted(body([b"x"])[:-6])
    with pytest.raises(ClinicError, match="no valid multipart"):
        parted(body([b"x"], head="A: b\r\n" * (MAX_HEADERS + 1)))
    with pytest.raises(ClinicError, match="no valid multipart"):
        parted(body([b"x"], head="A: " + "b" * 10_000 + "\r\n"))
    with pytest.raises(ClinicError, match="no multipart/related"):
        read_parts("application/json", [], io.BytesIO, lambda _: None, 1)


@pytest.mark.skipif(not HAS_ORTHANC, reason="Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
def test_orthanc_is_watched_and_given_the_results(intake: Intake, tmp_path: Path) -> None:
    with orthanc(tmp_path / "orthanc") as there:
        for seed in (300, 301):
            there.store(a_film(seed))
        watch = watching(intake, there)
        assert watch.once().outcomes == {"queued": 2}
        work(intake, there.url)
        wait_until(lambda: there.get("/statistics")["CountInstances"] == 4)
        assert watch.once().outcomes == {}
        assert watching(intake, there).once().outcomes == {}
        found = Archive(there.url).instances("1.2.4.301")
        assert sorted(f.sop_uid for f in found) == ["1.2.3.301", "1.2.3.301.9"]
        work(intake, f"dicom://ORTHANC@127.0.0.1:{there.dicom}")
        assert there.get("/statistics")["CountInstances"] == 4, "sent twice is there once"


@pytest.mark.parametrize("paging", PAGINGS)
@pytest.mark.parametrize("count", [0, 3, 4, 11])
def test_everything_is_found_whatever_an_archive_makes_of_pages(
    archive: Small, monkeypatch: pytest.MonkeyPatch, paging: str, count: int
) -> None:
    monkeypatch.setattr(dicomweb, "PAGE", 4)
    archive.paging = paging
    for seed in range(count):
        put(archive, 400 + seed)
        put(archive, 500 + seed, StudyInstanceUID="1.2.4.500", PatientID="P500")
    there = Archive(archive.url)
    found = [study.study_uid for study in there.studies("DX")]
    assert sorted(found) == sorted(
        {str(dcmread(io.BytesIO(d)).StudyInstanceUID) for d in archive.stored.values()}
    )
    assert sorted(f.sop_uid for f in there.instances("1.2.4.500")) == sorted(
        f"1.2.3.{501 + seed}" for seed in range(count)
    )
    if "known" not in paging:  # an archive of any size is asked for no more than a page
        assert max(archive.pages) <= 4


@pytest.mark.skipif(not HAS_ORTHANC, reason="Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
def test_orthanc_tells_of_more_than_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "PAGE", 3)
    with orthanc(tmp_path / "orthanc") as there:
        for seed in range(10):
            there.store(a_film(600 + seed))
        found = [study.study_uid for study in Archive(there.url).studies("DX")]
        assert sorted(found) == sorted(f"1.2.4.{600 + seed + 1}" for seed in range(10))


@pytest.mark.skipif(not HAS_ORTHANC, reason="Orthanc is not installed (Debian: orthanc, orthanc-dicomweb)")
def test_orthanc_sends_a_stable_study_as_the_docs_say(intake: Intake, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "pacs.md").read_text()
    (script,) = re.findall(r"^```text\n(function OnStableStudy.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "send.lua").write_text(script)
    node = Node(intake, [Peer.of("ORTHANC@127.0.0.1")], port=0)
    modality = {"AET": "HILUM", "Host": "127.0.0.1", "Port": node.start()}
    options = {"DicomModalities": {"hilum": modality}, "LuaScripts": [str(tmp_path / "send.lua")]}
    with orthanc(tmp_path / "orthanc", **options) as there:
        there.store(a_film(310))
        wait_until(lambda: intake.instances.by_uid("1.2.3.311"), 60)
    node.stop()
    (row,) = intake.instances.by_uid("1.2.3.311")
    assert row["sender"] == "ORTHANC@127.0.0.1"


def test_answers_are_bounded_in_time(archive: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomweb, "WHOLE", -1.0)
    put(archive, 260)
    with pytest.raises(LimitError, match="longer than"):
        list(Archive(archive.url).studies("DX"))
