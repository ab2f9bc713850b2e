"""One way in: every film gets its outcome, nothing hostile gets further, and nothing is left lying about."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import pytest
from pydicom import uid

from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Trail
from hilum.clinic.store import STALE, Store
from hilum.errors import ClinicError, LimitError, StoreFullError
from tests.test_bad_inputs import BOUNDED, REFUSED

from .helpers import a_film, files_under


def accept(intake: Intake, data: bytes, sender: str = "me"):
    return intake.accept([data], "cli", sender)


def test_a_film_is_kept_as_it_came_and_known_the_second_time_in_any_lossless_syntax(intake: Intake) -> None:
    data = a_film(100)
    first = intake.accept(io.BytesIO(data), "cli", "me")
    assert (first.kind, first.accepted, first.sop_uid) == ("queued", True, "1.2.3.101")
    row = intake.instances.find(first.instance_id or 0)
    assert row is not None
    film = intake.store.film(row["file"])
    assert film.read_bytes() == data
    assert film.stat().st_mode & 0o077 == 0
    for again in (a_film(100), a_film(100, syntax=uid.JPEG2000Lossless), a_film(100, syntax=uid.RLELossless)):
        known = accept(intake, again)
        assert (known.kind, known.job_id) == ("known", first.job_id)
    assert accept(intake, a_film(100, pixels=1)).kind == "conflict"
    assert len(intake.instances.by_uid("1.2.3.101")) == 2


def test_the_same_study_with_another_patient_is_set_apart(intake: Intake) -> None:
    assert accept(intake, a_film(110)).kind == "queued"
    other = accept(intake, a_film(111, StudyInstanceUID="1.2.4.111", PatientID="someone else"))
    assert (other.kind, other.accepted) == ("quarantined", True)
    assert other.mend


NOT_OURS = {
    "own": ({"Manufacturer": "Hilum"}, "own"),
    "own, after de-identification": ({"Manufacturer": "Hilum"}, "own"),
    "a CT": ({"Modality": "CT", "SOPClassUID": uid.CTImageStorage}, "CT Image Storage"),
    "a modality": ({"Modality": "MG"}, "modality"),
    "a hand": ({"BodyPartExamined": "HAND"}, "another part"),
}


@pytest.mark.parametrize("case", NOT_OURS)
def test_what_is_no_chest_film_is_noted_and_not_kept(intake: Intake, case: str) -> None:
    elements, words = NOT_OURS[case]
    before = files_under(intake.store.root / "films")
    seed = 120 + list(NOT_OURS).index(case)
    found = accept(intake, a_film(seed, **elements))
    assert (found.kind, found.accepted) == ("not for us", True)
    assert words in (found.reason or "")
    assert files_under(intake.store.root / "films") == before
    assert accept(intake, a_film(seed, **elements)).kind == "known"


WRONG = {
    "30 a path as UID": ({"SOPInstanceUID": "../../x"}, "no UID"),
    "an absolute path as UID": ({"StudyInstanceUID": "/etc/passwd"}, "no UID"),
    "too long a UID": ({"SOPInstanceUID": "1." * 40 + "1"}, "no UID"),
    "no UID": ({"SOPInstanceUID": ""}, "no SOP Instance UID"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_names_from_data_are_no_paths(intake: Intake, case: str) -> None:
    elements, words = WRONG[case]
    found = accept(intake, a_film(130, **elements))
    assert found.kind == "refused"
    assert re.search(words, found.reason or "")
    assert found.mend
    outside = [path for path in intake.store.root.parent.rglob("*") if path.name in ("x", "passwd")]
    assert not outside


@pytest.mark.parametrize("case", [c for c in REFUSED if not c.startswith("a ")])
def test_bad_inputs_are_refused_with_their_fault_and_leave_nothing(
    intake: Intake, case: str, tmp_path: Path
) -> None:
    """HAZARDS A through the one way in, as `hilum.read` refuses them."""
    make, words = REFUSED[case]
    bad = tmp_path / "bad.dcm"
    make(bad)
    before = files_under(intake.store.root / "films")
    found = intake.accept(bad, "cli", "me")
    assert found.kind == "refused", found
    assert re.search(words, found.reason or ""), found.reason
    assert str(tmp_path) not in str(found)
    assert files_under(intake.store.root / "films") == before
    assert not files_under(intake.store.work)


def test_a_bomb_is_refused_and_the_next_film_is_taken(intake: Intake, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.dcm"
    BOUNDED["17 deflated bomb"][0](bomb)
    found = intake.accept(bomb, "cli", "me")
    assert (found.kind, found.too_large) == ("refused", False)
    assert "grows past" in (found.reason or "")
    assert accept(intake, a_film(140)).accepted


def test_an_endless_stream_is_left_at_the_limit(intake: Intake) -> None:
    pieces = 0

    def endless():
        nonlocal pieces
        while True:
            pieces += 1
            yield bytes(2**16)

    found = intake.accept(endless(), "cli", "me")
    assert (found.kind, found.too_large) == ("refused", True)
    assert pieces == 17, "a mebibyte in pieces of 64 KiB, and one more"
    assert not files_under(intake.store.work)
    with intake.receiving() as part, pytest.raises(LimitError):
        part.write(bytes(2**20 + 1))


def test_a_process_that_dies_costs_one_film(intake: Intake) -> None:
    process = intake._all[0]._process._worker.process
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert accept(intake, a_film(150)).kind == "queued"


def test_no_patient_is_in_a_log_and_no_line_is_forged(
    intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    name = "Doe^Jane\r\nERROR forged"
    accept(
        intake,
        a_film(160, PatientName=name, PatientID="secret-1", AccessionNumber="secret-2"),
        "A\r\nERROR forged",
    )
    accept(intake, a_film(161, PatientName=name, PatientID="secret-1", Rows=0), "A\r\nERROR forged")
    told = [record.getMessage() for record in caplog.records if record.name.startswith("hilum")]
    assert any("1.2.3.161" in line for line in told)
    assert any("refused from" in line for line in told)
    assert not [line for line in told if "\n" in line or "\r" in line or "Doe" in line or "secret" in line]
    trail = "\n".join(Trail(intake.ledger).json_lines())
    assert "Doe" not in trail
    assert "secret" not in trail


def test_a_full_disk_is_said_and_leaves_nothing(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFullError, match="disk is full"):
            accept(intake, a_film(170))
    assert not files_under(intake.store.work)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
        patch.setattr(intake.store, "reserve", 2)
        with pytest.raises(StoreFullError):
            intake.receiving()
    assert accept(intake, a_film(170)).kind == "queued"


def test_left_overs_are_swept_once_they_are_old(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", reserve=0)
    with store.receiving() as part:
        part.write(b"film")
        part.close()
        kept = store.keep(part)
        named = part.digest
    with store.making() as folder:
        (folder / "report.json").write_text("{}")
        result = store.publish(folder)
    (store.work / "left.part").write_bytes(b"x")
    assert store.sweep(set(), set()) == 0, "all is new"
    for path in (kept, store.result(result), store.work / "left.part"):
        os.utime(path, (0, 0))
    assert store.sweep({named}, {result}) == 1
    assert kept.read_bytes() == b"film"
    assert store.sweep(set(), set()) == 2
    assert not files_under(store.root)
    assert STALE > 0


def test_only_archives_that_are_configured_are_asked(intake: Intake) -> None:
    ours = ["http://archive/dicom-web/"]
    assert intake.refer("http://archive/dicom-web", "1.2.3", ours, "webhook", "orthanc")
    assert not intake.refer("http://archive/dicom-web", "1.2.3", ours, "webhook", "orthanc")
    for source, study in (("http://169.254.169.254/", "1.2.3"), (ours[0], "1.2/../3")):
        with pytest.raises(ClinicError):
            intake.refer(source, study, ours, "webhook", "orthanc")


@pytest.mark.parametrize("name", ["../../etc", "a" * 31, "..", "", "A" * 64, "a/b"])
def test_what_the_store_did_not_name_is_no_path(name: str, tmp_path: Path) -> None:
    """HAZARDS 30 to 32."""
    store = Store(tmp_path / "store", reserve=0)
    for place in (store.film, store.result):
        with pytest.raises(ClinicError, match="names nothing in the store"):
            place(name)
