"""The five doors: how a film is sent through each, and what is seen of it then."""

from __future__ import annotations

import io
import json
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from hilum.clinic.ledger import Pulls

from .clinic import TITLE, Clinic

Door = Literal["cli", "upload", "stow", "store", "watch"]
DOORS: tuple[Door, ...] = get_args(Door)
NAMES: dict[Door, str] = {
    "cli": "`hilum analyze`",
    "upload": "upload",
    "stow": "STOW-RS",
    "store": "C-STORE",
    "watch": "`hilum watch`",
}
FILMS = "/api/v1/films"


@dataclass(frozen=True)
class Seen:
    """What became of something, in a word, and what was said of it. `job`: it is `queued` under this number."""

    verb: str
    said: str = ""
    job: int | None = None


def uids(number: int) -> tuple[str, str, str]:
    """Of the instance, study and series, as `a_film` makes them of a number."""
    return f"1.2.3.{number + 1}", f"1.2.4.{number + 1}", f"1.2.5.{number + 1}"


def upload(clinic: Clinic, data: bytes, number: int = 0, **headers: str) -> Seen:
    status, _, body = clinic.ask("POST", FILMS, data, {"Content-Type": "application/octet-stream", **headers})
    told = json.loads(body)
    if status == 202:
        (film,) = told["films"]
        return Seen(film["kind"], film["reason"] or "", film["id"] if film["kind"] == "queued" else None)
    return answered(status, told["fault"])


def answered(status: int, fault: str) -> Seen:
    """A refusal of the film itself is one; that of the request goes by its status."""
    refused = status == 422 or (status == 413 and "body" not in fault)
    return Seen("refused" if refused else str(status), fault)


def stow(clinic: Clinic, data: bytes, number: int, **headers: str) -> Seen:
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--\r\n"
    status, got, content = clinic.ask("POST", "/dicom-web/studies", body, {"Content-Type": kind, **headers})
    told = json.loads(content)
    if status == 409:
        assert told["00081198"]["Value"][0]["00081197"]["Value"] == [0xC000]
        return Seen("refused", re.fullmatch(r'299 hilum "(.*)"', got["warning"])[1])  # type: ignore[index]
    if status != 200:
        return answered(status, told["fault"])
    (taken,) = told["00081199"]["Value"]
    return _kept(clinic, "upload", taken["00081155"]["Value"][0])


def store(clinic: Clinic, data: bytes, number: int, calling: str = TITLE) -> Seen:
    """C-STORE of a file's data set, whatever it is: no library looks at it before the node does."""
    dataset, syntax, kind = _as_sent(data)
    entity = AE(ae_title=calling)
    entity.add_requested_context(kind, syntax)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 120
    association = entity.associate("127.0.0.1", clinic.ports["node"], ae_title="HILUM")
    if not association.is_established:
        refused = association.is_rejected
        return Seen("association rejected") if refused else Seen("not negotiated", uid.UID(syntax).name)
    try:
        (context,) = association.accepted_contexts
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = uid.UID(kind), uid.UID(uids(number)[0])
        request.DataSet = io.BytesIO(dataset)
        association._reactor_checkpoint.clear()  # as `send_c_store` does
        association.dimse.send_msg(request, context.context_id)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
    finally:
        association.release()
    if answer is None:
        return Seen("hung up on")
    if answer.Status != 0:
        refused = answer.Status == 0xC000
        return Seen("refused" if refused else f"0x{answer.Status:04X}", str(answer.ErrorComment or ""))
    return _kept(clinic, "node", uids(number)[0])


def _as_sent(data: bytes) -> tuple[bytes, str, str]:
    """The data set without preamble and file meta information, its transfer syntax and its SOP class."""
    usual = str(uid.ExplicitVRLittleEndian), str(uid.DigitalXRayImageStorageForPresentation)
    if data[128:132] != b"DICM":
        return data, *usual
    start = 144 + struct.unpack("<L", data[140:144])[0]
    if start > len(data):
        return b"", *usual
    meta = dcmread(io.BytesIO(data[:start])).file_meta
    return data[start:], str(meta.TransferSyntaxUID), str(meta.MediaStorageSOPClassUID)


def listed(clinic: Clinic, data: bytes, number: int) -> None:
    """Put a film into the archive, where the watch finds it, under what its header says or would say."""
    instance, study, series = uids(number)
    told = Dataset()
    told.SOPInstanceUID, told.StudyInstanceUID, told.SeriesInstanceUID = instance, study, series
    told.Modality, told.SOPClassUID = "DX", uid.DigitalXRayImageStorageForPresentation
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = dcmread(io.BytesIO(data), stop_before_pixels=True)
            told.Modality, told.SOPClassUID = header.Modality, header.SOPClassUID
            told.StudyInstanceUID = header.StudyInstanceUID
    except Exception:  # it is no DICOM that pydicom reads: then the archive says that it is a film
        pass
    clinic.archive.told[instance], clinic.archive.stored[instance] = told, data


def watched(clinic: Clinic, number: int) -> Seen:
    """What the watch made of the film that the archive lists, once it has looked."""
    instance = uids(number)[0]
    study = str(clinic.archive.told[instance].StudyInstanceUID)
    if instance not in clinic.archive.fetched:
        return Seen("not fetched", "the watch does not ask for it")
    (pull,) = [pull for pull in Pulls(clinic.ledger).all(limit=1000) if pull["study_uid"] == study]
    if pull["state"] == "waiting":
        return Seen("put off", pull["reason"].replace(clinic.archive.url, "the archive"))
    return _kept(clinic, "watch", instance)


def _kept(clinic: Clinic, door: str, instance: str) -> Seen:
    """What the trail says last of an instance that came by a door, under the number of its job where it is queued."""
    came = [e for e in clinic.trail() if (e.door, e.action, e.what.get("instance")) == (door, "C", instance)]
    if not came:
        return Seen("lost", "the trail does not know it")
    last = came[-1]
    reason = last.what.get("reason", "")
    if last.event != "received":
        return Seen(last.event, reason)
    if reason == "known":
        return Seen("known")
    jobs = [film for film in clinic.get(f"{FILMS}?text={instance}")["films"] if film["sop_uid"] == instance]
    job = max(film["id"] for film in jobs)
    return Seen("not for us", reason) if reason else Seen("queued", job=job)


def analysed(clinic: Clinic, job: int) -> Seen:
    """What was made of a film that was queued, once nothing waits."""
    film = clinic.get(f"{FILMS}/{job}")
    if film["state"] != "done":
        return Seen(film["state"], film["reason"] or "")
    return of_report(clinic.get(f"{FILMS}/{job}/report.json"))


def of_report(report: dict[str, Any]) -> Seen:
    """A report in a word: no score where it is `not analysable`, and what it warns of."""
    if not report["analysable"]:
        assert report["findings"] == [], "a silent score"
        return Seen("not analysable", report["reason"])
    codes = [warning["code"] for warning in report["warnings"]]
    return Seen("warned", ", ".join(codes)) if codes else Seen("analysed")


def analyze(clinic: Clinic, films: dict[str, bytes]) -> dict[str, Seen]:
    """`hilum analyze` of all films in one call, by the names of their files."""
    folder, out = clinic.place / "films", clinic.place / "out"
    for name, data in films.items():
        (folder / name).write_bytes(data)
    words = [
        "analyze",
        *(folder / name for name in films),
        "--out",
        out,
        "--bundle",
        clinic.bundle,
        "--samples",
        0,
    ]
    started = clinic.hilum(*words, name="analyze")
    assert started.wait(300) == 1, clinic.logs()
    index = json.loads((out / "index.json").read_text())
    seen = {Path(failed["file"]).name: Seen("refused", failed["fault"]) for failed in index["failures"]}
    for entry in index["reports"]:
        seen[Path(entry["file"]).name] = of_report(json.loads((out / entry["report"]).read_text()))
    return seen


def added(clinic: Clinic, films: list[tuple[str, bytes]]) -> list[Seen]:
    """`hilum queue add` of films in this order: the command line's own way into the store."""
    paths = []
    for number, (name, data) in enumerate(films):
        paths.append(clinic.place / "films" / f"add-{number}-{name}")
        paths[-1].write_bytes(data)
    started = clinic.hilum("queue", "add", *paths, "--store", clinic.store, "--json", name="queue add")
    said, _ = started.communicate(timeout=300)
    told = [json.loads(line) for line in said.splitlines()]
    return [
        Seen(each["kind"], each["reason"] or "", each["job_id"] if each["kind"] == "queued" else None)
        for each in told
    ]
